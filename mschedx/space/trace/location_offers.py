"""What TVM offers a block at ``SampleComputeLocation``, read off a schedule.

Loop ``k`` of the first consumer is offered if

- it is around every consumer, and no unit loop,
- it is data-parallel and all other loops outside it are unit loops, or it is another loop,
  some data-parallel loop follows it, and no data-parallel loop between it and another loop
  outside that is more than a unit loop,
- and the block can be computed there.

Inlined it is offered if that can be done. Left out of both is what TVM offers and then compiles to
another program (:mod:`..miscompiled`).

Facts of TVM 0.27: ``CollectComputeLocation``. TVM answers one code at a time and tries every loop
for each answer; here every loop is tried once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from numpy.typing import NDArray
from tvm import tirx
from tvm.s_tir.stmt import SBlock, SBlockRealize
from tvm.tirx.analysis import undefined_vars

from ..miscompiled import falling_quotients
from .fixed_locations import INLINED, ROOT, Around

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a schedule of one config showed.

    Parameters
    ----------
    config : int64 array [D]
    codes : frozenset of int
        The codes that TVM offers.
    extents : tuple of int
        Of the loops around every consumer, outermost first.
    parallel : tuple of bool
        Which of them are data-parallel.
    around : Around
    """

    config: IntArray
    codes: frozenset[int]
    extents: tuple[int, ...]
    parallel: tuple[bool, ...]
    around: Around


def offer_at(schedule: Any, block: Any, config: IntArray) -> Offer:
    """Find what TVM offers ``block`` in a schedule, which stays as it is."""
    trial = schedule.copy()
    consumers = list(trial.get_consumers(block))
    around = [[trial.get(loop) for loop in trial.get_loops(one)] for one in consumers]
    shared = _shared(around)
    extents = tuple(map(_extent, shared))
    parallel = tuple(map(_is_parallel, shared))
    before = falling_quotients(schedule)
    tried = (INLINED, *_wanted(extents, parallel))
    codes = {ROOT, *(code for code in tried if _works(schedule, block, code, before))}
    met = Around(len(consumers), len(around[0]) if around else 0)
    return Offer(config, frozenset(codes), extents, parallel, met)


def _shared(around: list[list[Any]]) -> list[Any]:
    """The loops around every consumer."""
    found = []
    for together in zip(*around):
        if not all(loop.same_as(together[0]) for loop in together):
            break
        found.append(together[0])
    return found


def _wanted(extents: tuple[int, ...], parallel: tuple[bool, ...]) -> list[int]:
    """The loops that TVM tries."""
    last = max((k for k, flag in enumerate(parallel) if flag), default=-1)
    found, others = [], False
    for k, (extent, flag) in enumerate(zip(extents, parallel)):
        if extent == 1:
            continue
        others = others or not flag
        if (flag and others) or (not flag and k > last):
            break
        found.append(k)
    return found


def _works(schedule: Any, block: Any, code: int, falling: int) -> bool:
    """Whether the block can be computed there, and TVM compiles what that makes.

    ``falling``: how many falling quotients there are before.
    """
    trial = schedule.copy()
    try:
        if code == INLINED:
            trial.compute_inline(block)
        else:
            loops = trial.get_loops(trial.get_consumers(block)[0])
            trial.compute_at(block, loops[code], preserve_unit_loops=True)
    except Exception:  # TVM's schedule errors share no base class with its FFI errors.
        return False
    return falling_quotients(trial) <= falling


def _extent(loop: Any) -> int:
    """The extent of a loop; of one that varies, any that TVM takes for no unit loop."""
    return int(loop.extent) if isinstance(loop.extent, tirx.IntImm) else 2


def _is_parallel(loop: Any) -> bool:
    """Whether TVM takes a loop for data-parallel: no block below binds another axis to it."""
    stack = [loop.body]
    while stack:
        node = stack.pop()
        if isinstance(node, SBlockRealize):
            for axis, value in zip(node.block.iter_vars, node.iter_values):
                used = any(map(loop.loop_var.same_as, undefined_vars(value)))
                if used and axis.iter_type != tirx.IterVar.DataPar:
                    return False
        elif isinstance(node, tirx.SeqStmt):
            stack += list(node.seq)
        else:
            parts = (getattr(node, name, None) for name in ("body", "then_case", "else_case"))
            stack += [part for part in parts if part is not None]
    return True


def scales_an_index(mod: tvm.IRModule) -> bool:
    """Whether a block's read has a product or a quotient among its indices.

    What such a read touches at one place of a loop may have gaps to the next, or not begin at a
    multiple of a step: bindings of a block that is moved there, which some postprocs refuse.
    """
    found: list[Any] = []
    scales = tuple((kind, found.append) for kind in (tirx.Mul, tirx.FloorDiv, tirx.FloorMod))

    def visit(block: Any) -> None:
        for region in block.reads:
            for dimension in region.region:
                tvm_ffi.structural_walk(dimension.min, scales)

    for function in mod.functions.values():
        tvm_ffi.structural_walk(function.body, ((SBlock, visit),))
    return bool(found)
