"""Reductions that are computed inside the reduction of another block, initialised where they are.

``RewriteReductionBlock`` initialises a block before the first loop around it that reduces,
whichever block it reduces for. Computed below such a loop, a sum goes on from what the last
iteration left::

    for k0, i:  # k0 reduces for C
        for j, r:  T[j] += A[j, r]      # again for every i
        for k1:    C[i] += T[k0, k1] * B[k0, k1]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from tvm import tirx
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.postproc import PyPostproc
from tvm.s_tir.stmt import SBlockRealize
from tvm.tirx.analysis import undefined_vars

from .places import Place, block_at


@derived_object
class InnerReductions(PyPostproc):
    """Initialise reductions at loops of their own where TVM would do it further out.

    Rewrite
    -------
    Before::

        for k0, i:
            for j, r:
                with block("T"):
                    with init(): T[j] = 0
                    T[j] += A[j, r]
            ...

    after::

        for k0, i:
            for j: T[j] = 0
            for j, r: T[j] += A[j, r]
            ...
    """

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule) -> bool:
        for variable, function in sch.mod.functions.items():
            name = variable.name_hint
            # All looked up first: an initialisation is a block too, and moves the numbers.
            found = [(block_at(sch, name, at), loop) for at, loop in _misplaced(function)]
            for block, loop in found:
                _initialise(sch, block, loop)
        return True

    def clone(self) -> Any:
        return InnerReductions()


def _initialise(sch: Any, block: Any, loop: int) -> None:
    if loop == len(sch.get_loops(block)):
        sch.add_unit_loop(block)
    sch.decompose_reduction(block, sch.get_loops(block)[loop])


@dataclass(frozen=True, eq=False, slots=True)
class _Place:
    """A block and the loops around it, outermost first: their numbers and their variables."""

    realize: Any
    at: Place
    loops: tuple[tuple[int, Any], ...]

    def reducing(self) -> list[Any]:
        """The loop variables that its reduction axes are bound to."""
        pairs = zip(self.realize.block.iter_vars, self.realize.iter_values)
        reduced = (value for axis, value in pairs if axis.iter_type != tirx.IterVar.DataPar)
        return [variable for value in reduced for variable in undefined_vars(value)]

    def first(self, variables: list[Any]) -> int:
        """The first loop of these variables; the number of loops where there is none."""
        for position, (_, own) in enumerate(self.loops):
            if any(map(own.same_as, variables)):
                return position
        return len(self.loops)


def _misplaced(function: tirx.PrimFunc) -> list[tuple[Place, int]]:
    """Blocks that TVM would initialise too far out, and before which loop it should be.

    That is the first which reduces for the block itself, or else the first which is its alone.
    """
    places, across = _places(function.body)
    starting = [place for place in places if place.realize.block.init is not None]
    if not starting or len(places) < 2:
        return []
    everybody = [variable for place in places for variable in place.reducing()]
    below = Counter(number for place in places for number, _ in place.loops)
    found = []
    for place in starting:
        own = place.reducing()
        ours = place.first(own)
        if ours == len(place.loops):
            ours = sum(below[number] > 1 for number, _ in place.loops)
        if place.first(everybody) < ours and not any(v.same_as(w) for v in own for w in across):
            found.append((place.at, ours))
    return found


def _places(body: Any) -> tuple[list[_Place], list[Any]]:
    """Every block with the loops around it in its scope; the variables bound to threads."""
    found: list[_Place] = []
    bound: list[Any] = []
    numbers = count()
    # What is left to visit, the first last: its loops, its scope and the blocks counted there.
    stack: list[tuple[Any, tuple[tuple[int, Any], ...], Place, Iterator[int]]] = [
        (body, (), (), count())
    ]
    while stack:
        node, loops, scope, blocks = stack.pop()
        if isinstance(node, SBlockRealize):
            place = _Place(node, (*scope, next(blocks)), loops)
            found.append(place)
            stack.append((node.block.body, (), place.at, count()))
            continue
        if isinstance(node, tirx.For):
            if node.thread_binding is not None:
                bound.append(node.loop_var)
            loops = (*loops, (next(numbers), node.loop_var))
            parts = [node.body]
        elif isinstance(node, tirx.SeqStmt):
            parts = list(node.seq)
        else:
            parts = [getattr(node, name, None) for name in ("body", "then_case", "else_case")]
        stack += [(part, loops, scope, blocks) for part in reversed(parts) if part is not None]
    return found, bound
