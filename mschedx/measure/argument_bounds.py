"""What integers a program can be given, read off what it does with them.

An index outside its buffer and a divisor that is 0 may end the process, and what a shift by more
bits than there are gives is not defined. Where a program indexes, divides or shifts by elements of
an argument, these must lie within bounds, which are followed back to the argument: through copies
into other buffers, casts, sums and products with what loops sweep, and clamps::

    table[idx[i] * 4 + j]   with j < 4 and 40 rows of table   →   idx in [0, 9]
    a[i] // b[i]                                              →   b of at least 1
    table[max(min(idx[i], 9), 0)]                             →   any idx

What cannot be followed bounds nothing. Within the bounds a program is defined, and it may be
elsewhere: negative divisors are left out, and of two bounds that exclude each other the later one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from .timing import OPEN, Bounds, numpy_dtype

_FAR = 1 << 80
"""Beyond every integer: a bound that there is not."""

_Span = tuple[int, int]
_UNKNOWN: _Span = (-_FAR, _FAR)
_NOTHING: _Span = (1, 0)  # bounds that exclude each other


def argument_bounds(function: Any) -> tuple[Bounds, ...]:
    """Read the bounds of each parameter of a PrimFunc, scheduled or not.

    Parameters
    ----------
    function : PrimFunc

    Returns
    -------
    tuple of Bounds
        `OPEN` for what is no integer.
    """
    integers = {
        parameter.__chandle__(): _limits(str(parameter.dtype))
        for parameter in function.params
        if _is_integer(getattr(parameter, "dtype", ""))
    }
    if not integers:
        return (OPEN,) * len(function.params)
    reading = _Reading(integers)
    reading.read(function.body)
    return tuple(
        _narrowed(integers[handle], reading.limits[handle]) if handle in integers else OPEN
        for handle in (parameter.__chandle__() for parameter in function.params)
    )


def _limits(dtype: str) -> _Span:
    try:
        limits = np.iinfo(numpy_dtype(dtype))
    except TypeError:  # a dtype that cannot be filled is named where that is tried
        return _UNKNOWN
    return int(limits.min), int(limits.max)


def _narrowed(before: _Span, after: _Span) -> Bounds:
    least, most = (new if new != old else None for old, new in zip(before, after, strict=True))
    return least, most


class _Reading:
    """What is known of the buffers and variables of a function.

    Parameters
    ----------
    limits : dict of int to (int, int)
        By the handles of the integer parameters, what they may hold; narrowed by `read`.
    """

    def __init__(self, limits: dict[int, _Span]) -> None:
        self.limits = dict(limits)
        self._spans: dict[int, _Span] = {}  # of loops and the axes of blocks
        self._values: dict[int, list[Any]] = {}  # of what is stored into buffers, and variables
        self._needs: list[tuple[Any, int, int]] = []
        self._followed: set[int] = set()

    def read(self, body: Any) -> None:
        import tvm_ffi
        from tvm import tirx
        from tvm.ir import Call, TensorLoad
        from tvm.s_tir import SBlock

        quotients = (tirx.Div, tirx.Mod, tirx.FloorDiv, tirx.FloorMod)
        kinds = (
            (tirx.For, lambda loop: self._sweep(loop.loop_var, loop.min, loop.extent)),
            (SBlock, self._block),
            (tirx.BufferStore, self._store),
            ((tirx.Bind, tirx.Let), lambda bind: self._hold(bind.var, bind.value)),
            (TensorLoad, lambda load: self._index(load.source, load.indices)),
            (quotients, self._quotient),
            ((tirx.LShift, tirx.RShift), lambda shift: self._shift(shift, shift.b)),
            (Call, self._call),
        )
        tvm_ffi.structural_walk(body, kinds)
        # Each may be followed into stores that come later.
        for need in self._needs:
            self._require(*need)

    # What stands where.

    def _sweep(self, variable: Any, least: Any, extent: Any) -> None:
        first, count = self._span(least), self._span(extent)
        swept = (first[0], first[1] + count[1] - 1)
        known = self._spans.get(variable.__chandle__(), swept)
        self._spans[variable.__chandle__()] = (min(swept[0], known[0]), max(swept[1], known[1]))

    def _block(self, block: Any) -> None:
        for axis in block.iter_vars:
            self._sweep(axis.var, axis.dom.min, axis.dom.extent)
        for match in block.match_buffers:
            self._hold(match.buffer, match.source.source)

    def _store(self, store: Any) -> None:
        self._hold(store.buffer, store.value)
        self._index(store.buffer, store.indices)

    def _hold(self, holder: Any, value: Any) -> None:
        self._values.setdefault(holder.__chandle__(), []).append(value)

    def _index(self, buffer: Any, indices: Iterable[Any]) -> None:
        for index, extent in zip(indices, buffer.shape, strict=False):
            size = _constant(extent)
            if size is not None:
                self._needs.append((index, 0, size - 1))

    def _quotient(self, quotient: Any) -> None:
        from tvm.ir import Call
        from tvm.tirx import Select

        if not _is_integer(quotient.ty) or _constant(quotient.b) is not None:
            return
        # Whoever chooses a divisor has thought of those that are 0.
        if not _holds(quotient.b, (Select, Call)):
            self._needs.append((quotient.b, 1, _FAR))

    def _shift(self, shift: Any, amount: Any) -> None:
        bits = re.search(r"int(\d+)", str(shift.ty))
        if bits is not None:
            self._needs.append((amount, 0, int(bits[1]) - 1))

    def _call(self, call: Any) -> None:
        if _name(call) in ("shift_left", "shift_right"):
            self._shift(call, call.args[1])

    # What that asks of the arguments.

    def _require(self, node: Any, least: int, most: int) -> None:
        """Narrow the arguments so that an expression lies in [least, most]."""
        if least > most:
            return
        kind = type(node).__name__
        if kind == "TensorLoad":
            self._require_held(node.source, least, most)
        elif kind in ("Var", "Buffer"):
            self._require_held(node, least, most)
        elif kind == "Cast" and _is_integer(node.value.ty):
            self._require(node.value, least, most)
        elif kind == "Let":
            self._require(node.body, least, most)
        elif kind == "Select":
            self._require_each((node.false_value, node.true_value), least, most)
        elif kind == "Call" and _name(node) == "if_then_else":
            self._require_each((node.args[2], node.args[1]), least, most)
        elif kind in _BACK:
            self._require_operands(node, kind, least, most)

    def _require_each(self, parts: Iterable[Any], least: int, most: int) -> None:
        """Narrow to what each part allows, in turn, but for what excludes the parts before.

        What is taken otherwise comes first: of an index that is turned where it is negative that is
        the index as it is.
        """
        for part in parts:
            self._require(part, least, most)

    def _require_held(self, holder: Any, least: int, most: int) -> None:
        handle = holder.__chandle__()
        if handle in self.limits:
            low, high = self.limits[handle]
            if max(low, least) <= min(high, most):
                self.limits[handle] = (max(low, least), min(high, most))
        if handle in self._followed:
            return
        self._followed.add(handle)
        self._require_each(self._values.get(handle, ()), least, most)
        self._followed.discard(handle)

    def _require_operands(self, node: Any, kind: str, least: int, most: int) -> None:
        by = self._span(node.a), self._span(node.b)
        for part, other, first in ((node.a, by[1], True), (node.b, by[0], False)):
            self._require(part, *_BACK[kind](least, most, other, first))

    def _span(self, node: Any) -> _Span:
        """What an expression of loops and constants takes; `_UNKNOWN` of any other."""
        number = _constant(node)
        if number is not None:
            return number, number
        kind = type(node).__name__
        if kind == "Var":
            return self._spans.get(node.__chandle__(), _UNKNOWN)
        if kind == "Cast" and _is_integer(node.value.ty):
            return self._span(node.value)
        if kind not in _ACROSS:
            return _UNKNOWN
        first, second = self._span(node.a), self._span(node.b)
        known = second if kind == "FloorMod" else (*first, *second)
        return _UNKNOWN if {-_FAR, _FAR} & {*known} else _ACROSS[kind](first, second)


def _across_quotient(of: _Span, by: _Span) -> _Span:
    return (of[0] // by[0], of[1] // by[0]) if by[0] == by[1] > 0 else _UNKNOWN


def _across_product(of: _Span, by: _Span) -> _Span:
    corners = [p * q for p in of for q in by]
    return min(corners), max(corners)


_ACROSS = {
    "Add": lambda of, by: (of[0] + by[0], of[1] + by[1]),
    "Sub": lambda of, by: (of[0] - by[1], of[1] - by[0]),
    "Mul": _across_product,
    "FloorDiv": _across_quotient,
    "FloorMod": lambda _, by: (0, by[1] - 1) if by[0] > 0 else _UNKNOWN,
}
"""What an operation gives, from what its operands take."""


# Of the bounds of a result those of one operand, whatever the other is of what it takes: the first
# operand, or the second. Bounds that exclude each other bound nothing.


def _back_from_difference(least: int, most: int, other: _Span, first: bool) -> _Span:
    if first:
        return least + other[1], most + other[0]
    return other[1] - most, other[0] - least


def _back_from_product(least: int, most: int, other: _Span, _: bool) -> _Span:
    factor = other[0]
    return (-(-least // factor), most // factor) if factor == other[1] > 0 else _NOTHING


def _back_from_quotient(least: int, most: int, other: _Span, first: bool) -> _Span:
    by = other[0]
    # A division that truncates gives the same where results may be 0 or more.
    if first and by == other[1] > 0 and most >= 0:
        return least * by, most * by + by - 1
    return _NOTHING


def _back_from_max(least: int, most: int, other: _Span, _: bool) -> _Span:
    return (-_FAR if other[0] >= least else least), most


def _back_from_min(least: int, most: int, other: _Span, _: bool) -> _Span:
    return least, (_FAR if other[1] <= most else most)


_BACK = {
    "Add": lambda least, most, other, _: (least - other[0], most - other[1]),
    "Sub": _back_from_difference,
    "Mul": _back_from_product,
    "Div": _back_from_quotient,
    "FloorDiv": _back_from_quotient,
    "Max": _back_from_max,
    "Min": _back_from_min,
}


def _constant(node: Any) -> int | None:
    return int(node.value) if type(node).__name__ == "IntImm" else None


def _name(call: Any) -> str:
    return str(getattr(call.op, "name", "")).rsplit(".", 1)[-1]


def _holds(node: Any, kinds: tuple[Any, ...]) -> bool:
    import tvm_ffi

    found: list[Any] = []
    tvm_ffi.structural_walk(node, (kinds, found.append))
    return bool(found)


def _is_integer(dtype: Any) -> bool:
    return "int" in str(dtype)
