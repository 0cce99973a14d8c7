"""What a materialised program really holds: the ground truth the expressions are held against.

Postprocs bind, fuse and vectorise; lowering decides where buffers live and how large they are. This
module reads those results off one schedule, with the passes TVM itself runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
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


def shape_of(allocated: Mapping[str, tuple[int, ...]], buffer: str) -> tuple[int, ...] | None:
    """The shape of a schedule's buffer among those of the lowered program; None where it is gone.

    Lowering spells "A_shared.dyn" with an underscore.
    """
    return allocated.get(buffer, allocated.get(buffer.replace(".", "_")))


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

    Of buffers with one name, lowering may move one behind another; which is which is told by the
    order in which blocks touch them, and they are called as in the scheduled program.

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
    allocated: list[Any] = []
    touched: list[Any] = []
    _gather(lowered.body, allocated, touched)
    named = _by_name(touched, lambda buffer: buffer.name)
    as_scheduled = _by_name(
        (one.buffer for block in extract(func).blocks if block.leaf for one in block.accesses),
        lambda name: name.split("#")[0],
    )
    found: dict[str, tuple[int, ...]] = {}
    met = Counter[str]()
    for buffer in allocated:
        met[buffer.name] += 1
        name = nth(buffer.name, met[buffer.name])
        order, names = named.get(buffer.name, []), as_scheduled.get(buffer.name, [])
        places = [place for place, one in enumerate(order) if one.same_as(buffer)]
        if places and len(order) == len(names):
            name = names[places[0]]
        found[name] = tuple(map(int, buffer.shape))
    return found


def _by_name(found: Iterable[Any], name: Callable[[Any], str]) -> dict[str, list[Any]]:
    """What is found, each once, in order, by name."""
    distinct: dict[str, dict[int, Any]] = {}
    for one in found:
        distinct.setdefault(name(one), {}).setdefault(hash(one), one)
    return {name: list(ones.values()) for name, ones in distinct.items()}


def _gather(root: Any, allocated: list[Any], touched: list[Any]) -> None:
    """The buffers that a program allocates, and those that its innermost blocks touch, in order."""
    stack = [root]
    innermost: Any = None
    while stack:
        node = stack.pop()
        kind = type(node).__name__
        if kind == "SeqStmt":
            stack.extend(reversed(node.seq))
        elif kind == "SBlockRealize":
            allocated.extend(node.block.alloc_buffers)
            stack.append(node.block.body)
            innermost = node.block
        elif kind == "IfThenElse":
            stack += [part for part in (node.then_case, node.else_case) if part is not None]
        elif hasattr(node, "body"):
            stack.append(node.body)
        elif innermost is not None:
            touched += [region.source for region in (*innermost.reads, *innermost.writes)]
            innermost = None
