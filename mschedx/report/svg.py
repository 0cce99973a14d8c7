"""Charts as inline SVG: axes with round numbers, points, steps, bars. No dependency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

BLUE, ORANGE, RED, GREY = "#2463b0", "#d9730d", "#c0392b", "#8a929c"
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 44


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
        if self.log:
            return _log_ticks(self.low, self.high)
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step)
        return [round(i * step, 12) for i in range(first, math.floor(self.high / step) + 1)]


def _round_step(step: float) -> float:
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * 0.999)


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [m * 10.0**d for d in decades for m in multiples]
        ticks = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
        if len(ticks) >= 3:
            return ticks
    return ticks or [low, high]


@dataclass(slots=True)
class Chart:
    """A plot under construction; ``svg()`` gives its text."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_label: str
    y_label: str
    title: str
    log_x: bool = False
    log_y: bool = False
    width: int = 880
    height: int = 300
    _parts: list[str] = field(default_factory=list)

    @property
    def x(self) -> Scale:
        return Scale(*self.x_range, _LEFT, self.width - _RIGHT, self.log_x)

    @property
    def y(self) -> Scale:
        return Scale(*self.y_range, self.height - _BOTTOM, _TOP, self.log_y)

    def points(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        color: str = BLUE,
        labels: Sequence[str] = (),
        radius: float = 2.5,
    ) -> None:
        """Draw a dot for each pair; labels show on hover."""
        sx, sy = self.x, self.y
        for i, (x, y) in enumerate(zip(xs, ys)):
            title = f"<title>{escape(labels[i])}</title>" if labels else ""
            self._parts.append(
                f'<circle cx="{sx(x):.1f}" cy="{sy(y):.1f}" r="{radius}" fill="{color}" '
                f'fill-opacity=".55">{title}</circle>'
            )

    def line(
        self, xs: Sequence[float], ys: Sequence[float], color: str = ORANGE, dash: str = ""
    ) -> None:
        """Draw straight lines through the pairs."""
        sx, sy = self.x, self.y
        path = " ".join(f"{sx(x):.1f},{sy(y):.1f}" for x, y in zip(xs, ys))
        style = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{style}/>'
        )

    def steps(self, xs: Sequence[float], ys: Sequence[float], color: str = ORANGE) -> None:
        """Draw a line that holds each value until the next."""
        stepped_x = [x for pair in zip(xs, [*xs[1:], xs[-1]]) for x in pair]
        stepped_y = [y for value in ys for y in (value, value)]
        self.line(stepped_x, stepped_y, color)

    def marks(self, xs: Sequence[float], color: str = RED, labels: Sequence[str] = ()) -> None:
        """Draw short strokes on the lower edge."""
        low = self.height - _BOTTOM
        for i, x in enumerate(xs):
            title = f"<title>{escape(labels[i])}</title>" if labels else ""
            at = self.x(x)
            self._parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{low}" y2="{low - 9}" stroke="{color}" '
                f'stroke-width="2">{title}</line>'
            )

    def text(self, x: float, y: float, text: str, color: str = "#333", anchor: str = "end") -> None:
        """Write at a place given in data coordinates."""
        self._parts.append(
            f'<text x="{self.x(x):.1f}" y="{self.y(y) - 6:.1f}" fill="{color}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )

    def svg(self) -> str:
        """Give the whole drawing."""
        low, right = self.height - _BOTTOM, self.width - _RIGHT
        grid = []
        for tick in self.y.ticks():
            at = self.y(tick)
            grid.append(
                f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
                f'<text class="tick" x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">'
                f"{short(tick)}</text>"
            )
        for tick in self.x.ticks():
            at = self.x(tick)
            grid.append(
                f'<text class="tick" x="{at:.1f}" y="{low + 18}" text-anchor="middle">'
                f"{short(tick)}</text>"
            )
        middle = (_TOP + low) / 2
        labels = (
            f'<text class="label" x="{(_LEFT + right) / 2:.0f}" y="{self.height - 6}" '
            f'text-anchor="middle">{escape(self.x_label)}</text>'
            f'<text class="label" x="14" y="{middle:.0f}" text-anchor="middle" '
            f'transform="rotate(-90 14 {middle:.0f})">{escape(self.y_label)}</text>'
        )
        axis = f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{low}" y2="{low}"/>'
        body = "".join([*grid, axis, labels, *self._parts])
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(self.title)}" xmlns="http://www.w3.org/2000/svg">{body}</svg>'
        )


def bars(
    rows: Sequence[tuple[str, float, str]], title: str, color: str = BLUE, width: int = 880
) -> str:
    """Draw horizontal bars.

    Parameters
    ----------
    rows : Sequence[tuple[str, float, str]]
        Label, length (at least 0), and the text behind the bar.
    """
    longest = max((value for _, value, _ in rows), default=0) or 1
    label_width, text_width, step = 230, 150, 24
    parts = []
    for i, (label, value, text) in enumerate(rows):
        y = i * step + 4
        length = value / longest * (width - label_width - text_width)
        parts.append(
            f'<text class="tick" x="{label_width - 8}" y="{y + 13}" text-anchor="end">'
            f"{escape(label)}</text>"
            f'<rect x="{label_width}" y="{y}" width="{max(length, 1):.1f}" height="17" rx="2" '
            f'fill="{color}"/>'
            f'<text class="tick" x="{label_width + length + 8:.1f}" y="{y + 13}">'
            f"{escape(text)}</text>"
        )
    height = len(rows) * step + 8
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def short(value: float) -> str:
    """Write a tick without more digits than it has."""
    if value == 0:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return f"{value:.4g}"
