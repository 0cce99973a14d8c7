"""What a materialised program really holds: the ground truth the expressions are held against.

Postprocs bind, fuse and vectorise; lowering decides where buffers live and how large they are. This
module reads those results off one schedule, with the passes TVM itself runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...annotation_keys import PIPELINE_ASYNC_STAGES, UNROLL_LIMIT, VECTOR_COPY
from .extract import entry, extract, nth
from .program import Program


@dataclass(frozen=True, slots=True)
class Lowered:
    """Numbers of a materialised program.

    ``allocations`` maps a buffer to its compacted shape. ``vectors`` and ``parallels`` map a block
    to the product of its vectorised and parallel loops (1: none), ``unrolls`` to its automatic
    unrolling limit, ``asynchronous`` to whether it copies so, and ``threads`` maps a block to the
    extents of the tags bound above it. ``program`` is the schedule itself.
    """

    allocations: Mapping[str, tuple[int, ...]]
    vectors: Mapping[str, int]
    parallels: Mapping[str, int]
    unrolls: Mapping[str, int]
    asynchronous: Mapping[str, int]
    threads: Mapping[str, Mapping[str, int]]
    program: Program


def lower(schedule: Any) -> Lowered:
    """Read a schedule that has been through the postprocs.

    Parameters
    ----------
    schedule : tvm.s_tir.Schedule
    """
    func = entry(schedule.mod)
    program = extract(func)
    return Lowered(
        allocations(func),
        {name: _product(program, b, "vectorized") for name, b in _blocks(program)},
        {name: _product(program, b, "parallel") for name, b in _blocks(program)},
        {name: _unroll(program, b) for name, b in _blocks(program)},
        {name: _is_asynchronous(program, b) for name, b in _blocks(program)},
        {name: _threads(program, b) for name, b in _blocks(program)},
        program,
    )


def _blocks(program: Program) -> list[tuple[str, int]]:
    """Blocks by their name before reductions were split into ``_init`` and ``_update``."""
    return [(block.name.removesuffix("_update"), b) for b, block in enumerate(program.blocks)]


def _product(program: Program, block: int, kind: str) -> int:
    product = 1
    for loop in program.blocks[block].loops:
        if program.loops[loop].kind == kind:
            product *= program.loops[loop].extent
    return product


def _unroll(program: Program, block: int) -> int:
    """The unrolling limit annotated on the outermost loop that has one."""
    for loop in program.blocks[block].loops:
        notes = dict(program.loops[loop].annotations)
        if UNROLL_LIMIT in notes:
            return int(notes[UNROLL_LIMIT])
    return 0


def _is_asynchronous(program: Program, block: int) -> int:
    """Whether it copies vectors in a pipeline that awaits its copies by groups."""
    own = program.blocks[block]
    pipelines = (dict(program.loops[loop].annotations) for loop in own.loops)
    vectors = VECTOR_COPY in dict(own.annotations)
    return int(vectors and any(PIPELINE_ASYNC_STAGES in p for p in pipelines))


def _threads(program: Program, block: int) -> dict[str, int]:
    loops = [program.loops[loop] for loop in program.blocks[block].loops]
    return {loop.thread: loop.extent for loop in loops if loop.thread}


def allocations(func: Any) -> dict[str, tuple[int, ...]]:
    """Lower as far as the compaction of buffers and return their shapes by name.

    Names are made unique in program order, as those of the scheduled program are.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
    """
    import tvm
    from tvm.s_tir import transform

    passes = [
        transform.LowerCrossThreadReduction(),
        transform.LowerInitBlock(),
        transform.PlanAndUpdateBufferAllocationLocation(),
        transform.ConvertBlocksToOpaque(),
        transform.LiftThreadBinding(),
        transform.ManifestSharedMemoryLocalStage(),
        transform.CompactBufferAllocation(),
    ]
    mod = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    lowered = tvm.transform.Sequential(passes)(mod)["main"]
    found: dict[str, tuple[int, ...]] = {}
    met = Counter[str]()
    stack = [lowered.body]
    while stack:
        node = stack.pop()
        kind = type(node).__name__
        if kind == "SeqStmt":
            stack.extend(reversed(node.seq))
        elif kind == "SBlockRealize":
            for buffer in node.block.alloc_buffers:
                met[buffer.name] += 1
                found[nth(buffer.name, met[buffer.name])] = tuple(map(int, buffer.shape))
            stack.append(node.block.body)
        elif kind == "IfThenElse":
            stack += [part for part in (node.then_case, node.else_case) if part is not None]
        elif hasattr(node, "body"):
            stack.append(node.body)
    return found
