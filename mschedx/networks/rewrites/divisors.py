"""Quotients of integers for every divisor.

A processor ends the process that divides integers by zero, or the least of them by -1. A kernel
cannot raise torch's error, so that a network gives what NumPy does: zero, and the least again.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad

_QUOTIENTS = (tirx.Div, tirx.FloorDiv)
_REMAINDERS = (tirx.Mod, tirx.FloorMod)


def guard_divisors(mod: tvm.IRModule) -> tvm.IRModule:
    """Let no value of an integer tensor that is divided by end the process.

    Rewrite
    -------
    In every PrimFunc, where ``b`` reads a tensor, with ``safe = select(b is 0 or -1, 1, b)``::

        a // b  →  select(b == 0, 0, select(b == -1, -a, a // safe))
        a % b   →  select(b == 0, 0, a % safe)
    """
    guards = (
        (_QUOTIENTS, partial(_guarded, quotient=True)),
        (_REMAINDERS, partial(_guarded, quotient=False)),
    )
    functions = {
        name: tvm_ffi.structural_map(func, guards) if isinstance(func, tirx.PrimFunc) else func
        for name, func in mod.functions.items()
    }
    return tvm.IRModule(functions, attrs=mod.attrs)


def _may_stop(division: Any) -> bool:
    """Whether integers are divided by what is read."""
    loads: list[Any] = []
    if "int" in str(division.ty):
        tvm_ffi.structural_walk(division.b, (TensorLoad, loads.append))
    return bool(loads)


def _guarded(division: Any, *, quotient: bool) -> Any:
    if not _may_stop(division):
        return division
    dtype = str(division.ty)
    zero, one = tirx.const(0, dtype), tirx.const(1, dtype)
    is_zero = tirx.EQ(division.b, zero)
    signed = not dtype.startswith("uint")
    is_minus = tirx.EQ(division.b, tirx.const(-1, dtype)) if signed else None
    unsafe = is_zero if is_minus is None else tirx.Or(is_zero, is_minus)
    found = type(division)(division.a, tirx.Select(unsafe, one, division.b))
    if quotient and is_minus is not None:
        found = tirx.Select(is_minus, zero - division.a, found)
    return tirx.Select(is_zero, zero, found)
