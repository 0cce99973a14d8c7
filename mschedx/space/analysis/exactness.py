"""Hold an analysis against concrete programs: every expression at every config, number by number.

The oracle of tests and benchmarks. Scheduled programs are read the way the analysis reads its own
probes, but at other configs; what postprocs and lowering decide is read off the same schedules once
they have been through both, so that a config is replayed once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..algebra.expression import Expression, IntArray
from ..errors import DYNAMIC_LOOP, InvalidSchedule
from ..statements import Statement
from ..trace.materialize import Postprocs
from .fit.accesses import stride_name
from .fit.numbers import UNKNOWN, Observations, observe
from .model import Analysis
from .read.executed import executed, first_step, levels_of
from .read.extract import DynamicExtent, entry, extract
from .read.lowered import Lowered, lower, shape_of
from .read.program import Program

if TYPE_CHECKING:
    from ..trace.design import Design


@dataclass
class Verdict:
    """How many numbers were compared, and the ones that differ.

    ``wrong`` maps a quantity to (config, expression's value, program's value) where they first
    differ; ``refused`` counts configs without a program by reason. ``accepted`` tells of every
    config that was put to the postprocs whether all of them took it. ``lowered_numbers`` counts
    what was compared of lowered programs by its kind: ``"vector"``, ``"alloc"``,
    ``"threadIdx.x"``. What is called otherwise there than in the analysis is compared with nothing.
    """

    compared: int = 0
    programs: int = 0
    lowered: int = 0
    wrong: dict[str, tuple[list[int], int, int]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    accepted: list[bool] = field(default_factory=list)
    lowered_numbers: Counter[str] = field(default_factory=Counter)

    def note(
        self, name: str, expression: Expression | None, seen: Sequence[int], configs: IntArray
    ) -> int:
        """Compare one quantity at configs [n, D] with what was seen [n]; how many were known."""
        if expression is None:
            return 0
        got, truth = expression(configs), np.asarray(seen, dtype=np.int64)
        differs = np.flatnonzero((got != truth) & (truth != UNKNOWN))
        known = int((truth != UNKNOWN).sum())
        self.compared += known
        if len(differs) and name not in self.wrong:
            first = differs[0]
            self.wrong[name] = (configs[first].tolist(), int(got[first]), int(truth[first]))
        return known

    def refuse(self, reason: str) -> None:
        """Count a config without a program."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


@dataclass
class _Seen:
    """Programs and lowered programs with their configs."""

    programs: list[tuple[IntArray, Program]] = field(default_factory=list)
    lowered: list[tuple[IntArray, Lowered]] = field(default_factory=list)


def check(design: Design, analysis: Analysis, configs: IntArray, lowering: int = 0) -> Verdict:
    """Compare the analysis with programs at configs [n, D].

    Parameters
    ----------
    design : Design
    analysis : Analysis
        Of that design.
    configs : int64 array [n, D]
        Configs that do not replay are counted as refused.
    lowering : int
        How many of them, from the first, to put to the postprocs and, where these accept, to lower.

    Returns
    -------
    Verdict
        A program of another structure counts as the quantity ``"structure"`` gone wrong.
    """
    verdict, seen = Verdict(), _Seen()
    if lowering and design.postprocs is None:
        design.postprocs = Postprocs.of_target(design.mod, design.target)
    for number, config in enumerate(configs):
        accepted = _look(design, config, number < lowering, seen, verdict)
        if number < lowering:
            verdict.accepted.append(accepted)
    verdict.programs, verdict.lowered = len(seen.programs), len(seen.lowered)
    if seen.programs:
        _check_scheduled(analysis, seen, verdict)
    if seen.lowered:
        _check_lowered(analysis, seen, verdict)
        _check_statements(analysis, seen, verdict)
    return verdict


def _look(design: Design, config: IntArray, lowering: bool, seen: _Seen, verdict: Verdict) -> bool:
    """Replay and read one config; tell whether the postprocs, where asked, accept it."""
    try:
        schedule = design.replay(config)
        seen.programs.append((config, extract(entry(schedule.mod))))
        if lowering and design.postprocs is not None:
            design.postprocs.apply(schedule)
            seen.lowered.append((config, lower(schedule)))
    except InvalidSchedule as error:
        verdict.refuse(error.reason)
    except DynamicExtent:
        verdict.refuse(DYNAMIC_LOOP)
    else:
        return lowering
    return False


