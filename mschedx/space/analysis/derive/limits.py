"""Constraints that follow from a program's structure and its target.

Hard constraints mirror what TVM rejects: ``VerifyGPUCode`` counts threads, shared bytes and vector
bytes, its thread-extent check reads the block annotations, and a software pipeline must keep as
many statements as its annotation lists. Preferences are limits of the machine that TVM does not
check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...algebra.constraints import Constraint, at_least, at_most, multiple_of
from ...algebra.expression import Expression
from ...annotation_keys import COOPERATIVE_FETCH, PIPELINE_STAGE, THREADS_HIGH, THREADS_LOW
from ..fit.replays import Replays
from ..fit.symbolic import SymbolicProgram
from ..mirror.kernels import kernel_of
from ..mirror.memory import children
from ..mirror.postprocs import FETCH_BYTES, used_bytes
from ..model import CODE_GENERATION, AllocationInfo, KernelInfo, VectorInfo

MAX_STATIC_BYTES = 48 * 1024
"""Shared memory of a block that a kernel may declare; more has to be asked for at its launch."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the target allows a thread block; 0 where it does not say."""

    threads: int
    shared_bytes: int
    warp: int

    @property
    def on_gpu(self) -> bool:
        """Whether the target has thread blocks."""
        return bool(self.threads)

    @classmethod
    def of(cls, target: Any) -> Limits:
        """Read them off a TVM target."""

        def attribute(name: str) -> int:
            value = target.attrs.get(name)
            return 0 if value is None else int(value)

        return cls(
            attribute("max_threads_per_block"),
            attribute("max_shared_memory_per_block"),
            attribute("thread_warp_size"),
        )


def gpu_constraints(
    replays: Replays,
    kernels: Sequence[KernelInfo],
    limits: Limits,
    name: str,
) -> list[Constraint]:
    """What ``VerifyGPUCode``, the lowering before it and the compiler behind it reject."""
    result: list[Constraint] = []
    for kernel in kernels:
        if kernel.threads is not None and limits.threads:
            origin = f"VerifyGPUCode: threads per block of {name}, kernel {kernel.name}"
            result.append(at_most(kernel.threads, limits.threads, origin))
        needed = kernel.shared_bytes or kernel.shared_at_least
        if needed is not None and limits.shared_bytes:
            origin = f"VerifyGPUCode: shared bytes per block of {name}, kernel {kernel.name}"
            result.append(at_most(needed, limits.shared_bytes, origin))
        if kernel.static_bytes is not None and limits.shared_bytes > MAX_STATIC_BYTES:
            origin = f"{CODE_GENERATION}: static shared bytes of kernel {kernel.name}"
            result.append(at_most(kernel.static_bytes, MAX_STATIC_BYTES, origin))
        result += kernel.clashes
    result += thread_bounds(replays, kernels)[0]
    result += _pipelines(replays.found)
    return result


def cpu_constraints(found: SymbolicProgram, vectors: Sequence[VectorInfo]) -> list[Constraint]:
    """What cannot be lowered for a CPU, although no postproc rejects it.

    A vector loop around a block that holds another, as tensorised ones do: ``VectorizeLoop``
    raises. In TVM's space for bytes it is more than half of the configs.
    """
    holders = {block.name for block in found.template.blocks if not block.leaf}
    return [
        at_most(info.vector, 1, f"VectorizeLoop: {info.block} holds a block")
        for info in vectors
        if info.block in holders and info.vector is not None
    ]


def thread_bounds(
    replays: Replays, kernels: Sequence[KernelInfo]
) -> tuple[list[Constraint], dict[str, str]]:
    """How many threads blocks ask for, and by name what cannot be said of it, with the reason."""
    result, unsaid = [], {}
    for b, block in enumerate(replays.template.blocks):
        kernel, notes = kernel_of(replays.template, b), dict(block.annotations)
        for key, make in ((THREADS_LOW, at_least), (THREADS_HIGH, at_most)):
            if kernel is None or key not in notes:
                continue
            name = key.removeprefix("meta_schedule.")
            threads = kernels[kernel].threads
            bound = replays.annotation(b, key)
            if threads is None or bound is None:
                unsaid[f"{block.name}/{name}"] = "the threads of its kernel are not known"
            else:
                result.append(make(threads, bound, f"{name} of {block.name}"))
    return result, unsaid


def _pipelines(found: SymbolicProgram) -> list[Constraint]:
    """A pipelined reduction loop must iterate, or its body gains the initialisation.

    TVM moves a reduction's initialisation before the first loop that reduces; a loop of extent 1
    no longer counts as one, so the initialisation lands inside the pipelined body.
    """
    program = found.template
    result = []
    for index, loop in enumerate(program.loops):
        stages = dict(loop.annotations).get(PIPELINE_STAGE, ())
        extent = found.extents[index]
        if extent is None or not stages or len(children(program, index)) != len(stages):
            continue
        if False in found.reducing(index):
            origin = f"software pipeline of {loop.name}: its body keeps {len(stages)} statements"
            result.append(at_least(extent, 2, origin))
    return result


def canonical_constraints(replays: Replays) -> list[Constraint]:
    """A requested vector length that TVM would silently replace by 1 is the config with 1."""
    found, result = replays.found, []
    for b, block in enumerate(found.template.blocks):
        lanes = replays.annotation(b, COOPERATIVE_FETCH)
        total = found.extents[block.loops[-1]] if block.loops else None
        if lanes is None or not lanes.columns:
            continue
        if used_bytes(found.template, block) > FETCH_BYTES:
            origin = f"cooperative fetch of {block.name}: its elements come one by one"
            result.append(at_most(lanes, 1, origin))
        elif total is not None:
            origin = f"cooperative fetch of {block.name}: its lanes divide what it fetches"
            result.append(multiple_of(total, lanes, origin))
    return result


def registers(allocations: Sequence[AllocationInfo], limit_bytes: int) -> list[Constraint]:
    """Per-thread arrays fit the registers a thread can have."""
    result = []
    for kernel in sorted({a.kernel for a in allocations if a.kernel is not None}):
        own = [a.bytes for a in allocations if a.kernel == kernel and a.scope == "local"]
        parts = [size for size in own if size is not None]
        if parts:
            total: Expression = sum(parts[1:], parts[0])
            origin = "registers of a thread hold its local arrays"
            result.append(at_most(total, limit_bytes, origin))
    return result


def named(constraints: Sequence[Constraint], names: Sequence[str]) -> tuple[Constraint, ...]:
    """Give constraints the decisions' names, dropping repetitions and those that always hold.

    One that no decision can satisfy stays: it says why a space is empty.
    """
    said = [c for c in constraints if c.columns or c.is_impossible]
    return tuple(dict.fromkeys(replace(c, names=names) for c in said))


def wishes(constraints: Sequence[Constraint], names: Sequence[str]) -> tuple[Constraint, ...]:
    """As `named`, of what need not hold: what no decision can satisfy is dropped, too."""
    return tuple(c for c in named(constraints, names) if c.columns)
