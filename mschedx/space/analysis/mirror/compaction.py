"""Allocations that TVM makes larger than what is touched, learnt from lowered programs.

Where an access divides block iterators, as a grouped convolution's does, the compaction of buffers
may fail to see that two ends of a range move together, and allocates for a range that the program
never touches. When it does depends on how its simplifier meets the tiles. Lowered replays show the
size it then takes; the tiles for which it happens are enclosed by limits of loop and tile extents,
put to the test on further replays. The result is never smaller than what TVM allocates as far as
seen; where good tiles are left inside the limits it is larger, and then it only bounds.

Mirrors ``CompactBufferAllocation``; held by ``test_compaction.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...algebra.constraints import Constraint, at_least, at_most
from ...algebra.expression import Expression, IntArray, monomial, multiply, where_at_most
from ...trace.materialize import in_threads, useful_threads
from ..fit.symbolic import SymbolicProgram
from ..model import AllocationInfo
from ..read.affine import Affine, Division, NotAffine, sweep
from ..read.extract import entry
from ..read.lowered import allocations as compacted
from ..read.lowered import shape_of
from ..read.probe import Probes, random_configs, replayed_or_not
from ..read.program import dtype_bytes
from ..read.quotients import divides
from .memory import elements, is_shared

if TYPE_CHECKING:
    from ...trace.design import Design

_FIRST, _ROUNDS, _TRIALS = 256, 3, 24
"""Replays to begin with; then how often limits are tested, on how many replays. With 128 to begin
with, TVM refuses 14 of 900 configs of a grouped convolution that limits let pass; with 256, none.
"""

_WORTH = 0.05
"""Share of the good replays that a limit must set apart: rarer ones are chance, not a rule."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """Configs [m, D] and the compacted shapes [m, dims] of one buffer in their programs."""

    configs: IntArray
    shapes: IntArray


def enlarged(
    design: Design,
    found: SymbolicProgram,
    allocations: Sequence[AllocationInfo],
    pitches: Mapping[str, dict[int, tuple[int, Expression | None]]],
    observed: Probes,
    rng: np.random.Generator,
) -> tuple[tuple[AllocationInfo, ...], tuple[str, ...]]:
    """Correct the shared buffers that TVM compacts to more than what is touched.

    Returns
    -------
    allocations : tuple of AllocationInfo
    bounds : tuple of str
        Names of the buffers whose corrected size is only an upper bound.
    """
    result, bounds = list(allocations), []
    if not divides(found.template):
        return tuple(result), ()
    chosen = np.linspace(0, len(observed.configs) - 1, _FIRST).astype(int)
    lowerings = _Lowerings(design, observed)
    first = observed.configs[np.unique(chosen)]
    first = np.concatenate([first, random_configs(design, _FIRST - len(first), rng)])
    for position, one in enumerate(allocations):
        if not is_shared(one.scope) or one.bytes is None or one.copies is None:
            continue
        shape, exact = _shape(lowerings, one, first, rng)
        if shape == one.shape:
            continue
        size = elements(shape, pitches[one.buffer])
        size = size and multiply(dtype_bytes(one.dtype), one.copies, size)
        result[position] = replace(one, shape=shape, bytes=size)
        bounds += [] if exact else [one.buffer]
    return tuple(result), tuple(bounds)


def doubtful(found: SymbolicProgram, allocations: Sequence[AllocationInfo]) -> tuple[str, ...]:
    """Names of the buffers that TVM may compact to more than what is touched.

    Those with a dimension in which an access mixes block iterators, one of them in a quotient or
    remainder that takes more than one value.
    """
    mixed = {
        access.buffer
        for block in found.template.blocks
        for access in block.accesses
        for form in access.local
        if form is not None and _mixes(form, dict(enumerate(n for _, _, n in block.iters)))
    }
    return tuple(one.buffer for one in allocations if one.buffer in mixed)


def _mixes(form: Affine, extents: dict[int, int]) -> bool:
    everything = frozenset(extents)
    divided = [Affine(0, ((a, 1),)) for a, _ in form.terms if isinstance(a, Division)]
    try:
        return len(form.loops()) > 1 and any(sweep(one, extents, everything) for one in divided)
    except NotAffine:
        return True


def _shape(
    lowerings: _Lowerings, one: AllocationInfo, first: IntArray, rng: np.random.Generator
) -> tuple[tuple[Expression | None, ...], bool]:
    """The buffer's shape with the enlarged dimensions, and whether every replay has it."""
    design = lowerings.design
    seen = lowerings.of(one.buffer, first)
    shape, exact = list(one.shape), True
    if not len(seen.configs):
        return one.shape, exact
    for d, expected in enumerate(one.shape):
        if expected is not None:
            shape[d], seen = _enclosed(lowerings, one.buffer, d, expected, seen, rng)
    for d, expected in enumerate(one.shape):
        size = shape[d]
        if size is None or expected is None:
            continue
        # The last replays count as well, and those that were made for another dimension.
        if (seen.shapes[:, d] > size(seen.configs)).any():
            _, shape[d] = _corrected(design, seen, d, expected)
            exact = False
        elif size != expected:
            exact &= bool((seen.shapes[:, d] == size(seen.configs)).all())
    return tuple(shape), exact


