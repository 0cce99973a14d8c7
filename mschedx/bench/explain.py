"""A measured candidate explained: what was predicted of each statement, and what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mschedx.cost.psa import PSAModel
from mschedx.ranking import Reason, explained
from mschedx.record.schedules import read_record
from mschedx.record.trials import read_run
from mschedx.space.resolver import Resolver

_NAMED_SPACES = ("post-order-apply", "llvm", "cuda", "cuda-tensorcore", "hexagon")
"""What ``ms.SpaceGenerator.create`` takes; a journal keeps the class of any other space."""


@dataclass(frozen=True)
class Explanation:
    """A trial and what is said of it.

    Parameters
    ----------
    measured_s : float or None
        None for a trial that failed.
    predicted_s : float
        inf where no statement is understood.
    reasons : tuple of Reason
    left_out : tuple of str
        Statements that the prediction is without, and why.
    program : str
        The config as annotated loop nests.
    cold : bool
        Whether weights come from memory, as in the network that it was measured for.
    """

    trial: int
    measured_s: float | None
    predicted_s: float
    reasons: tuple[Reason, ...]
    left_out: tuple[str, ...]
    program: str
    cold: bool = False

    def __str__(self) -> str:
        measured = "failed" if self.measured_s is None else f"{self.measured_s * 1e6:.4g} us"
        understood = math.isfinite(self.predicted_s)
        predicted = f"{self.predicted_s * 1e6:.4g} us" if understood else "-"
        cold = ", weights from memory" if self.cold else ""
        lines = [f"trial {self.trial}: measured {measured}, predicted {predicted}{cold}"]
        lines += [f"  {line}" for line in (*self.reasons, *self.left_out)]
        return "\n".join([*lines, "", self.program])


def explain(
    work_dir: str | Path, trial: int, workload: int | None = None, space: Any = None
) -> Explanation:
    """Explain a trial of a work_dir, in the caches that it was measured with.

    Parameters
    ----------
    work_dir : path
    trial : int
        Its number, from 0.
    workload : int, optional
        Which, if there are several.
    space : optional
        The space that was tuned in, as `mschedx.space.sketches` takes it; when None the one that
        the trial's session names.

    Raises
    ------
    ValueError
        When there is no such workload or trial, or its trace is not one of the space.
    """
    run = read_run(Path(work_dir), workload)
    if not 0 <= trial < len(run.trials):
        known = f"from 0 to {len(run.trials) - 1}" if run.trials else "of a workload that has some"
        raise ValueError(f"{work_dir}: expected a trial {known}, got {trial}")
    chosen = run.trials[trial]
    from tvm.s_tir.meta_schedule.database import Workload

    assert run.module is not None, "a run with records has a workload"
    record = read_record(run.records[chosen.record], Workload.from_json(run.module))
    assert record.target is not None, "a record of a file has a target"
    if chosen.unscheduled:
        raise ValueError(
            f"{work_dir}: trial {trial} is the function as it is, since nothing could be searched; "
            "only schedules can be explained"
        )
    session = run.session_of(chosen)
    space = _named_space(session) if space is None else space
    resolver = Resolver.of_space(record.workload.mod, record.target, space)
    resolved = resolver.resolve([record.trace])
    config = resolved.configs[0]
    if config is None:
        raise ValueError(
            f"{work_dir}: trial {trial} is not of this space; say with --space which it is of"
        )
    sketch = resolver.sketches[resolved.sketch[0]]
    cold = session.get("cold") is True
    found = explained(PSAModel(cold=cold), None, sketch, np.asarray(config))
    said = (found.latency_s, found.reasons, found.left_out)
    return Explanation(trial, chosen.latency_s, *said, sketch.describe(config), cold)


def _named_space(session: Mapping[str, Any]) -> str | None:
    """The space of a session, where it was one that TVM makes by its name."""
    parts = session.get("parts")
    space = parts.get("space") if isinstance(parts, dict) else None
    return space if space in _NAMED_SPACES else None
