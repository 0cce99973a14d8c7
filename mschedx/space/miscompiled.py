"""Programs that are right and that TVM compiles to something else, or not at all.

A quotient or a remainder of a falling index: ``x[(7 - i) // 2]`` is flattened to
``x[i // -2 + 3]``, one less for every odd ``i``, and ``x[(15 - i) % 8]`` to ``x[i % -8 * -1]``,
which forgets the 15. So are functions that nobody scheduled.
"""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.stmt import SBlockRealize
from tvm.tirx import IntImm

REFUSED_INTRINSICS = frozenset({"dot_16x4_vnni"})
"""Intrinsics of TVM 0.27 that its LLVM does not take: this one hands integers of 32 bits to an
instruction of bytes. `mschedx.intrinsics` has one that it takes, under another name."""

_RISES, _FALLS = frozenset({1}), -1


def falling_quotients(sch: Schedule) -> int:
    """How many quotients and remainders have a dividend that falls as a loop goes on."""
    function = next(iter(sch.mod.functions.values()))
    bindings: dict[Any, Any] = {}
    quotients: list[Any] = []

    def bind(realize: Any) -> None:
        bindings.update(
            (axis.var, value) for axis, value in zip(realize.block.iter_vars, realize.iter_values)
        )

    kinds = ((tirx.FloorDiv, quotients.append), (tirx.FloorMod, quotients.append))
    tvm_ffi.structural_walk(function.body, ((SBlockRealize, bind), *kinds))
    return sum(_FALLS in _signs(quotient.a, bindings) for quotient in quotients)


def _signs(expr: Any, bindings: dict[Any, Any]) -> frozenset[int]:
    """The signs with which loops enter an index."""
    if isinstance(expr, tirx.Var):
        return _signs(bindings[expr], bindings) if expr in bindings else _RISES
    left, right = getattr(expr, "a", None), getattr(expr, "b", None)
    if left is None or right is None:
        return frozenset()
    first, second = _signs(left, bindings), _signs(right, bindings)
    if isinstance(expr, tirx.Sub):
        second = _turned(second)
    negative = any(isinstance(side, IntImm) and int(side) < 0 for side in (left, right))
    if isinstance(expr, tirx.Mul) and negative:
        return _turned(first | second)
    return first | second


def _turned(signs: frozenset[int]) -> frozenset[int]:
    return frozenset(-sign for sign in signs)
