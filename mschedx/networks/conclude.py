"""After measuring: a program for every task, the network compiled, its output compared."""

from __future__ import annotations

import time
from functools import cache, partial
from typing import TYPE_CHECKING

from mschedx.record.contents import read_contents
from mschedx.record.work_dir import WorkDir
from mschedx.recorder import Outcome

from .assembly import compiled
from .checking import Check, check_output, reference_of
from .choices import Choice, Origin, ranked_choices, tuned_choice, unscheduled_choice
from .job import NetworkJob
from .predictions import predicted_latencies
from .progress import NetworkProgress
from .result import NetworkResult
from .tasks import NetworkTask

if TYPE_CHECKING:
    from mschedx.cost.base import CostModel

_INTERRUPTED = "interrupted before a candidate of it ran"
_NOT_RANKED = "interrupted before it was ranked"


def conclude(
    job: NetworkJob, work_dir: WorkDir, outcome: Outcome, display: NetworkProgress
) -> NetworkResult:
    """Choose, compile and check; where the output is wrong, choose again among checked records.

    After Ctrl-C nothing is ranked, compiled or compared: what takes longer is done when asked for.
    """
    choices, notes = _choices(job, work_dir, outcome, verify=False)
    build = cache(partial(compiled, job.fused, choices, job.target, prepack=job.prepack))
    check, verify = Check.nothing(), job.verify and not outcome.interrupted
    given = (job.imported, job.fused, job.tasks, job.target, job.seed)
    reference = reference_of(*given) if verify else None
    if not outcome.interrupted:
        build()
    if reference is not None:
        check = check_output(reference, build(), job.target)
        if check.wrong:
            was = f"the network's output was wrong, its records are checked: {check.reason}"
            choices, more = _choices(job, work_dir, outcome, verify=True)
            build = cache(partial(compiled, job.fused, choices, job.target, prepack=job.prepack))
            check = check_output(reference, build(), job.target)
            notes = [was, *more]  # the lines on the first choices hold no longer
        notes += check.said("the framework's")
    for note in notes:
        display.note(note)
    order = sorted(choices, key=lambda one: (-one.task.weight * one.latency_s, one.task.name))
    return NetworkResult(
        name=job.imported.name,
        fused=job.fused,
        target=job.target,
        work_dir=work_dir.path,
        tasks=tuple(order),
        fixed=job.tasks.fixed,
        measured=outcome.measured,
        wall_s=time.perf_counter() - job.begin,
        interrupted=outcome.interrupted,
        timed_out=outcome.timed_out,
        **check.fields(),
        notes=(*work_dir.notes, *notes),
        signature=job.imported.signature,
        build=build,
        changed=job.imported.changed,
        predict=partial(
            predicted_latencies, target=job.target, space=job.parts.space, cold=job.cold
        ),
    )


def _choices(
    job: NetworkJob, work_dir: WorkDir, outcome: Outcome, *, verify: bool
) -> tuple[list[Choice], list[str]]:
    """A program for every task, and a line on each that is not tuned."""
    chosen: dict[str, Choice] = {}
    notes: list[str] = []
    missing: list[NetworkTask] = []
    contents = read_contents(work_dir.path)
    for task in job.tasks.tunable:
        choice, about = tuned_choice(task, contents, work_dir, job.target, verify=verify)
        notes += [f"{task.name}: {note}" for note in about]
        if choice is None:
            missing.append(task)
        else:
            chosen[task.key] = choice
    if outcome.interrupted:
        why = _INTERRUPTED if job.trials_per_task else _NOT_RANKED
        rest = [unscheduled_choice(task, why) for task in missing]
    else:
        model, about = _model(job)
        notes += about
        rest = _ranked(job, missing, model)
    chosen.update((choice.task.key, choice) for choice in rest)
    choices = [chosen[task.key] for task in job.tasks.tunable]
    return choices, notes + _about_untuned(choices, job)


def _model(job: NetworkJob) -> tuple[CostModel | None, tuple[str, ...]]:
    """What ranks: the user's model where nothing is measured; with what there is to say of it."""
    from mschedx.ranking import ranking_model

    if job.trials_per_task:
        return None, ()
    tasks = [one.task for one in job.tasks.tunable]
    return ranking_model(job.parts.cost_model, tasks)


def _ranked(job: NetworkJob, missing: list[NetworkTask], model: CostModel | None) -> list[Choice]:
    """The best ranked program of each task."""
    why = "no record of it ran" if job.trials_per_task else "nothing was measured"
    return ranked_choices(
        missing,
        job.target,
        why,
        space=job.parts.space,
        model=model,
        seed=job.seed,
        cold=job.cold,
        prepared=not job.trials_per_task,
    )


def _about_untuned(choices: list[Choice], job: NetworkJob) -> list[str]:
    notes = [f"{name} is no task and stays as it is: {why}" for name, why in job.tasks.fixed]
    ranked = [one for one in choices if one.origin is Origin.RANKED]
    if ranked and len(ranked) == len(choices):
        notes.append(f"all {len(ranked)} tasks have their best ranked config: nothing was measured")
    else:
        notes += [f"{one.task.name} has its best ranked config: {one.why}" for one in ranked]
    reasons: dict[str, list[str]] = {}
    for one in choices:
        if one.origin is Origin.UNSCHEDULED:
            why = one.why or "no program of its space is faster"
            reasons.setdefault(why, []).append(one.task.name)
    return notes + [f"{_stay(names)} unscheduled: {why}" for why, names in reasons.items()]


def _stay(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} {'stays' if len(names) == 1 else 'stay'}"
