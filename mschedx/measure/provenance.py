"""What becomes of rounding errors in a program: which of its results another order may change.

A float that is computed is off by a little in another order of the same operations. A whole number
that it is rounded to is off by 1 where the float was next to the boundary; a place that is chosen
by comparing such floats may be any other. This is read off the program, without running it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Provenance(IntEnum):
    """How far a value follows what floats were rounded to on the way to it.

    Of two that meet, the larger counts.
    """

    EXACT = 0
    """No computed float has to do with it: it is the same in every order of operations."""
    COMPUTED = 1
    """A computed float; a bool of this kind compares such floats."""
    ROUNDED = 2
    """A whole number that a computed float was rounded to; by 1 off, where it is off."""
    DECIDED = 3
    """What computed floats decide: a place, a count, a rounded number times another."""


_COMPARISONS = frozenset(["EQ", "NE", "LT", "LE", "GT", "GE"])
_MONOTONE = frozenset(["Min", "Max", "And", "Or", "Not"])
_ROUNDINGS = frozenset(["round", "nearbyint", "floor", "ceil", "trunc"])
_PARTS = (
    *("a", "b", "value", "base", "stride", "condition", "true_value", "false_value"),
    *("args", "indices", "vectors"),
)
_INSIDE = ("init", "body", "seq", "block", "then_case", "else_case")


def provenances(function: Any, given: tuple[Provenance, ...] = ()) -> tuple[Provenance, ...]:
    """Read what each parameter of an unscheduled PrimFunc holds once it has run.

    A call that cannot be read, as of a sort, is taken to write all parameters that are not `given`.

    Parameters
    ----------
    function : PrimFunc
    given : tuple of Provenance
        Of the first parameters before it runs; the others are exact.

    Returns
    -------
    tuple of Provenance
        Of all parameters, those that it only reads among them.
    """
    reading = _Reading()
    for param, one in zip(function.params, given):
        reading.join(param, one)
    while reading.changed:
        reading.changed = False
        reading.known.clear()
        reading.statement(function.body)
    found = [reading.of(param) for param in function.params]
    if reading.is_opaque:
        floats = any(_is_float(param.dtype) for param in function.params)
        largest = max(found, default=Provenance.EXACT)
        for place in range(len(given), len(found)):
            own = unread(
                largest, floats=floats, into_floats=_is_float(function.params[place].dtype)
            )
            found[place] = max(found[place], own)
    return tuple(found)


def unread(largest: Provenance, *, floats: bool, into_floats: bool) -> Provenance:
    """What a function that cannot be read makes of what it takes, some of it `floats` or none."""
    if largest <= Provenance.COMPUTED and into_floats:
        return Provenance.COMPUTED
    exact = largest is Provenance.EXACT and not floats
    return Provenance.EXACT if exact else Provenance.DECIDED


def entry_of(mod: Any) -> Any:
    """The PrimFunc of a module that is called: its only one, or "main"."""
    functions = list(mod.functions.values())
    return functions[0] if len(functions) == 1 else mod["main"]


class _Reading:
    """What is known of the buffers of a function; statements are read until nothing is new."""

    def __init__(self) -> None:
        self.changed, self.is_opaque = True, False
        self.known: dict[int, Provenance] = {}  # of expressions, which may stand in several places
        self._held: dict[int, Provenance] = {}  # of buffers and bound variables
        self._aliases: dict[int, Any] = {}

    def of(self, buffer: Any) -> Provenance:
        while (source := self._aliases.get(buffer.__chandle__())) is not None:
            buffer = source
        return self._held.get(buffer.__chandle__(), Provenance.EXACT)

    def join(self, buffer: Any, one: Provenance) -> None:
        while (source := self._aliases.get(buffer.__chandle__())) is not None:
            buffer = source
        if one > self.of(buffer):
            self._held[buffer.__chandle__()] = one
            self.changed = True

    def statement(self, root: Any) -> None:
        stack = [(root, Provenance.EXACT)]
        while stack:
            node, under = stack.pop()
            kind = type(node).__name__
            if kind == "BufferStore":
                self._store(node, under)
                continue
            if kind == "Bind":
                self.join(node.var, self.expression(node.value))
                continue
            self.is_opaque |= kind == "Evaluate" and type(node.value).__name__ == "Call"
            for match in getattr(node, "match_buffers", None) or ():
                self._aliases[match.buffer.__chandle__()] = match.source.source
            for name in ("condition", "predicate", "extent"):
                condition = getattr(node, name, None)
                if condition is not None:
                    under = max(under, self.expression(condition))
            for name in _INSIDE:
                child = getattr(node, name, None)
                if child is not None:
                    children = child if name == "seq" else [child]
                    stack.extend((one, under) for one in children)

    def _store(self, store: Any, under: Provenance) -> None:
        value, place = self.expression(store.value), self._largest(store.indices)
        floats = _is_float(store.buffer.dtype)
        if place > Provenance.EXACT or under > Provenance.COMPUTED:
            value = Provenance.DECIDED
        value = max(value, under)
        if value is Provenance.COMPUTED and not floats:
            value = Provenance.DECIDED
        self.join(store.buffer, value)

    def _largest(self, nodes: Any) -> Provenance:
        return max((self.expression(node) for node in nodes), default=Provenance.EXACT)

    def expression(self, node: Any) -> Provenance:
        handle = node.__chandle__()
        if handle not in self.known:
            self.known[handle] = self._expression(node)
        return self.known[handle]

    def _expression(self, node: Any) -> Provenance:
        kind = type(node).__name__
        if kind == "TensorLoad":
            exact = self._largest(node.indices) is Provenance.EXACT
            return self.of(node.source) if exact else Provenance.DECIDED
        if kind == "Var":
            return self.of(node)
        if kind == "Let":
            self.join(node.var, self.expression(node.value))
            return self.expression(node.body)
        if kind == "Select":
            return self._chosen(node, node.condition, node.true_value, node.false_value)
        name = str(getattr(node.op, "name", "")).rsplit(".", 1)[-1] if kind == "Call" else ""
        if name == "if_then_else":
            return self._chosen(node, *node.args)
        parts = [self.expression(part) for part in _parts(node)]
        largest = max(parts, default=Provenance.EXACT)
        if kind == "Cast":
            return _cast(largest, str(node.value.ty), str(node.ty))
        if kind in _COMPARISONS:
            floats = _is_float(node.a.ty)
            return largest if floats or largest is Provenance.EXACT else Provenance.DECIDED
        if kind in _MONOTONE:
            return largest
        if name in _ROUNDINGS:
            return Provenance.ROUNDED if largest is Provenance.COMPUTED else largest
        if not parts:
            return Provenance.EXACT
        return _computed(kind, parts, _is_float(node.ty))

    def _chosen(self, node: Any, condition: Any, one: Any, other: Any) -> Provenance:
        """A branch; both are taken to be near where floats that are compared choose a float."""
        by, held = self.expression(condition), self._largest([one, other])
        if by is Provenance.EXACT:
            return held
        near = by is Provenance.COMPUTED and held is Provenance.COMPUTED and _is_float(node.ty)
        return held if near else Provenance.DECIDED


def _computed(kind: str, parts: list[Provenance], floats: bool) -> Provenance:
    """What arithmetic, or any other function, makes of its operands."""
    largest = max(parts)
    if floats:
        near = largest <= Provenance.COMPUTED and kind not in ("Mod", "FloorMod")
        return Provenance.COMPUTED if near else Provenance.DECIDED
    if largest is Provenance.EXACT:
        return Provenance.EXACT
    shifted = kind in ("Add", "Sub") and sorted(parts) == [Provenance.EXACT, Provenance.ROUNDED]
    repeated = kind == "Broadcast" and largest is Provenance.ROUNDED
    return Provenance.ROUNDED if shifted or repeated else Provenance.DECIDED


def _cast(value: Provenance, before: str, after: str) -> Provenance:
    if value is Provenance.EXACT:
        return value
    if _is_float(before):
        if _is_float(after):
            return value
        rounded = value is not Provenance.DECIDED and "bool" not in after
        return Provenance.ROUNDED if rounded else Provenance.DECIDED
    whole = value is Provenance.ROUNDED and not _is_float(after) and "bool" not in after
    return Provenance.ROUNDED if whole else Provenance.DECIDED


def _parts(node: Any) -> list[Any]:
    found: list[Any] = []
    for name in _PARTS:
        part = getattr(node, name, None)
        if part is not None and not isinstance(part, (int, float, str)):
            found.extend(part if name in ("args", "indices", "vectors") else [part])
    return found


def _is_float(dtype: Any) -> bool:
    return "float" in str(dtype)
