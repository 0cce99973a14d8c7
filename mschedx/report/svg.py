"""Draw charts as inline SVG: no dependency, labels on hover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .charts import MOST_LABELLED, Band, Bars, Chart, Dots, Layer, Line, Marks, short, ticks

_LEFT, _RIGHT, _TOP, _BOTTOM, _KEYS = 64, 16, 12, 44, 22


@dataclass(slots=True)
class Scale:
    """Maps values to pixels, linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (self._f(v) for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low or 1) * (self.end - self.start)

    def _f(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self) -> list[float]:
        """Round values within the range, about five of them."""
        return ticks(self.low, self.high, self.log)


@dataclass(slots=True)
class _Frame:
    """The scales of a chart, and its lower edge."""

    x: Scale
    y: Scale
    low: float

    @staticmethod
    def of(chart: Chart) -> _Frame:
        low, top = chart.height - _BOTTOM, _TOP + (_KEYS if chart.keys else 0)
        return _Frame(
            Scale(*chart.x_range, _LEFT, chart.width - _RIGHT, chart.log_x),
            Scale(*chart.y_range, low, top, chart.log_y),
            low,
        )


def draw(chart: Chart | Bars) -> str:
    """Give the whole drawing."""
    if isinstance(chart, Bars):
        return _bars(chart)
    frame = _Frame.of(chart)
    body = "".join(
        [*_axes(chart, frame), *_legend(chart), *(_layer(layer, frame) for layer in chart.layers)]
    )
    return _document(chart.width, chart.height, chart.title, body)


def _document(width: int, height: int, title: str, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{body}</svg>'
    )


def _axes(chart: Chart, frame: _Frame) -> list[str]:
    low, right, parts = frame.low, chart.width - _RIGHT, []
    for tick in frame.y.ticks():
        at = frame.y(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">'
            f"{short(tick)}</text>"
        )
    for tick in frame.x.ticks():
        place = f'x="{frame.x(tick):.1f}" y="{low + 18}"'
        parts += [f'<text class="tick" {place} text-anchor="middle">{short(tick)}</text>']
    middle = (frame.y.end + low) / 2
    parts.append(
        f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{low}" y2="{low}"/>'
        f'<text class="label" x="{(_LEFT + right) / 2:.0f}" y="{chart.height - 6}" '
        f'text-anchor="middle">{escape(chart.x_label)}</text>'
        f'<text class="label" x="14" y="{middle:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {middle:.0f})">{escape(chart.y_label)}</text>'
    )
    return parts


def _legend(chart: Chart) -> list[str]:
    parts, at = [], _LEFT
    for name, color in chart.keys:
        parts.append(
            f'<circle cx="{at + 5}" cy="12" r="5" fill="{color}"/>'
            f'<text class="tick" x="{at + 15}" y="16">{escape(name)}</text>'
        )
        at += 30 + 8 * len(name)
    return parts


def _layer(layer: Layer, frame: _Frame) -> str:
    if isinstance(layer, Dots):
        return _dots(layer, frame)
    if isinstance(layer, Line):
        style = f' stroke-dasharray="{layer.dash}"' if layer.dash else ""
        return (
            f'<polyline points="{_path(layer.xs, layer.ys, frame)}" fill="none" '
            f'stroke="{layer.color}" stroke-width="2"{style}/>'
        )
    if isinstance(layer, Band):
        xs, ys = [*layer.xs, *reversed(layer.xs)], [*layer.highs, *reversed(layer.lows)]
        path = _path(xs, ys, frame)
        return f'<polygon points="{path}" fill="{layer.color}" fill-opacity=".16"/>'
    if isinstance(layer, Marks):
        return _marks(layer, frame)
    return (
        f'<text x="{frame.x(layer.x):.1f}" y="{frame.y(layer.y) - 6:.1f}" fill="{layer.color}" '
        f'text-anchor="{layer.anchor}">{escape(layer.text)}</text>'
    )


def _path(xs: Sequence[float], ys: Sequence[float], frame: _Frame) -> str:
    return " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in zip(xs, ys))


def _dots(layer: Dots, frame: _Frame) -> str:
    parts, drawn = [], set()
    many = len(layer.xs) > MOST_LABELLED
    digits = 0 if many else 1
    for i, (x, y) in enumerate(zip(layer.xs, layer.ys)):
        place = f'cx="{frame.x(x):.{digits}f}" cy="{frame.y(y):.{digits}f}"'
        title = "" if many or not layer.labels else f"<title>{escape(layer.labels[i])}</title>"
        if not title and place in drawn:  # thousands of dots need not lie on each other
            continue
        drawn.add(place)
        parts.append(
            f'<circle {place} r="{layer.radius}" fill="{layer.color}" '
            f'fill-opacity=".55">{title}</circle>'
        )
    return "".join(parts)


def _marks(layer: Marks, frame: _Frame) -> str:
    parts, drawn = [], set()
    many = len(layer.xs) > MOST_LABELLED
    digits = 0 if many else 1
    for i, x in enumerate(layer.xs):
        at = f"{frame.x(x):.{digits}f}"
        title = "" if many or not layer.labels else f"<title>{escape(layer.labels[i])}</title>"
        if not title and at in drawn:
            continue
        drawn.add(at)
        parts.append(
            f'<line x1="{at}" x2="{at}" y1="{frame.low}" y2="{frame.low - 9}" '
            f'stroke="{layer.color}" stroke-width="2">{title}</line>'
        )
    return "".join(parts)


def _bars(bars: Bars) -> str:
    longest = max((value for _, value, _ in bars.rows), default=0) or 1
    label_width, text_width, step = 230, 150, 24
    parts = []
    for i, (label, value, text) in enumerate(bars.rows):
        y = i * step + 4
        length = value / longest * (bars.width - label_width - text_width)
        parts.append(
            f'<text class="tick" x="{label_width - 8}" y="{y + 13}" text-anchor="end">'
            f"{escape(label)}</text>"
            f'<rect x="{label_width}" y="{y}" width="{max(length, 1):.1f}" height="17" rx="2" '
            f'fill="{bars.color}"/>'
            f'<text class="tick" x="{label_width + length + 8:.1f}" y="{y + 13}">'
            f"{escape(text)}</text>"
        )
    return _document(bars.width, len(bars.rows) * step + 8, bars.title, "".join(parts))
