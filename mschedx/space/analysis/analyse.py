"""Analyse a design space once: from its replays to expressions and constraints."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mschedx.hardware import Hardware

from ..algebra.expression import Expression, multiply
from .derive.cpu_advice import cpu_preferences
from .derive.limits import (
    Limits,
    canonical_constraints,
    gpu_constraints,
    named,
    registers,
    vector_constraints,
)
from .derive.statements import statements
from .derive.varying_loops import constant_loops
from .fit.accesses import STRIDE, accesses, footprints, unknown_strides
from .fit.integers import Solver, enough
from .fit.numbers import observe
from .fit.symbolic import SymbolicProgram, solve, withdraw
from .mirror.compaction import doubtful, enlarged
from .mirror.kernels import kernels, top_of, tops
from .mirror.memory import (
    alignment,
    copies,
    elements,
    is_shared,
    shape,
    unsure,
    users,
)
from .mirror.postprocs import fetch, unroll
from .mirror.vectorize import rewrite
from .model import (
    AccessInfo,
    AllocationInfo,
    Analysis,
    KernelInfo,
    LoopInfo,
    VectorInfo,
)
from .read.probe import (
    Probes,
    divides,
    extreme_configs,
    gather,
    gather_few,
    random_configs,
    replayed_or_not,
)
from .read.program import Program, dtype_bytes
from .read.tensorized import tensorized

if TYPE_CHECKING:
    from ..trace.design import Design

PROBES = 64
"""Random replays a design is fitted and checked on, besides its corners."""

_FEW = 12
"""Replays, besides corners and one per decision, that are enough where every expression is then
the only one that agrees with them."""

_FURTHER, _SETTLING, _DISPUTES = 512, 3, 32
"""Configs of either kind on which expressions that agree are compared; how often, and on how many
of those where they differ, programs are asked which one is right."""

_HELD_OUT = 3
"""One in so many of the later replays (corners come first) is checked instead of fitted."""

THREAD_REGISTER_BYTES = 255 * 4
"""Registers one CUDA thread can have."""


def analyse(design: Design, seed: int = 0, probes: int = PROBES) -> Analysis:
    """Find every quantity of a design space as an expression of its decisions.

    Parameters
    ----------
    design : Design
    seed : int
        Seeds the choice of random configs; the result does not depend on it where it is exact.
    probes : int
        Random configs to replay, more than there are unknown exponents (one per decision).

    Raises
    ------
    UnsupportedTrace
        When no config replays.
    """
    with without_collections():
        return _analyse(design, np.random.default_rng(seed), probes)


@contextmanager
def without_collections() -> Iterator[None]:
    """Hold off the cyclic garbage collector, whose full passes cost an analysis a seventh.

    Analysing makes millions of small objects that live until its end and hardly any cycles. Where
    it is off already it stays off; the first to leave of several threads turns it on again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _analyse(design: Design, rng: np.random.Generator, probes: int) -> Analysis:
    few = gather_few(design, _FEW + len(design.decisions), rng)
    if _is_plain(design, few):
        analysis = analyse_probes(design, few, rng, wary=True)
        if all(STRIDE in name for name in analysis.unresolved):
            return analysis
    observed = gather(design, few, max(probes, 2 * len(design.decisions)), rng)
    return analyse_probes(design, observed, rng)


def _is_plain(design: Design, observed: Probes) -> bool:
    """Whether the replays succeeded, alike, show every loop's strides, and divide no iterators."""
    if observed.refused or divides(observed.programs[0], really=True):
        return False
    if len({program.skeleton for program in observed.programs}) > 1:
        return False
    extents = np.array([[loop.extent for loop in p.loops] for p in observed.programs])
    running = (extents > 1).sum(axis=0)
    unknowns = sum(max(1, len(t.columns) - 1) for t in design.tables if len(t.rows) > 1)
    return not ((running > 0) & (running < enough(unknowns))).any()


