"""After measuring: a program for every task, the network compiled, its output compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from mschedx.record.contents import read_contents
from mschedx.record.work_dir import WorkDir
from mschedx.recorder import SessionOutcome
from mschedx.told import listening
from mschedx.user_warnings import warn_user

from .assembly import compiled
from .checking import Check, check_output, reference_of
from .choices import Choice, Origin, ranked_choices, tuned_choice, unscheduled_choice
from .job import NetworkJob
from .predictions import predicted_latencies
from .progress import NetworkProgress, staged
from .result import NetworkResult
from .tasks import NetworkTask

if TYPE_CHECKING:
    from tvm.relax import VMExecutable

_LATER = "compile(), export() and profile() rank it first"
_INTERRUPTED = f"interrupted before a candidate of it ran; {_LATER}"
_NOT_RANKED = f"interrupted before it was ranked; {_LATER}"

Rank = Callable[..., tuple[list[Choice], tuple[str, ...]]]
"""From tasks to their best ranked programs, and what there is to say of the model and of them.

It may be given what to call as each task is done."""


@dataclass(frozen=True)
class _Chosen:
    """A program for every task.

    Parameters
    ----------
    choices : tuple of Choice
    notes : list of str
        A line on each that is not tuned.
    left : tuple of NetworkTask
        What Ctrl-C has left unscheduled.
    """

    choices: tuple[Choice, ...]
    notes: list[str]
    left: tuple[NetworkTask, ...]


def conclude(
    job: NetworkJob, work_dir: WorkDir, outcome: SessionOutcome, display: NetworkProgress
) -> NetworkResult:
    """Choose, compile and check; where the output is wrong, choose again among checked records.

    After Ctrl-C nothing is ranked, compiled or compared: what takes long is done when asked for,
    and shown then.
    """
    chosen = _choices(job, work_dir, outcome, display, verify=False)
    later = job.progress if outcome.interrupted else False
    programs, build = _compiled_once(job, chosen, later)
    notes = chosen.notes
    check, verify = Check.nothing(), job.verify and not outcome.interrupted
    given = (job.imported, job.fused, job.tasks, job.target, job.seed)
    reference = reference_of(*given) if verify else None
    if not outcome.interrupted:
        display.stage("compiling the network")
        build()
    if reference is not None:
        display.stage("comparing the output")
        check = check_output(reference, build(), job.target)
        if check.wrong:
            was = f"the network's output was wrong, its records are checked: {check.reason}"
            display.stage("checking the records one by one")
            chosen = _choices(job, work_dir, outcome, display, verify=True)
            programs, build = _compiled_once(job, chosen, later)
            display.stage("comparing the output of checked records")
            check = check_output(reference, build(), job.target)
            notes = [was, *chosen.notes]  # the lines on the first choices hold no longer
        notes += check.said("the framework's")
    for note in notes:
        display.note(note)
    order = sorted(
        chosen.choices, key=lambda one: (-one.task.weight * one.latency_s, one.task.name)
    )
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
        programs=programs,
        build=build,
        changed=job.imported.changed,
        predict=_predicting(job),
    )


def _compiled_once(
    job: NetworkJob, chosen: _Chosen, progress: bool | NetworkProgress
) -> tuple[Callable[[], tuple[Choice, ...]], Callable[[], VMExecutable]]:
    """The programs that the network is compiled with, and the network; each is made once.

    ``progress`` shows both as stages of their own; False where a display does that already.
    """
    programs = cache(partial(_completed, chosen, _ranking(job), progress))
    fused, target, prepack = job.fused, job.target, job.prepack

    def build() -> VMExecutable:
        chosen_programs = programs()
        with staged(progress, "compiling the network"):
            return compiled(fused, chosen_programs, target, prepack=prepack)

    return programs, cache(build)


def _predicting(job: NetworkJob) -> Callable[[Sequence[Choice]], list[float]]:
    """What `NetworkResult.profile` asks of the programs' predictions; it holds no weights."""
    target, space, cold, progress = job.target, job.parts.space, job.cold, job.progress

    def predict(choices: Sequence[Choice]) -> list[float]:
        read = sum(choice.record is not None for choice in choices)
        with staged(progress if read else False, f"predicting {read} tasks", read) as display:
            return predicted_latencies(
                choices, target, space=space, cold=cold, done=display.part_done
            )

    return predict


