"""Draw charts as PNG files, with matplotlib (the optional extra ``report``)."""

# pyright: reportMissingImports=none
# matplotlib is optional.

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .charts import Band, Bars, Chart, Dots, Figure, Layer, Line, Marks, short, ticks

_PIXELS_PER_INCH = 110
_SHARPNESS = 2
"""Pixels of the file for each pixel of the chart."""


def write_pngs(figures: Iterable[Figure], folder: Path, prefix: str) -> list[Path]:
    """Write ``<prefix>-<name>.png`` for every figure that has a chart; gives the paths.

    Raises
    ------
    ValueError
        If matplotlib is not installed.
    """
    require_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for figure in figures:
        if figure.chart is not None:
            path = folder / f"{prefix}-{figure.name}.png"
            _save(figure.chart, figure.title, path)
            paths.append(path)
    return paths


def require_matplotlib() -> None:
    """Refuse to draw where matplotlib cannot be imported.

    Raises
    ------
    ValueError
        With what to install.
    """
    try:
        import matplotlib  # noqa: F401
        from matplotlib.figure import Figure as _  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"PNGs are drawn with matplotlib, which cannot be imported here ({error}); install it "
            'with: python -m pip install "mschedx[report]"'
        ) from error


def _save(chart: Chart | Bars, title: str, path: Path) -> None:
    # Figures of their own, without pyplot: no window system, and no global state to leave behind.
    from matplotlib.figure import Figure as Canvas

    height = 60 + 24 * len(chart.rows) if isinstance(chart, Bars) else chart.height + 40
    size = (chart.width / _PIXELS_PER_INCH, height / _PIXELS_PER_INCH)
    canvas = Canvas(figsize=size, dpi=_PIXELS_PER_INCH * _SHARPNESS, layout="constrained")
    axes = canvas.add_subplot()
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#8a929c")
    axes.tick_params(labelsize=8, color="#8a929c", labelcolor="#566170", length=0)
    if isinstance(chart, Bars):
        _bars(axes, chart)
    else:
        _chart(axes, chart, title)
    canvas.savefig(path)


def _chart(axes: Any, chart: Chart, title: str) -> None:
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#e8ebef")
    for name, log, limits in (("x", chart.log_x, chart.x_range), ("y", chart.log_y, chart.y_range)):
        if log:
            getattr(axes, f"set_{name}scale")("log")
        getattr(axes, f"set_{name}lim")(*limits)
        places = ticks(*limits, log)
        getattr(axes, f"set_{name}ticks")(places, [short(place) for place in places])
        getattr(axes, f"set_{name}ticks")([], minor=True)
    axes.set_xlabel(chart.x_label, fontsize=8.5, fontweight="bold", color="#1c2430")
    axes.set_ylabel(chart.y_label, fontsize=8.5, fontweight="bold", color="#1c2430")
    for layer in chart.layers:
        _layer(axes, layer)
    for name, color in chart.keys:
        axes.plot([], [], "o", color=color, label=name, markersize=5)
    if chart.keys:
        axes.legend(
            fontsize=8, frameon=False, ncols=len(chart.keys), loc="lower left",
            bbox_to_anchor=(0, 1), borderaxespad=0, handletextpad=0.1, columnspacing=1.2,
        )  # fmt: skip
        axes.set_title(
            axes.get_title(loc="left"), loc="left", fontsize=10, fontweight="bold", y=1.1
        )


def _layer(axes: Any, layer: Layer) -> None:
    if isinstance(layer, Dots):
        area = (2 * layer.radius * 72 / _PIXELS_PER_INCH) ** 2
        axes.scatter(layer.xs, layer.ys, s=area, color=layer.color, alpha=0.55, linewidths=0)
    elif isinstance(layer, Line):
        style = "--" if layer.dash else "-"
        axes.plot(layer.xs, layer.ys, style, color=layer.color, linewidth=1.5)
    elif isinstance(layer, Band):
        axes.fill_between(layer.xs, layer.lows, layer.highs, color=layer.color, alpha=0.16, lw=0)
    elif isinstance(layer, Marks):
        below = axes.get_xaxis_transform()  # x in data, y in shares of the axes
        axes.vlines(layer.xs, 0, 0.035, color=layer.color, linewidth=1.2, transform=below)
    else:
        align = {"end": "right", "start": "left", "middle": "center"}[layer.anchor]
        axes.annotate(
            layer.text, (layer.x, layer.y), (0, 4), textcoords="offset points", ha=align,
            fontsize=8, color=layer.color,
        )  # fmt: skip


def _bars(axes: Any, bars: Bars) -> None:
    names = [name for name, _, _ in bars.rows]
    lengths = [length for _, length, _ in bars.rows]
    texts = [text for _, _, text in bars.rows]
    places = range(len(bars.rows))
    drawn = axes.barh(places, lengths, color=bars.color, height=0.7)
    axes.bar_label(drawn, texts, padding=4, fontsize=8, color="#566170")
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(0, 1.3 * max(lengths, default=1) or 1)
