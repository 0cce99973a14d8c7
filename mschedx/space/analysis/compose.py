"""From the expressions of a program's numbers to all that is known of a design space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mschedx.hardware import Hardware
from mschedx.hardware.device import THREAD_REGISTERS

from ..algebra.constraints import Constraint
from ..algebra.expression import Expression
from ..statements import Statement
from .derive.cpu_advice import cpu_preferences
from .derive.cross_thread import cross_thread_constraints
from .derive.index_vectors import vector_constraints
from .derive.limits import (
    Limits,
    canonical_constraints,
    cpu_constraints,
    gpu_constraints,
    named,
    registers,
    thread_bounds,
    wishes,
)
from .derive.statements import computing, statements
from .fit.accesses import accesses, footprints, unknown_strides
from .fit.replays import Replays
from .fit.symbolic import SymbolicProgram
from .mirror.allocations import allocated
from .mirror.async_copies import asynchronous
from .mirror.compaction import doubtful, enlarged
from .mirror.kernels import kernel_of, kernels_of
from .mirror.memory import alignment, is_shared, unsure
from .mirror.postprocs import fetch, unroll
from .mirror.vectorize import rewrite
from .model import AccessInfo, AllocationInfo, Analysis, KernelInfo, LoopInfo, VectorInfo
from .read.probe import Probes
from .read.tensorized import left_as_loops, tensorized

if TYPE_CHECKING:
    from ..trace.design import Design


@dataclass(frozen=True)
class Evidence:
    """What probes of a design showed.

    Parameters
    ----------
    observed : Probes
        All of them.
    replays : Replays
        Those of the most frequent structure that expressions were found from.
    others : int
        Probes of another structure.
    loops : tuple of Constraint
        What keeps every loop's extent constant.
    """

    observed: Probes
    replays: Replays
    others: int
    loops: tuple[Constraint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Derived:
    """What follows from the expressions of a structure, before anything is demanded of it."""

    kernels: Sequence[KernelInfo]
    vectors: Sequence[VectorInfo]
    allocations: Sequence[AllocationInfo]
    statements: Sequence[Statement]


def compose(design: Design, evidence: Evidence, rng: np.random.Generator) -> Analysis:
    """Derive statements, allocations, kernels, quantities and constraints."""
    replays, found = evidence.replays, evidence.replays.found
    limits = Limits.of(design.target)
    on_gpu = limits.on_gpu
    allocations = allocated(replays, on_gpu)
    bounds: tuple[str, ...] = ()
    if on_gpu:
        pitches = {one.buffer: alignment(replays, one.buffer) for one in allocations}
        allocations, bounds = enlarged(design, found, allocations, pitches, evidence.observed, rng)
    else:
        bounds = doubtful(found, allocations)
    kernels = kernels_of(found, allocations, limits.warp) if on_gpu else ()
    vectors = _vectors(replays, kernels, on_gpu)
    loops, reached = _loops(found), accesses(found)
    by_block = {info.block: info for info in vectors}
    left = left_as_loops(design, found.template)
    composed = statements(
        replays, reached, kernels, by_block, tensorized(design), left, on_gpu=on_gpu
    )
    derived = _Derived(
        kernels=kernels, vectors=vectors, allocations=allocations, statements=composed
    )
    constraints, canonical, preferences = _constraints(design, evidence, limits, derived)
    quantities = _quantities(found, loops, reached, derived)
    unresolved = {
        **found.problems,
        **_other_structures(evidence),
        **unknown_strides(reached, loops),
        **_withdrawn(quantities, found, kernels, allocations, bounds),
        **(thread_bounds(replays, kernels)[1] if on_gpu else {}),
    }
    return Analysis(
        quantities=quantities,
        constraints=named(constraints, design.names),
        canonical=wishes(canonical, design.names),
        preferences=wishes(preferences, design.names),
        unresolved=unresolved,
        loops=loops,
        accesses=reached,
        statements=composed,
        allocations=tuple(_unsized(one) if one.buffer in bounds else one for one in allocations),
        kernels=kernels,
        vectors=vectors,
    )


def _constraints(
    design: Design,
    evidence: Evidence,
    limits: Limits,
    derived: _Derived,
) -> tuple[list[Constraint], list[Constraint], list[Constraint]]:
    """What must hold, what makes one config of several equal ones, and what is advised."""
    replays, found = evidence.replays, evidence.replays.found
    constraints = list(evidence.loops)
    if not limits.on_gpu:
        constraints += cpu_constraints(found, derived.vectors)
        if design.target.kind.name != "llvm":  # a device that nothing is advised for
            return constraints, [], []
        hardware = Hardware.from_target(design.target)
        return constraints, [], cpu_preferences(derived.statements, hardware)
    name = str(design.target.attrs.get("arch", design.target.kind.name))
    constraints += gpu_constraints(replays, derived.kernels, limits, name)
    constraints += vector_constraints(replays, derived.vectors, derived.kernels)
    constraints += cross_thread_constraints(replays)
    canonical = list(canonical_constraints(replays))
    return constraints, canonical, list(registers(derived.allocations, 4 * THREAD_REGISTERS))


def _other_structures(evidence: Evidence) -> dict[str, str]:
    if not evidence.others:
        return {}
    return {
        "structure": f"{evidence.others} of {len(evidence.observed.programs)} replays have another "
        "loop structure; expressions describe the most frequent one"
    }


def _withdrawn(
    quantities: dict[str, Expression],
    found: SymbolicProgram,
    kernels: Sequence[KernelInfo],
    allocations: Sequence[AllocationInfo],
    bounds: Sequence[str],
) -> dict[str, str]:
    """Take the quantities out of which only a bound is known, and say why."""
    reasons = {}
    for name in _unsure(found, kernels, allocations):
        if quantities.pop(name, None) is not None:
            reasons[name] = "what the buffer's readers touch is not known: only a lower bound is"
    for name in _of_buffers(bounds, kernels, allocations):
        if quantities.pop(name, None) is not None:
            reasons[name] = "TVM allocates more than is touched: only a bound is known"
    return reasons


def _unsized(one: AllocationInfo) -> AllocationInfo:
    return replace(one, shape=(None,) * len(one.shape), bytes=None)


def _loops(found: SymbolicProgram) -> tuple[LoopInfo, ...]:
    return tuple(
        LoopInfo(
            loop.name,
            loop.kind,
            loop.thread,
            extent,
            None if loop.parent < 0 else loop.parent,
            loop.name.split("/")[0],
        )
        for loop, extent in zip(found.template.loops, found.extents)
    )


def _instances(
    found: SymbolicProgram, composed: Sequence[Statement]
) -> dict[str, Expression | None]:
    """How often every block runs, by its statement: threads that fetch together share the work."""
    runs: dict[str, Expression | None] = {}
    following = iter(composed)
    for b in computing(found.template):
        name = found.template.blocks[b].name
        # An initialisation that lowering splits off may be called as a later block is.
        statement = next(one for one in following if one.name == name)
        runs[f"{name}/instances"] = statement.instances
    return runs


def _unsure(
    found: SymbolicProgram, kernels: Sequence[KernelInfo], allocations: Sequence[AllocationInfo]
) -> list[str]:
    """Names of quantities that rest on buffers whose readers are not known."""
    buffers = {buffer.name: buffer for buffer in found.template.buffers}
    open_ended = [one.buffer for one in allocations if unsure(found, buffers[one.buffer])]
    return _of_buffers(open_ended, kernels, allocations)


def _of_buffers(
    chosen: Sequence[str], kernels: Sequence[KernelInfo], allocations: Sequence[AllocationInfo]
) -> list[str]:
    """Names of the quantities that rest on the sizes of these buffers."""
    names, owners = [], dict(enumerate(kernel.name for kernel in kernels))
    for one in allocations:
        if one.buffer in chosen:
            names += [f"{one.buffer}/alloc[{d}]" for d in range(len(one.shape))]
            names.append(f"{one.buffer}/alloc_bytes")
            if is_shared(one.scope) and one.kernel in owners:
                names.append(f"{owners[one.kernel]}/shared_bytes")
    return names


def _vectors(
    replays: Replays, kernels: Sequence[KernelInfo], on_gpu: bool
) -> tuple[VectorInfo, ...]:
    """What the postprocs make of every block that has loops."""
    result = []
    for b, block in enumerate(replays.template.blocks):
        kernel = kernel_of(replays.template, b)
        if kernel is None or block.parent > 0:
            continue
        limit = unroll(replays, kernel)
        if on_gpu:
            threads = kernels[kernel].threads
            info = threads and fetch(replays, b, threads)
            info = replace(info or VectorInfo(block.name), asynchronous=asynchronous(replays, b))
        else:
            info = rewrite(replays, b)
        result.append(replace(info, unroll=limit))
    return tuple(result)


def _quantities(
    found: SymbolicProgram,
    loops: Sequence[LoopInfo],
    reached: Sequence[AccessInfo],
    derived: _Derived,
) -> dict[str, Expression]:
    """Name what was found."""
    named: dict[str, Expression | None] = {loop.name: loop.extent for loop in loops}
    for kernel in derived.kernels:
        named |= {f"{kernel.name}/{tag}": extent for tag, extent in kernel.extents.items()}
        named[f"{kernel.name}/grid"] = kernel.grid
        named[f"{kernel.name}/threads"] = kernel.threads
        named[f"{kernel.name}/vthreads"] = kernel.vthreads
        named[f"{kernel.name}/shared_bytes"] = kernel.shared_bytes
    for one in derived.allocations:
        named[f"{one.buffer}/alloc_bytes"] = one.bytes
        for d, extent in enumerate(one.shape):
            named[f"{one.buffer}/alloc[{d}]"] = extent
    for info in derived.vectors:
        for part in ("vector", "parallel", "unroll", "serial", "asynchronous"):
            named[f"{info.block}/{part}"] = getattr(info, part)
    named |= _instances(found, derived.statements)
    for access in reached:
        named |= footprints(access, loops)
    return {name: e for name, e in named.items() if e is not None}