def _enclosed(
    lowerings: _Lowerings,
    buffer: str,
    d: int,
    expected: Expression,
    seen: _Seen,
    rng: np.random.Generator,
) -> tuple[Expression, _Seen]:
    """A dimension's size within limits that further replays do not contradict, and all replays."""
    size = expected
    for _ in range(_ROUNDS):
        if (seen.shapes[:, d] <= size(seen.configs)).all():
            break
        limits, size = _corrected(lowerings.design, seen, d, expected)
        drawn = random_configs(lowerings.design, 100 * _TRIALS, rng)
        failing = np.sum([~limit.holds(drawn) for limit in limits], axis=0)
        fresh = np.concatenate([drawn[failing == f][:_TRIALS] for f in (0, 1)])
        seen = _joined(seen, lowerings.of(buffer, fresh))
    return size, seen


def _corrected(
    design: Design, seen: _Seen, d: int, expected: Expression
) -> tuple[list[Constraint], Expression]:
    """Limits around the configs where a dimension is larger than expected, and what it is then."""
    bad = seen.shapes[:, d] > expected(seen.configs)
    limits = _limits(design, seen.configs[bad], seen.configs[~bad])
    return limits, _within(limits, int(seen.shapes[bad, d].max()), expected)


class _Lowerings:
    """Compacted shapes of a design's buffers; every config is replayed and lowered once."""

    def __init__(self, design: Design, observed: Probes) -> None:
        self.design = design
        self.mods = dict(zip((config.tobytes() for config in observed.configs), observed.mods))
        self.shapes: dict[bytes, dict[str, tuple[int, ...]]] = {}

    def of(self, buffer: str, configs: IntArray) -> _Seen:
        """Read a buffer's shape at those of the configs [n, D] that become a program."""
        new = [config for config in configs if config.tobytes() not in self.shapes]
        made = in_threads(self._allocations, new, useful_threads())
        self.shapes |= zip((config.tobytes() for config in new), made)
        found = [(c, self.shapes[c.tobytes()]) for c in configs]
        pairs = [(config, shape_of(shapes, buffer)) for config, shapes in found]
        kept = [config for config, shape in pairs if shape is not None]
        shapes = [shape for _, shape in pairs if shape is not None]
        rows = np.array(kept, dtype=np.int64).reshape(len(kept), configs.shape[1])
        return _Seen(rows, np.array(shapes))

    def _allocations(self, config: IntArray) -> dict[str, tuple[int, ...]]:
        mod = self.mods.get(config.tobytes())
        # What has a loop or buffer of varying extent does not replay here.
        mods = replayed_or_not(self.design, config[None]).mods if mod is None else (mod,)
        return compacted(entry(mods[0])) if mods else {}


def _joined(first: _Seen, second: _Seen) -> _Seen:
    parts = [seen for seen in (first, second) if len(seen.configs)] or [first]
    return _Seen(
        np.concatenate([seen.configs for seen in parts]),
        np.concatenate([seen.shapes for seen in parts]),
    )


def _limits(design: Design, bad: IntArray, good: IntArray) -> list[Constraint]:
    """Limits that all bad configs keep and as many good ones as possible break."""
    tiles = [table.columns for table in design.tables if len(table.columns) > 1]
    slices = {
        tile[i:j] for tile in tiles for i in range(len(tile)) for j in range(i + 1, len(tile) + 1)
    }
    # What is fused into one loop: the factors that tiles have at the same depth.
    depths = max((len(tile) for tile in tiles), default=0)
    fused = {tuple(t[i] for t in tiles if len(t) == depths) for i in range(depths)}
    sizes = [monomial(1, dict.fromkeys(columns, 1)) for columns in sorted(slices | fused)]
    origin = "tiles for which TVM allocates more than is touched"
    candidates = [
        make(size, int(pick(size(bad))), origin)
        for size in sizes
        for make, pick in ((at_most, np.max), (at_least, np.min))
    ]
    chosen: list[Constraint] = []
    left = np.ones(len(good), dtype=bool)
    while left.any():
        gains = [int((left & ~c.holds(good)).sum()) for c in candidates]
        best = int(np.argmax(gains))
        if gains[best] <= _WORTH * len(good):
            break
        chosen.append(candidates[best])
        left &= candidates[best].holds(good)
    return chosen or candidates[:1]


def _within(limits: Sequence[Constraint], worst: int, otherwise: Expression) -> Expression:
    """``worst`` where all limits hold."""
    result: Expression = monomial(worst, {})
    for limit in limits:
        low, high = limit.left, limit.right
        if limit.relation.value == ">=":
            low, high = high, low
        result = where_at_most(low, high, result, otherwise)
    return result
