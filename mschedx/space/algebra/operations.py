"""What a step of an expression does: exactly, between bounds, and smoothed.

An operation is said once here, in all the ways it is evaluated; who walks expressions (`tape`,
`mschedx.space.sampling.partial_evaluation`) knows none by name.

Notation
--------
n : number of configs.
w : width of a smoothing, in (0, 1]: 1 is the smoothest; towards 0 the value becomes exact.

A smoothing comes with its slopes, in NumPy: for the few configs of a descent an automatic
differentiation of every step takes many times as long as the arithmetic.

The smoothings never have slope 0 over a range where the exact function changes from one end to the
other, so that a gradient always points somewhere. They differ from the exact values at integers;
`relaxed` corrects that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Bounds = tuple[Any, Any]
"""Least and greatest value, each a float or a float64 array [n]."""

Smooth = tuple[Any, tuple[Any, ...]]
"""A result and its slopes, each a float64 array or a number."""

_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Operation:
    """One kind of step.

    Parameters
    ----------
    name : str
    exact : callable
        Values int64 [n] to int64 [n].
    bounds : callable
        Bounds of the values to bounds of the result.
    smooth : callable
        Width, then values, float64 arrays of one shape, to the result and its slope in each value.
    associative : bool
        Takes any number of values, in any order and grouping.
    divisors : tuple of int
        Positions of the values that must be positive.
    rough : bool
        Whether ``smooth`` differs from ``exact`` at integers.
    """

    name: str
    exact: Callable[..., IntArray]
    bounds: Callable[..., Bounds]
    smooth: Callable[..., Smooth]
    associative: bool = False
    divisors: tuple[int, ...] = ()
    rough: bool = True


def _folded(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda *values: reduce(function, values)


def _folded_smooth(function: Callable[[float, Any, Any], Smooth]) -> Callable[..., Smooth]:
    def folded(width: float, *values: Any) -> Smooth:
        result, slopes = values[0], (1.0,)
        for value in values[1:]:
            result, (first, second) = function(width, result, value)
            slopes = (*(slope * first for slope in slopes), second)
        return result, slopes

    return folded


# Sums and products.


def _product_bounds(a: Bounds, b: Bounds) -> Bounds:
    corners = [x * y for x in a for y in b]
    return reduce(np.minimum, corners), reduce(np.maximum, corners)


ADD = Operation(
    "+",
    _folded(np.add),
    _folded(lambda a, b: (a[0] + b[0], a[1] + b[1])),
    _folded_smooth(lambda width, a, b: (a + b, (1.0, 1.0))),
    associative=True,
    rough=False,
)
MULTIPLY = Operation(
    "*",
    _folded(np.multiply),
    _folded(_product_bounds),
    _folded_smooth(lambda width, a, b: (a * b, (b, a))),
    associative=True,
    rough=False,
)


# The least and the greatest.


def _apart(width: float, a: Any, b: Any) -> Smooth:
    """``|a − b|``, rounded off where the two are within ``w`` of each other, relatively."""
    apart, share = a - b, width**2 / 2
    rounded = np.sqrt(apart**2 + share * (a**2 + b**2) + _TINY)
    return rounded, ((apart + share * a) / rounded, (share * b - apart) / rounded)


def _smooth_extreme(sign: int) -> Callable[..., Smooth]:
    """The greater of two for sign 1, the lesser for −1."""

    def smooth(width: float, a: Any, b: Any) -> Smooth:
        apart, slopes = _apart(width, a, b)
        return (a + b + sign * apart) / 2, tuple((1 + sign * slope) / 2 for slope in slopes)

    return _folded_smooth(smooth)


MIN = Operation(
    "min",
    _folded(np.minimum),
    _folded(lambda a, b: (np.minimum(a[0], b[0]), np.minimum(a[1], b[1]))),
    _smooth_extreme(-1),
    associative=True,
)
MAX = Operation(
    "max",
    _folded(np.maximum),
    _folded(lambda a, b: (np.maximum(a[0], b[0]), np.maximum(a[1], b[1]))),
    _smooth_extreme(1),
    associative=True,
)


# Quotients.


def _quotient_bounds(a: Bounds, b: Bounds) -> Bounds:
    (low, high), (least, most) = a, b
    least, most = np.maximum(least, 1.0), np.maximum(most, 1.0)
    corners = [low / least, low / most, high / least, high / most]
    # One more on either side covers the rounding.
    return reduce(np.minimum, corners) - 1.0, reduce(np.maximum, corners) + 1.0


def _smooth_ceil(width: float, a: Any, b: Any) -> Smooth:
    """Blend the staircase, its edges made ramps of width 1, with the line through its middle."""
    whole = np.floor(a / b + _TINY)
    rest = a - whole * b
    rises = (1 - width) * ((rest >= 0) & (rest <= 1))
    result = width * (a + (b - 1) / 2) / b + (1 - width) * (whole + rest.clip(0, 1))
    return result, (width / b + rises, width * (0.5 - a) / b**2 - rises * whole)


def _smooth_floor(width: float, a: Any, b: Any) -> Smooth:
    result, (up, down) = _smooth_ceil(width, a - b + 1, b)
    return result, (up, down - up)


CEIL_DIV = Operation("ceil", lambda a, b: -(-a // b), _quotient_bounds, _smooth_ceil, divisors=(1,))
FLOOR_DIV = Operation(
    "floor",
    lambda a, b: a // b,
    _quotient_bounds,
    _smooth_floor,
    divisors=(1,),
)


# Choices.


def _either(then: Bounds, otherwise: Bounds) -> Bounds:
    return np.minimum(then[0], otherwise[0]), np.maximum(then[1], otherwise[1])


def _at_most_bounds(left: Bounds, right: Bounds, then: Bounds, otherwise: Bounds) -> Bounds:
    either = _either(then, otherwise)
    always, never = left[1] <= right[0], left[0] > right[1]
    return (
        np.where(always, then[0], np.where(never, otherwise[0], either[0])),
        np.where(always, then[1], np.where(never, otherwise[1], either[1])),
    )


def _smooth_at_most(width: float, left: Any, right: Any, then: Any, otherwise: Any) -> Smooth:
    """Go from one to the other along an algebraic sigmoid half a step above ``right``.

    Its tails are those of ``1 / t``, so that it does not become flat in floating point.
    """
    norm = np.sqrt((left**2 + right**2).clip(min=_TINY))
    scale = width * (norm + 1)
    t = (right + 0.5 - left) / scale
    root = np.sqrt(1 + t**2)
    share = (1 + t / root) / 2
    steep = (then - otherwise) / (2 * root**3 * scale)
    bend = t * width / norm
    slopes = -steep * (1 + bend * left), steep * (1 - bend * right), share, 1 - share
    return otherwise + (then - otherwise) * share, slopes


def _smooth_divides(width: float, left: Any, right: Any, then: Any, otherwise: Any) -> Smooth:
    """Peak at the multiples of ``right``; half way between them what is left is about w."""
    angle = math.pi * left / right
    t = np.sin(angle) / (math.pi * width)
    share = 1 / np.sqrt(1 + t**2)
    steep = -(then - otherwise) * t * share**3 * np.cos(angle) / (width * right)
    slopes = steep, -steep * left / right, share, 1 - share
    return otherwise + (then - otherwise) * share, slopes


WHERE_AT_MOST = Operation(
    "where <=",
    lambda left, right, then, otherwise: np.where(left <= right, then, otherwise),
    _at_most_bounds,
    _smooth_at_most,
)
WHERE_DIVIDES = Operation(
    "where %",
    lambda left, right, then, otherwise: np.where(left % right == 0, then, otherwise),
    lambda left, right, then, otherwise: _either(then, otherwise),
    _smooth_divides,
    divisors=(1,),
)


@cache
def lookup(table: tuple[tuple[int, int], ...]) -> Operation:
    """Return the operation that looks its value up in a table of (key, result) pairs.

    Smoothed, it blends the straight lines between neighbouring keys with the line that fits all.
    """
    keys, results = (np.asarray(side, dtype=np.int64) for side in zip(*sorted(table)))

    def exact(values: IntArray) -> IntArray:
        position = np.searchsorted(keys, values).clip(max=len(keys) - 1)
        if not np.array_equal(keys[position], values):
            outside = sorted(set(values[keys[position] != values].tolist()))
            raise ValueError(
                f"expected values of a decision among {keys.tolist()}, got {outside[:5]} outside"
            )
        return results[position]

    def bounds(value: Bounds) -> Bounds:
        low, high = np.asarray(value[0])[..., None], np.asarray(value[1])[..., None]
        inside = (keys >= low) & (keys <= high)
        least = np.where(inside, results, np.inf).min(axis=-1)
        most = np.where(inside, results, -np.inf).max(axis=-1)
        found = inside.any(axis=-1)
        return np.where(found, least, results.min()), np.where(found, most, results.max())

    slope, base = np.polyfit(keys, results, 1) if len(keys) > 1 else (0.0, float(results[0]))
    steps = np.diff(results) / np.diff(keys)

    def smooth(width: float, value: Any) -> Smooth:
        if len(keys) == 1:
            return value * 0 + base, (value * 0,)
        low = np.searchsorted(keys[1:-1], value)
        between = results[low] + steps[low] * (value - keys[low])
        line = (1 - width) * between + width * (base + slope * value)
        return line, ((1 - width) * steps[low] + width * slope,)

    return Operation("lookup", exact, bounds, smooth)
