"""Sampling that leaves open what a tile is, but not what it is while a rule looks at it.

A rule that asks a schedule for a loop's extent gets that of the decisions at hand. Were these drawn
at random, what a rule decides by them (whether vectors divide a loop, whether a window is short)
would be another design space for every seed, and records of one run unknown to the next.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

from tvm.tirx import IntImm


def sample_tile(sch: Any, loop: Any, parts: int, most: int = -1) -> Any:
    """Sample a perfect tile, at first a typical one.

    Parameters
    ----------
    sch : Schedule
    loop : LoopRV
    parts : int
        Factors.
    most : int
        The innermost factor at most; -1 for any.

    Returns
    -------
    list of ExprRV
    """
    statement: Any = sch.get(loop)
    if not isinstance(statement.extent, IntImm):
        return sch.sample_perfect_tile(loop, parts, max_innermost_factor=most)
    typical = typical_tile(int(statement.extent), parts, most)
    return sch.sample_perfect_tile(loop, parts, max_innermost_factor=most, decision=typical)


def typical_tile(extent: int, parts: int, most: int = -1) -> list[int]:
    """Factors of an extent: the innermost near its root or what is allowed, the rest outermost."""
    bound = isqrt(extent) if most < 0 else min(most, isqrt(extent))
    inner = largest_divisor(extent, max(bound, 1))
    return [extent // inner, *([1] * (parts - 2)), inner]


def largest_divisor(extent: int, most: int) -> int:
    """Find the largest divisor of an extent that is at most ``most``, which is positive."""
    return divisor_between(extent, 1, most) or 1


def divisor_between(extent: int, least: int, most: int) -> int | None:
    """Find the largest divisor of an extent between two bounds, both included; None without one."""
    return next((n for n in range(most, least - 1, -1) if extent % n == 0), None)
