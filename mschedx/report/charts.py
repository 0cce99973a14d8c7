"""Charts as data: what is drawn where, in data coordinates. `svg` and `png` draw them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

BLUE, ORANGE, RED, GREY = "#2463b0", "#d9730d", "#c0392b", "#8a929c"
PALETTE = (BLUE, ORANGE, "#2e8b57", "#8e44ad", "#b5892b", "#17888f", RED, "#5d6d7e", "#c2569b")
"""Colours of series, distinct also for most colour-blind eyes in this order."""


MOST_LABELLED = 5000
"""Dots or strokes of a layer up to which each shows its label: a page of more is slow to scroll."""


@dataclass(frozen=True, slots=True)
class Dots:
    """A dot for each pair; labels show on hover."""

    xs: Sequence[float]
    ys: Sequence[float]
    color: str
    labels: Sequence[str]
    radius: float


@dataclass(frozen=True, slots=True)
class Line:
    """Straight lines through the pairs; `dash` as SVG writes it."""

    xs: Sequence[float]
    ys: Sequence[float]
    color: str
    dash: str


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two lines."""

    xs: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    color: str


@dataclass(frozen=True, slots=True)
class Marks:
    """Short strokes on the lower edge."""

    xs: Sequence[float]
    color: str
    labels: Sequence[str]


@dataclass(frozen=True, slots=True)
class Note:
    """Text at a place."""

    x: float
    y: float
    text: str
    color: str
    anchor: str


Layer = Dots | Line | Band | Marks | Note


@dataclass(slots=True)
class Chart:
    """A plot: axes, and layers from the lowest to the uppermost.

    Attributes
    ----------
    keys : list[tuple[str, str]]
        Name and colour of each series, for the legend.
    width, height : int
        Pixels.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_label: str
    y_label: str
    title: str
    log_x: bool = False
    log_y: bool = False
    width: int = 880
    height: int = 300
    layers: list[Layer] = field(default_factory=list)
    keys: list[tuple[str, str]] = field(default_factory=list)

    def key(self, name: str, color: str) -> None:
        """Add a line to the legend."""
        self.keys.append((name, color))

    def points(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        color: str = BLUE,
        labels: Sequence[str] = (),
        radius: float = 2.5,
    ) -> None:
        """Add `Dots`."""
        self.layers.append(Dots(xs, ys, color, labels, radius))

    def line(
        self, xs: Sequence[float], ys: Sequence[float], color: str = ORANGE, dash: str = ""
    ) -> None:
        """Add a `Line`."""
        self.layers.append(Line(xs, ys, color, dash))

    def steps(self, xs: Sequence[float], ys: Sequence[float], color: str = ORANGE) -> None:
        """Add a line that holds each value until the next."""
        self.line(*stepped(xs, ys), color)

    def band(
        self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], color: str
    ) -> None:
        """Add a `Band` that holds each value until the next."""
        stepped_x, low = stepped(xs, lows)
        self.layers.append(Band(stepped_x, low, stepped(xs, highs)[1], color))

    def marks(self, xs: Sequence[float], color: str = RED, labels: Sequence[str] = ()) -> None:
        """Add `Marks`."""
        self.layers.append(Marks(xs, color, labels))

    def text(self, x: float, y: float, text: str, color: str = "#333", anchor: str = "end") -> None:
        """Add a `Note`."""
        self.layers.append(Note(x, y, text, color, anchor))


@dataclass(frozen=True, slots=True)
class Bars:
    """Horizontal bars.

    Attributes
    ----------
    rows : sequence of (str, float, str)
        Label, length (at least 0), and the text behind the bar.
    """

    rows: Sequence[tuple[str, float, str]]
    title: str
    color: str = BLUE
    width: int = 880


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with what stands above it; `name` is that of its file."""

    name: str
    title: str
    text: str
    chart: Chart | Bars | None


def stepped(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """Corners of a staircase that holds each y until the next x."""
    if not len(xs):
        return [], []
    return (
        [x for pair in zip(xs, [*xs[1:], xs[-1]]) for x in pair],
        [y for value in ys for y in (value, value)],
    )


def padded(values: Sequence[float], margin: float = 1.15) -> tuple[float, float]:
    """Range of positive values with a margin, for a logarithmic axis."""
    return min(values) / margin, max(values) * margin


def ticks(low: float, high: float, log: bool) -> list[float]:
    """Round values within the range, about five of them."""
    if log:
        return _log_ticks(low, high)
    step = _round_step((high - low) / 5)
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step) + 1)]


def _round_step(step: float) -> float:
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * 0.999)


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [m * 10.0**d for d in decades for m in multiples]
        found = [t for t in found if low * 0.999 <= t <= high * 1.001]
        if len(found) >= 3:
            return found
    return ticks(low, high, log=False)  # less than a factor of two: nearly linear


def short(value: float) -> str:
    """Write a tick without more digits than it has."""
    if value == 0:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return f"{value:.4g}"
