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
from typing import Any

from tvm import tirx
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.postproc import PyPostproc

from .places import Place, Placed, block_at, blocks_of


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


def _misplaced(function: tirx.PrimFunc) -> list[tuple[Place, int]]:
    """Blocks that TVM would initialise too far out, and before which loop it should be.

    That is the first which reduces for the block itself, or else the first which is its alone.
    """
    blocks = blocks_of(function)
    starting = [one for one in blocks if one.realize.block.init is not None]
    if not starting or len(blocks) < 2:
        return []
    everybody = [variable for one in blocks for variable in one.reducing()]
    below = Counter(id(loop) for one in blocks for loop in one.loops)
    loops = (loop for one in blocks for loop in one.loops)
    across = [loop.loop_var for loop in loops if loop.thread_binding is not None]
    found = []
    for one in starting:
        own = one.reducing()
        ours = _first(one, own)
        if ours == len(one.loops):
            ours = sum(below[id(loop)] > 1 for loop in one.loops)
        if _first(one, everybody) < ours and not any(v.same_as(w) for v in own for w in across):
            found.append((one.place, ours))
    return found


def _first(one: Placed, variables: list[Any]) -> int:
    """The first loop of these variables; the number of loops where there is none."""
    return next(iter(one.positions(variables)), len(one.loops))