def _check_scheduled(analysis: Analysis, seen: _Seen, verdict: Verdict) -> None:
    names = tuple(loop.name for loop in analysis.loops)
    for config, program in seen.programs:
        if tuple(loop.name for loop in program.loops) != names:
            verdict.wrong["structure"] = (config.tolist(), len(names), len(program.loops))
            return
    configs = np.array([config for config, _ in seen.programs])
    programs = [program for _, program in seen.programs]
    _check_forms(analysis, observe(programs), configs, verdict)
    _check_strides(analysis, programs, configs, verdict)


def _check_strides(
    analysis: Analysis, programs: Sequence[Program], configs: IntArray, verdict: Verdict
) -> None:
    found = [[a for block in program.blocks for a in block.accesses] for program in programs]
    for known, seen in zip(analysis.accesses, zip(*found), strict=True):
        for loop, stride in zip(known.loops, known.strides):
            steps = [first_step(p, access, loop) for p, access in zip(programs, seen)]
            name = stride_name(known, analysis.loops[loop])
            verdict.note(name, stride, steps, configs)


def _check_forms(
    analysis: Analysis, seen: Observations, configs: IntArray, verdict: Verdict
) -> None:
    for index, loop in enumerate(analysis.loops):
        verdict.note(loop.name, loop.extent, seen.extents[:, index].tolist(), configs)
    forms = [dims for block in seen.regions for dims in block]
    for access, dims in zip(analysis.accesses, forms, strict=True):
        for d, numbers in enumerate(dims):
            reach = np.minimum(numbers.reach, numbers.bound[:, None])
            levels = len(access.loops) + 1
            both = (*access.regions[d], *access.cooperative_regions[d])
            for level, expression in enumerate(both):
                kind = "" if level < levels else " by all threads"
                name = f"{access.block}/{access.buffer}[{d}] at level {level % levels}{kind}"
                verdict.note(name, expression, reach[:, level].tolist(), configs)


def _check_lowered(analysis: Analysis, seen: _Seen, verdict: Verdict) -> None:
    configs = np.array([config for config, _ in seen.lowered])
    programs = [lowered for _, lowered in seen.lowered]
    for one in analysis.allocations:
        shapes = [shape_of(lowered.allocations, one.buffer) or () for lowered in programs]
        for d, expression in enumerate(one.shape):
            extents = [shape[d] if d < len(shape) else UNKNOWN for shape in shapes]
            known = verdict.note(f"{one.buffer}/alloc[{d}]", expression, extents, configs)
            verdict.lowered_numbers["alloc"] += known
    kinds = {
        "vector": "vectors",
        "parallel": "parallels",
        "unroll": "unrolls",
        "asynchronous": "asynchronous",
    }
    for info in analysis.vectors:
        for part, kind in kinds.items():
            values = [getattr(lowered, kind).get(info.block, UNKNOWN) for lowered in programs]
            known = verdict.note(f"{info.block}/{part}", getattr(info, part), values, configs)
            verdict.lowered_numbers[part] += known
    for kernel in analysis.kernels:
        tags = {tag for lowered in programs for tag in lowered.threads.get(kernel.name, {})}
        for tag in sorted(tags):
            values = [
                lowered.threads.get(kernel.name, {}).get(tag, UNKNOWN) for lowered in programs
            ]
            known = verdict.note(f"{kernel.name}/{tag}", kernel.extents.get(tag), values, configs)
            verdict.lowered_numbers[tag] += known


def _check_statements(analysis: Analysis, seen: _Seen, verdict: Verdict) -> None:
    """Compare statements with what the lowered programs execute."""
    configs = np.array([config for config, _ in seen.lowered])
    for number, statement in enumerate(analysis.statements):
        truths = [executed(lowered.program, statement) for _, lowered in seen.lowered]
        known = _statement_numbers(statement)
        for what in sorted(set().union(*truths) & set(known)):
            values = [truth.get(what, UNKNOWN) for truth in truths]
            verdict.note(f"{number}:{statement.name}/{what}", known[what], values, configs)


def _statement_numbers(statement: Statement) -> dict[str, Expression | None]:
    """A statement's expressions by the names that `executed` has for their values."""
    known = {
        "instances": statement.instances,
        "lanes": statement.lanes,
        "parallel": statement.parallel_extent(),
    }
    for name, level in levels_of(statement).items():
        for place, access in enumerate(statement.accesses):
            known[f"{place}@{name}"] = access.elements[level]
    vectors = [p for p, loop in enumerate(statement.loops) if loop.kind == "vectorized"]
    if len(vectors) == 1:
        for place, access in enumerate(statement.accesses):
            known[f"{place}@lanes"] = access.strides[vectors[0]]
    return known
