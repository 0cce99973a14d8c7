"""Hold an analysis against concrete programs: every expression at every config, number by number.

The oracle of tests and benchmarks. Scheduled programs are read the way the analysis reads its own
probes, but at other configs; what postprocs and lowering decide is read off materialised programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mschedx.space.errors import InvalidSchedule
from mschedx.space.expression import Expression, IntArray

from .extract import DynamicExtent, Program, entry, extract
from .lowered import Lowered, lower
from .model import Analysis
from .observe import UNKNOWN, Observations, observe

if TYPE_CHECKING:
    from mschedx.space.decisions import Design


@dataclass
class Verdict:
    """How many numbers were compared, and the ones that differ.

    ``wrong`` maps a quantity to (config, expression's value, program's value) where they first
    differ; ``refused`` counts configs without a program by reason.
    """

    compared: int = 0
    programs: int = 0
    lowered: int = 0
    wrong: dict[str, tuple[list[int], int, int]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def note(
        self, name: str, expression: Expression | None, seen: Sequence[int], configs: IntArray
    ) -> None:
        """Compare one quantity at configs [n, D] with what was seen [n]."""
        if expression is None:
            return
        got, truth = expression(configs), np.asarray(seen, dtype=np.int64)
        differs = np.flatnonzero((got != truth) & (truth != UNKNOWN))
        self.compared += int((truth != UNKNOWN).sum())
        if len(differs) and name not in self.wrong:
            first = differs[0]
            self.wrong[name] = (configs[first].tolist(), int(got[first]), int(truth[first]))

    def refuse(self, reason: str) -> None:
        """Count a config without a program."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


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
        How many of them to materialise and lower as well.

    Returns
    -------
    Verdict
        A program of another structure counts as the quantity ``"structure"`` gone wrong.
    """
    verdict = Verdict()
    _check_scheduled(design, analysis, configs, verdict)
    for config in configs[:lowering]:
        try:
            schedule = design.materialize(config)
        except InvalidSchedule as error:
            verdict.refuse(error.reason)
            continue
        verdict.lowered += 1
        _check_lowered(analysis, lower(schedule), config[None], verdict)
    return verdict


def _check_scheduled(
    design: Design, analysis: Analysis, configs: IntArray, verdict: Verdict
) -> None:
    replayed = [(config, _replay(design, config, verdict)) for config in configs]
    kept = [config for config, program in replayed if program is not None]
    programs = [program for _, program in replayed if program is not None]
    if not programs:
        return
    verdict.programs = len(programs)
    names = tuple(loop.name for loop in analysis.loops)
    for program, config in zip(programs, kept):
        if tuple(loop.name for loop in program.loops) != names:
            verdict.wrong["structure"] = (config.tolist(), len(names), len(program.loops))
            return
    _check_forms(analysis, observe(programs), np.array(kept), verdict)


def _replay(design: Design, config: IntArray, verdict: Verdict) -> Program | None:
    try:
        return extract(entry(design.replay(config).mod))
    except InvalidSchedule as error:
        verdict.refuse(error.reason)
    except DynamicExtent:
        verdict.refuse("DisallowDynamicLoop")
    return None


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
            both = (*access.regions[d], *access.team_regions[d])
            for level, expression in enumerate(both):
                kind = "" if level < levels else " by the team"
                name = f"{access.block}/{access.buffer}[{d}] at level {level % levels}{kind}"
                verdict.note(name, expression, reach[:, level].tolist(), configs)


def _check_lowered(
    analysis: Analysis, lowered: Lowered, configs: IntArray, verdict: Verdict
) -> None:
    for one in analysis.allocations:
        # Printing and lowering spell "A_shared.dyn" with an underscore.
        shape = lowered.allocations.get(one.buffer) or lowered.allocations.get(
            one.buffer.replace(".", "_"), ()
        )
        for d, (expression, extent) in enumerate(zip(one.shape, shape)):
            verdict.note(f"{one.buffer}/alloc[{d}]", expression, [extent], configs)
    for info in analysis.vectors:
        for part, seen in (
            ("vector", lowered.vectors),
            ("parallel", lowered.parallels),
            ("unroll", lowered.unrolls),
        ):
            if info.block in seen:
                value = seen[info.block]
                verdict.note(f"{info.block}/{part}", getattr(info, part), [value], configs)
    tops = {loop.name.split("/")[0] for loop in analysis.loops}
    for kernel in analysis.kernels:
        for block in tops & set(lowered.threads):
            if block == kernel.name:
                for tag, value in lowered.threads[block].items():
                    verdict.note(f"{block}/{tag}", kernel.extents.get(tag), [value], configs)