def analyse_probes(
    design: Design, observed: Probes, rng: np.random.Generator, wary: bool = False
) -> Analysis:
    """Analyse what `analyse` gathered; see there, and `solve` for ``wary``."""
    programs, configs, others = _one_skeleton(observed)
    kept = np.arange(len(programs)) < len(programs) // 2
    kept |= np.arange(len(programs)) % _HELD_OUT != 0
    held_out, held_configs = _where(programs, ~kept), configs[~kept]
    programs, configs = _where(programs, kept), configs[kept]
    tiles = [t.columns for t in design.tables if len(t.columns) > 1]
    programs, solver, found = _settled(design, programs, configs, rng, wary)
    if held_out:
        withdraw(found, observe(held_out), held_configs)
    limits = Limits.of(design.target)
    on_gpu = bool(limits.threads)
    allocations = _allocations(programs, found, solver, on_gpu)
    bounds: tuple[str, ...] = ()
    if on_gpu:
        pitches = {one.buffer: alignment(programs, one.buffer, solver) for one in allocations}
        allocations, bounds = enlarged(design, found, allocations, pitches, observed, rng)
    else:
        bounds = doubtful(found, allocations)
    nests = kernels(found, allocations, limits.warp) if on_gpu else ()
    vectors = _vectors(programs, found, solver, nests)
    constraints: list = []
    constraints += constant_loops(design, tiles, observed, rng)
    canonical: list = []
    preferences: list = []
    if on_gpu:
        name = str(design.target.attrs.get("arch", design.target.kind.name))
        constraints += gpu_constraints(programs, found, solver, nests, limits, name)
        constraints += vector_constraints(found, vectors)
        canonical += canonical_constraints(programs, found, solver)
        preferences += registers(allocations, THREAD_REGISTER_BYTES)
    unresolved = dict(found.problems)
    if others:
        unresolved["structure"] = (
            f"{others} of {len(observed.programs)} replays have another loop structure; "
            "expressions describe the most frequent one"
        )
    loops = _loops(found)
    reached = accesses(found)
    unresolved |= unknown_strides(reached, loops)
    by_block = {info.block: info for info in vectors}
    composed = statements(programs, found, reached, nests, by_block, tensorized(design))
    if not on_gpu:
        hardware = Hardware.from_target(design.target)
        preferences += cpu_preferences(composed, hardware)
    quantities = _quantities(found, loops, reached, allocations, nests, vectors)
    for name in _unsure(found, nests, allocations):
        if quantities.pop(name, None) is not None:
            unresolved[name] = "what the buffer's readers touch is not known: only a lower bound is"
    for name in _of_buffers(bounds, nests, allocations):
        if quantities.pop(name, None) is not None:
            unresolved[name] = "TVM allocates more than is touched: only a bound is known"
    allocations = tuple(
        replace(one, shape=(None,) * len(one.shape), bytes=None) if one.buffer in bounds else one
        for one in allocations
    )
    return Analysis(
        quantities=quantities,
        constraints=named(constraints, design.names),
        canonical=named(canonical, design.names),
        preferences=named(preferences, design.names),
        unresolved=unresolved,
        loops=loops,
        accesses=reached,
        statements=composed,
        allocations=allocations,
        kernels=nests,
        vectors=vectors,
    )


def _settled(
    design: Design,
    programs: tuple[Program, ...],
    configs: np.ndarray,
    rng: np.random.Generator,
    wary: bool,
) -> tuple[tuple[Program, ...], Solver, SymbolicProgram]:
    """Solve, replaying the configs that tell apart expressions which agree so far.

    Returns
    -------
    programs : tuple of Program
        Those given and those replayed.
    solver : Solver
        Made on them.
    found : SymbolicProgram
        Without the expressions on which no program could decide.
    """
    tiles = [t.columns for t in design.tables if len(t.columns) > 1]
    categories = [t.columns[0] for t in design.tables if len(t.columns) == 1]
    further = np.concatenate(
        [draw(design, _FURTHER, rng) for draw in (random_configs, extreme_configs)]
    )
    for _ in range(_SETTLING):
        solver = Solver(configs, tiles, categories)
        found = solve(observe(programs), solver, further, wary=wary)
        if not found.disputed:
            return programs, solver, found
        asked = np.array(found.disputed[:_DISPUTES])
        answers = replayed_or_not(design, asked)
        alike = [p.skeleton == programs[0].skeleton for p in answers.programs]
        programs += _where(answers.programs, np.array(alike, dtype=bool))
        configs = np.concatenate([configs, answers.configs[np.array(alike, dtype=bool)]])
        further = further[~(further[:, None] == asked).all(axis=2).any(axis=1)]
    solver = Solver(configs, tiles, categories)
    return programs, solver, solve(observe(programs), solver, further, strict=True, wary=wary)


def _one_skeleton(observed: Probes) -> tuple[tuple[Program, ...], np.ndarray, int]:
    """Keep the probes of the most frequent structure, and count the others."""
    skeletons = [program.skeleton for program in observed.programs]
    most = Counter(skeletons).most_common(1)[0][0]
    kept = [i for i, skeleton in enumerate(skeletons) if skeleton == most]
    programs = tuple(observed.programs[i] for i in kept)
    return programs, observed.configs[kept], len(skeletons) - len(kept)


def _where(programs: tuple[Program, ...], chosen: np.ndarray) -> tuple[Program, ...]:
    return tuple(program for program, one in zip(programs, chosen) if one)


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


