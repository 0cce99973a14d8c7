"""Chains of floating-point comparisons that LLVM takes exponential time to compile.

``m = max(m, x[i, 0]); m = max(m, x[i, 1]); ...`` in a loop over ``i``, from one iteration to the
next: as selections after comparisons, as TVM writes ``max``, ``min`` and the steps of an
``argmax``, the time doubles with every further term: 20 terms 0.07 s, 24 0.5, 28 11.6, 32 more
than a minute (LLVM of TVM 0.27; float16 and float32, scalars and vectors, alone or two at a time).

What counts is the longest way back to the last iteration, through whatever is computed in between:
parts of a maximum (``rfactor``), begun anew in every iteration, whose results are compared in
turn, are links of it (``p = max(x[i, :]); m = max(m, sqrt(p))``: 24 terms 0.8 s, 12 behind 12 the
same). Free of it are integers, chains that begin anew in every iteration and end there or in a sum
(a window of 6 x 6 unrolled whole takes 0.04 s), and the same loop when LLVM unrolls it itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.postproc import PyPostproc

from ..annotation_keys import UNROLL_BY_TVM, UNROLL_LIMIT
from .places import Place, Placed, block_at, blocks_of

_LONGEST = 16
"""Terms that still compile at once, of all blocks in a loop together."""

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
            for place, position, most in _long(function):
                made: Any = sch
                loop = made.get_loops(block_at(sch, variable.name_hint, place))[position]
                if UNROLL_LIMIT in made.get(loop).annotations:  # TVM would keep it as it is
                    made.unannotate(loop, UNROLL_LIMIT)
                made.annotate(loop, UNROLL_LIMIT, most)
        return True

    def clone(self) -> Any:
        return ShortChains()


def _long(function: Any) -> list[tuple[Place, int, int]]:
    """Blocks with such chains, from which of their loops on there would be one, and a limit."""
    blocks = blocks_of(function)
    if any(loop.thread_binding is not None for one in blocks for loop in one.loops):
        return []
    found: dict[int, tuple[Place, int, int]] = {}
    comparing = [one for one in blocks if _compares(one)]
    for loop in {id(loop): loop for loop in map(_carrier, comparing) if loop is not None}.values():
        chains = [chain for one in comparing if (chain := _chain(one, loop)) is not None]
        if sum(chain.terms for chain in chains) <= _LONGEST:
            continue
        most = max(_LONGEST // len(chains), 1)
        for chain in chains:
            own = chain.block.loops[chain.first]
            limit = int(own.annotations.get(UNROLL_LIMIT, most + 1))
            known = found.get(id(own), (chain.block.place, chain.first, limit))
            if chain.terms > most and known[-1] > most:
                found[id(own)] = (*known[:2], most)
    return list(found.values())


@dataclass(frozen=True, eq=False, slots=True)
class _Chain:
    """Comparisons of a block that are unrolled in a loop: how many, and its first loop of them."""

    block: Placed
    first: int
    terms: int


def _carrier(one: Placed) -> Any:
    """The loop that carries a block's result on, and that is not unrolled: the outermost."""
    sums = _sums(one)
    return one.loops[sums[0]] if sums else None


def _chain(one: Placed, carrier: Any) -> _Chain | None:
    """What a block adds to the chain that a loop carries on; None where that is nothing."""
    around = [at for at, loop in enumerate(one.loops) if loop.same_as(carrier)]
    limits = [at for at, loop in enumerate(one.loops) if _is_unrolled_below(loop)]
    if not around or not limits:
        return None
    # What is above the annotation is not unrolled.
    inner = [at for at in _sums(one) if at > around[0] and at >= limits[0]]
    terms = prod(_extent(one.loops[at]) for at in inner)
    return _Chain(one, inner[0], terms) if inner else None


def _sums(one: Placed) -> list[int]:
    """Positions of the loops that a block reduces over, those of one iteration left out."""
    return [at for at in one.positions(one.reducing()) if _extent(one.loops[at]) != 1]


def _is_unrolled_below(loop: Any) -> bool:
    notes = loop.annotations
    return UNROLL_BY_TVM in notes and int(notes[UNROLL_BY_TVM]) == 1 and UNROLL_LIMIT in notes


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
