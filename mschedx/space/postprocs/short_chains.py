"""Chains of floating-point comparisons that LLVM takes exponential time to compile.

``m = max(m, x[i, 0]); m = max(m, x[i, 1]); ...`` in a loop over ``i``, from one iteration to the
next: as selections after comparisons, as TVM writes ``max``, ``min`` and the steps of an
``argmax``, the time doubles with every further term: 20 terms 0.07 s, 24 0.5, 28 11.6, 32 more
than a minute (LLVM of TVM 0.27; float16 and float32, scalars and vectors, alone or two at a time).
Free of it are integers, chains that begin anew in every iteration (a window of 6 x 6 unrolled
whole takes 0.04 s), and the same loop when LLVM unrolls it itself.
"""

from __future__ import annotations

from math import prod
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.postproc import PyPostproc

from .places import Place, Placed, block_at, blocks_of

_LONGEST = 16
"""Terms that still compile at once."""

_LIMIT, _EXPLICIT = "pragma_auto_unroll_max_step", "pragma_unroll_explicit"
_COMPARISONS = (tirx.Max, tirx.Min, tirx.LT, tirx.LE, tirx.GT, tirx.GE)


@derived_object
class ShortChains(PyPostproc):
    """Unroll no more than sixteen terms of a maximum, minimum or argmax inside a loop.

    Rewrite
    -------
    Before::

        for r in T.parallel(16, annotations={"pragma_auto_unroll_max_step": 512, ...}):
            for i, k in T.grid(64, 32): m[r] = max(m[r], x[r, i, k])

    after::

        for r in T.parallel(16, annotations={"pragma_auto_unroll_max_step": 512, ...}):
            for i in range(64):
                for k in T.serial(32, annotations={"pragma_auto_unroll_max_step": 16}):
                    m[r] = max(m[r], x[r, i, k])
    """

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule) -> bool:
        for variable, function in sch.mod.functions.items():
            for place, position in _long(function):
                made: Any = sch
                loop = made.get_loops(block_at(sch, variable.name_hint, place))[position]
                if _LIMIT in made.get(loop).annotations:  # TVM would keep it as it is
                    made.unannotate(loop, _LIMIT)
                made.annotate(loop, _LIMIT, _LONGEST)
        return True

    def clone(self) -> Any:
        return ShortChains()


def _long(function: Any) -> list[tuple[Place, int]]:
    """Blocks with such chains, and from which of their loops on there would be one."""
    blocks = blocks_of(function)
    if any(loop.thread_binding is not None for one in blocks for loop in one.loops):
        return []
    marked: set[int] = set()
    found = []
    for one in blocks:
        limits = [at for at, loop in enumerate(one.loops) if _is_unrolled_below(loop)]
        sums = [at for at in one.positions(one.reducing()) if _extent(one.loops[at]) != 1]
        # The outermost carries a chain on, and what is above the annotation is not unrolled.
        inner = [at for at in sums[1:] if limits and at >= limits[0]]
        if prod(_extent(one.loops[at]) for at in inner) <= _LONGEST or not _compares(one):
            continue
        loop = one.loops[inner[0]]
        if id(loop) not in marked and int(loop.annotations.get(_LIMIT, -1)) != _LONGEST:
            marked.add(id(loop))
            found.append((one.place, inner[0]))
    return found


def _is_unrolled_below(loop: Any) -> bool:
    notes = loop.annotations
    return _EXPLICIT in notes and int(notes[_EXPLICIT]) == 1 and _LIMIT in notes


def _extent(loop: Any) -> int:
    return int(loop.extent) if isinstance(loop.extent, tirx.IntImm) else _LONGEST + 1


def _compares(one: Placed) -> bool:
    """Whether a block compares what it has so far, in floating point, with something."""
    block = one.realize.block
    own = [w.source for w in block.writes if "float" in str(w.source.dtype)]
    loaded: list[Any] = []

    def compared(node: Any) -> None:
        tvm_ffi.structural_walk(node, (TensorLoad, loaded.append))

    tvm_ffi.structural_walk(block.body, tuple((kind, compared) for kind in _COMPARISONS))
    return any(load.source.same_as(buffer) for load in loaded for buffer in own)