def _instances(found: SymbolicProgram) -> dict[str, Expression | None]:
    """How often every leaf block runs."""
    named: dict[str, Expression | None] = {}
    for block in found.template.blocks:
        if block.leaf:
            extents = [found.extents[loop] for loop in block.loops]
            known = None if None in extents else multiply(1, *(e for e in extents if e is not None))
            named[f"{block.name}/instances"] = known
    return named


def _allocations(
    programs: Sequence[Program], found: SymbolicProgram, solver: Solver, on_gpu: bool
) -> tuple[AllocationInfo, ...]:
    result = []
    nests = tops(found.template)
    for buffer in found.template.buffers:
        uses = users(found.template, buffer.name)
        if buffer.parameter or not uses:
            continue
        above = {top_of(found.template, b) for b, _ in uses}
        top = above.pop() if len(above) == 1 else None
        dims = shape(found, buffer)
        versions = solver.solve(np.array([copies(found, p, buffer.name) for p in programs]))
        size = elements(dims, alignment(programs, buffer.name, solver))
        size = size and versions and multiply(dtype_bytes(buffer.dtype), versions, size)
        if size is not None and on_gpu and top is not None and buffer.scope == "local":
            size = multiply(size, *_vthreads(found, top))
        kernel = -1 if top is None else nests.index(top)
        result.append(
            AllocationInfo(buffer.name, buffer.scope, buffer.dtype, kernel, dims, versions, size)
        )
    return tuple(result)


def _unsure(
    found: SymbolicProgram, nests: Sequence[KernelInfo], allocations: Sequence[AllocationInfo]
) -> list[str]:
    """Names of quantities that rest on buffers whose readers are not known."""
    buffers = {buffer.name: buffer for buffer in found.template.buffers}
    open_ended = [one.buffer for one in allocations if unsure(found, buffers[one.buffer])]
    return _of_buffers(open_ended, nests, allocations)


def _of_buffers(
    chosen: Sequence[str], nests: Sequence[KernelInfo], allocations: Sequence[AllocationInfo]
) -> list[str]:
    """Names of the quantities that rest on the sizes of these buffers."""
    names = []
    for one in allocations:
        if one.buffer in chosen:
            names += [f"{one.buffer}/alloc[{d}]" for d in range(len(one.shape))]
            names.append(f"{one.buffer}/alloc_bytes")
            if is_shared(one.scope) and 0 <= one.kernel < len(nests):
                names.append(f"{nests[one.kernel].name}/shared_bytes")
    return names


def _vthreads(found: SymbolicProgram, top: int) -> list[Expression]:
    loops = enumerate(found.template.loops)
    return [
        extent
        for index, loop in loops
        if loop.thread.startswith("vthread") and (extent := found.extents[index]) is not None
    ]


def _vectors(
    programs: Sequence[Program],
    found: SymbolicProgram,
    solver: Solver,
    nests: Sequence[KernelInfo],
) -> tuple[VectorInfo, ...]:
    """What the postprocs make of every block that has loops."""
    result = []
    template = found.template
    order = tops(template)
    for b, block in enumerate(template.blocks):
        top = top_of(template, b)
        if top is None or block.parent > 0:
            continue
        limit = unroll(programs, template, top, solver)
        if nests:
            threads = nests[order.index(top)].threads
            info = threads and fetch(programs, found, b, threads, solver)
            info = info or VectorInfo(block.name)
        else:
            info = rewrite(programs, found, 0, b, solver)
        result.append(replace(info, unroll=limit))
    return tuple(result)


def _quantities(
    found: SymbolicProgram,
    loops: Sequence[LoopInfo],
    reached: Sequence[AccessInfo],
    allocations: Sequence[AllocationInfo],
    nests: Sequence[KernelInfo],
    vectors: Sequence[VectorInfo],
) -> dict[str, Expression]:
    """Name what was found."""
    named: dict[str, Expression | None] = {loop.name: loop.extent for loop in loops}
    for nest in nests:
        named |= {f"{nest.name}/{tag}": extent for tag, extent in nest.extents.items()}
        named[f"{nest.name}/grid"] = nest.grid
        named[f"{nest.name}/threads"] = nest.threads
        named[f"{nest.name}/vthreads"] = nest.vthreads
        named[f"{nest.name}/shared_bytes"] = nest.shared_bytes
    for one in allocations:
        named[f"{one.buffer}/alloc_bytes"] = one.bytes
        for d, extent in enumerate(one.shape):
            named[f"{one.buffer}/alloc[{d}]"] = extent
    for info in vectors:
        for part in ("vector", "parallel", "unroll", "serial"):
            named[f"{info.block}/{part}"] = getattr(info, part)
    named |= _instances(found)
    for access in reached:
        named |= footprints(access, loops)
    return {name: e for name, e in named.items() if e is not None}