def _completed(chosen: _Chosen, rank: Rank, progress: bool | NetworkProgress) -> tuple[Choice, ...]:
    """The choices, with ranked programs in the place of what Ctrl-C has left unscheduled."""
    if not chosen.left:
        return chosen.choices
    count = len(chosen.left)
    with staged(progress, f"ranking {count} tasks", count) as display:
        found, about = rank(chosen.left, display.part_done)
    for note in about:
        warn_user(note)
    ranked = {choice.task.key: choice for choice in found}
    return tuple(ranked.get(choice.task.key, choice) for choice in chosen.choices)


def _choices(
    job: NetworkJob,
    work_dir: WorkDir,
    outcome: SessionOutcome,
    display: NetworkProgress,
    *,
    verify: bool,
) -> _Chosen:
    """A program for every task."""
    found: dict[str, Choice] = {}
    notes: list[str] = []
    missing: list[NetworkTask] = []
    contents = read_contents(work_dir.path)
    for task in job.tasks.tunable:
        choice, about = tuned_choice(task, contents, work_dir, job.target, verify=verify)
        notes += [f"{task.name}: {note}" for note in about]
        if choice is None:
            missing.append(task)
        else:
            found[task.key] = choice
    if outcome.interrupted:
        why = _INTERRUPTED if job.trials_per_task else _NOT_RANKED
        rest, left = [unscheduled_choice(task, why) for task in missing], missing
    else:
        if missing:
            display.stage(f"ranking {len(missing)} tasks", len(missing))
        (rest, about), left = _ranking(job)(missing, display.part_done), []
        notes += about
    found.update((choice.task.key, choice) for choice in rest)
    choices = tuple(found[task.key] for task in job.tasks.tunable)
    return _Chosen(choices, notes + _about_untuned(choices, job), tuple(left))


def _ranking(job: NetworkJob) -> Rank:
    """How a job ranks; the user's model does where nothing is measured. It holds no weights."""
    from mschedx.ranking import ranking_model

    measures, cost_model = bool(job.trials_per_task), job.parts.cost_model
    tasks = [one.task for one in job.tasks.tunable]
    ranked = partial(
        ranked_choices,
        target=job.target,
        why="no record of it ran" if measures else "nothing was measured",
        space=job.parts.space,
        seed=job.seed,
        cold=job.cold,
        prepared=not measures,
    )

    def rank(
        missing: Sequence[NetworkTask], done: Callable[[], None] | None = None
    ) -> tuple[list[Choice], tuple[str, ...]]:
        model, about = (None, ()) if measures else ranking_model(cost_model, tasks)
        with listening() as told:
            return ranked(missing, model=model, done=done), (*about, *told)

    return rank


def _about_untuned(choices: Sequence[Choice], job: NetworkJob) -> list[str]:
    notes = [f"{name} is no task and stays as it is: {why}" for name, why in job.tasks.fixed]
    ranked = [one for one in choices if one.origin is Origin.RANKED]
    if ranked and len(ranked) == len(choices):
        notes.append(f"all {len(ranked)} tasks have their best ranked config: nothing was measured")
    else:
        notes += [f"{one.task.name} has its best ranked config: {one.why}" for one in ranked]
    reasons: dict[str, list[str]] = {}
    for one in choices:
        if one.origin is Origin.UNSCHEDULED:
            reasons.setdefault(one.why, []).append(one.task.name)
    return notes + [f"{_stay(names)} unscheduled: {why}" for why, names in reasons.items()]


def _stay(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} {'stays' if len(names) == 1 else 'stay'}"
