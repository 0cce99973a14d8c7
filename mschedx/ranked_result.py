"""A result of nothing measured: the best ranked config, or the function as it is."""

from __future__ import annotations

import math
import time
from pathlib import Path

from mschedx.cost.stand_ins import notes_on_stand_in, said_already
from mschedx.plan import Plan
from mschedx.ranking import NothingToRank, rank, ranking_model
from mschedx.report.progress import Progress
from mschedx.search.as_it_is import is_unscheduled, unscheduled_candidate
from mschedx.space.task import Task
from mschedx.tune_result import TuneResult, estimate_flops


def ranked_result(plan: Plan, folder: Path, display: Progress) -> TuneResult:
    """The best ranked config as a result; says that nothing was measured.

    Where no config becomes a program, the function as it is.
    """
    mod, target, cost_model = plan.mod, plan.target, plan.parts.cost_model
    model, notes = ranking_model(cost_model, [Task.of(mod, target)])
    why_unscheduled = ""
    try:
        with said_already():
            (best,) = rank(mod, target, 1, model=model, space=plan.parts.space, seed=plan.seed)
        schedule, latency_s = best.schedule(), best.latency_s
        predicted = "ranked, not measured"
        if math.isfinite(latency_s):
            predicted += f": {latency_s * 1e6:.4g} us is a prediction"
        about = (", ".join([predicted, *best.left_out]), *notes_on_stand_in(target, cost_model))
        notes = (*about, *notes)
        if schedule.trace is not None and is_unscheduled(schedule.trace):
            why_unscheduled = "the function stays as it is: nothing in its space looks faster"
            notes = (*notes, why_unscheduled)
        reasons = tuple(str(reason) for reason in best.reasons)
    except NothingToRank as error:
        schedule, latency_s, reasons = unscheduled_candidate(mod).sch, math.inf, ()
        why_unscheduled = f"nothing could be ranked, so the function stays as it is: {error}"
        notes = (*notes, why_unscheduled)
    for note in notes:
        display.note(note)
    return TuneResult(
        mod=mod,
        target=target,
        work_dir=folder,
        latency_s=latency_s,
        schedule=schedule,
        best=None,
        history=(),
        flops=estimate_flops(mod),
        measured=0,
        wall_s=time.perf_counter() - plan.begin,
        predicted=True,
        why_unscheduled=why_unscheduled,
        notes=(*notes, *reasons),
    )
