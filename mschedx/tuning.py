"""``tune``: MetaSchedule with mschedx's parts, a folder that resumes, and a checked winner."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mschedx import compat
from mschedx.cost.stand_ins import notes_on_stand_in, said_already
from mschedx.hardware import notes_on_machine
from mschedx.inputs import (
    check_seconds,
    check_seed,
    check_trials,
    normalize_mod,
    normalize_target,
    require_device,
    scheduled_already,
)
from mschedx.kernel import packed_ahead
from mschedx.measure import start as start_workers
from mschedx.measure.timing import unfillable
from mschedx.plan import Parts, Plan
from mschedx.process_state import interruptible
from mschedx.record.contents import RECORDS
from mschedx.record.reading import open_to_read
from mschedx.record.trials import Run, Trial
from mschedx.record.work_dir import WorkDir, open_work_dir
from mschedx.recorder import Outcome
from mschedx.report.progress import Progress, make_progress
from mschedx.search.gradients import require_gradients
from mschedx.session import intrinsics_for, recorded, run_session
from mschedx.space.design_spaces import require_distinct_names
from mschedx.space.or_as_it_is import require_made_for
from mschedx.tune_result import TuneResult, estimate_flops
from mschedx.winner import Winner, choose_winner

if TYPE_CHECKING:
    from tvm import IRModule, tirx
    from tvm.s_tir import Schedule, Trace
    from tvm.target import Target


def tune(
    mod: IRModule | tirx.PrimFunc,
    target: Target | dict[str, Any] | str | None = None,
    *,
    trials: int = 64,
    work_dir: str | Path | None = None,
    seed: int = 0,
    space: Any = None,
    strategy: Any = None,
    cost_model: Any = None,
    builder: Any = None,
    runner: Any = None,
    progress: Any = True,
    timeout_s: float | None = None,
    trials_per_round: int | None = None,
    patience: int | None = None,
    on_round: Callable[[tuple[Trial, ...]], Any] | None = None,
    start: Sequence[Schedule | Trace] = (),
    verify: bool = True,
) -> TuneResult:
    """Tune one function.

    Parameters
    ----------
    mod : IRModule | PrimFunc
        One PrimFunc with blocks and constant shapes.
    target : Target | dict | str, optional
        Any form that TVM knows; this machine when None.
    trials : int
        Measurements in the work_dir when done. Those of earlier calls count. 0: measure nothing
        and return the fastest record of the work_dir or, where there is none, the best ranked
        config (`mschedx.rank`), its latency predicted. `strategy`, `start` and the parts that
        measure are of no use then, nor are cost models other than `mschedx.cost`'s, which is noted.
        A work_dir that cannot be written, or that another process tunes into, is read as it is.
    work_dir : str | Path, optional
        Where records go and are found again; a new temporary folder when None.
    seed : int
        Same seed, same candidates of the first round, in mschedx's strategies (TVM's own draw on
        several threads and are not repeatable). What follows depends on measured latencies, and is
        the same as far as these are.
    space, strategy, cost_model, builder, runner : optional
        Whatever ``ms.tune_tir`` takes, names included; when None mschedx's own,
        `mschedx.DraftVerify` and `mschedx.cost.HeronXGB` among them, or
        `mschedx.cost.FelixMLP` beside `mschedx.GradientDescent`. ``space`` may be a
        `mschedx.space.Sketch` or a list of them, for instance ``sketch.fix(unroll=16)``.
    progress : bool | Progress
        Show a live display (plain lines when not on a terminal), or a display of one's own.
    timeout_s : float, optional
        Start no further round after this many seconds.
    trials_per_round : int, optional
        The most measurements between two looks of the search at the results. When None, the
        ``batch`` that a strategy of mschedx's was given; of others an eighth of the missing trials,
        8 to 16, and 16 of TVM's.
    patience : int, optional
        End early once so many trials in a row have brought nothing faster.
    on_round : callable, optional
        Called with the trials of each round once they are recorded; what it returns as true ends
        the run, what it raises too.
    start : sequence of Schedule or Trace
        Programs of the space to measure first, such as another run's ``result.schedule`` or those
        that `mschedx.rank` gives.
    verify : bool
        Compare the winner's output with the unscheduled program's before it is called the winner;
        one that differs is disqualified and the next best is checked. One that does not run on this
        machine is passed over; where none does, the fastest is the winner, unchecked.

    Raises
    ------
    ValueError, TypeError
        For input that cannot be tuned; the message says what to pass instead.
    WorkDirError
        For a work_dir that cannot be written, that another process tunes into, or that holds
        records of another target or of intrinsics that are not registered here; a ValueError.
    IncompatibleVersion
        For releases of TVM that do not fit (`mschedx.compat`).
    MachineTrouble
        If this machine can build or run nothing at present (`mschedx.measure`).
    OSError
        If the work_dir can no longer be written; what was measured before is kept.
    """
    begin = time.perf_counter()
    trials, seed = 0 if trials == 0 else check_trials(trials), check_seed(seed)
    trials_per_round = _optional(trials_per_round, "trials_per_round")
    patience = _optional(patience, "patience")
    check_seconds("timeout_s", timeout_s)
    begin_with = _check_hooks(on_round, start)
    if trials:
        require_gradients(strategy, cost_model)
    module, resolved = normalize_mod(mod), normalize_target(target)
    require_distinct_names(module, space)
    require_made_for(space, resolved)
    if trials and runner is None and (why := unfillable(module["main"])):
        raise ValueError(f"{why}: use int8, or pass a runner= that makes its arguments")
    compat.check_versions()
    # Absolute, so that what is returned reads its records wherever the process goes.
    folder = Path(tempfile.mkdtemp(prefix="mschedx-") if work_dir is None else work_dir).absolute()
    display = make_progress(progress, estimate_flops(module))
    plan = Plan(
        mod=module,
        target=resolved,
        trials=trials,
        trials_per_round=trials_per_round,
        seed=seed,
        timeout_s=timeout_s,
        begin=begin,
        patience=patience,
        on_round=on_round,
        start=begin_with,
        parts=Parts(
            space=space,
            strategy=strategy,
            cost_model=cost_model,
            builder=builder,
            runner=runner,
        ),
    )
    return _found(plan, folder, display, verify=verify)


def _found(plan: Plan, folder: Path, display: Progress, *, verify: bool) -> TuneResult:
    """Search, or where there is nothing to measure and nothing measured, rank."""
    trials, parts = plan.trials, plan.parts
    if trials == 0 and not (folder / RECORDS).exists():
        return _ranked(plan, folder, display)
    if parts.runner is None and trials:
        require_device(plan.target)
    if trials and (parts.builder is None or parts.runner is None):
        start_workers()
    found = _searched(plan, folder, display, verify=verify)
    if trials or found.schedule is not None or found.interrupted:
        return found
    best = _ranked(plan, folder, display)
    return replace(best, history=found.history, notes=(*found.notes, *best.notes))


def _searched(plan: Plan, folder: Path, display: Progress, *, verify: bool) -> TuneResult:
    """Measure what the folder lacks, and choose its winner."""
    intrinsics = intrinsics_for(folder, plan.target, plan.parts.space)
    opening = open_work_dir if plan.trials else open_to_read
    with intrinsics, opening(folder, plan.target) as opened, display:
        scheduled = scheduled_already(plan.mod)
        said = notes_on_stand_in(plan.target, plan.parts.strategy, plan.parts.cost_model)
        said = (*said, *(notes_on_machine(plan.target) if plan.parts.runner is None else ()))
        notes = (*opened.notes, *(said if plan.trials else ()), *([scheduled] if scheduled else []))
        for note in notes:
            display.note(note)
        with said_already():
            outcome = run_session(plan, opened, display)
        with interruptible(outcome.interrupt):
            found = _result(plan, opened, outcome, display, notes, verify=verify)
        return replace(found, work_dir=folder)


def _optional(count: int | None, name: str) -> int | None:
    return None if count is None else check_trials(count, name)


def _check_hooks(on_round: Any, start: Any) -> tuple[Schedule | Trace, ...]:
    """Refuse what cannot be called or started from; what to start from, as schedules or traces."""
    if on_round is not None and not callable(on_round):
        raise TypeError(f"expected on_round to be callable, got {type(on_round).__name__}")
    if not isinstance(start, (list, tuple)):
        raise TypeError(
            "expected start as a list of schedules or traces, got "
            f"{type(start).__name__}: one alone is start=[schedule]"
        )
    return tuple(_traced(one, place) for place, one in enumerate(start))


def _traced(given: Any, place: int) -> Schedule | Trace:
    from tvm.s_tir import Schedule, Trace

    from mschedx.ranking import Ranked

    if isinstance(given, Ranked):
        return given.sketch.design.trace_for(given.config)
    if isinstance(given, Trace) or (isinstance(given, Schedule) and given.trace is not None):
        return given
    what = "a schedule without a trace" if isinstance(given, Schedule) else type(given).__name__
    raise TypeError(
        "expected schedules, traces or what mschedx.rank gives to start from, got "
        f"{what} at position {place} of start"
    )


def _ranked(plan: Plan, folder: Path, display: Progress) -> TuneResult:
    from mschedx.ranked_result import ranked_result  # what ranks is imported where it is needed

    return ranked_result(plan, folder, display)


def _result(
    plan: Plan,
    work_dir: WorkDir,
    outcome: Outcome,
    display: Progress,
    before: tuple[str, ...],
    *,
    verify: bool,
) -> TuneResult:
    """Choose the winner among all trials of the work_dir."""

    def chosen(verify: bool) -> tuple[Run | None, Winner | None, list[str]]:
        run = recorded(work_dir, plan.mod)
        if run is None:
            return None, None, []
        return run, *choose_winner(run, plan.mod, plan.target, work_dir, verify=verify)

    try:
        run, winner, notes = chosen(verify)
    except KeyboardInterrupt:  # checking can take longer than anybody wants to wait
        outcome.interrupt()
        run, winner, notes = chosen(False)
        notes.append("the winner's output was not compared: interrupted")
    if notes:  # records that turned out wrong have failed now
        run = recorded(work_dir, plan.mod)
    why_unscheduled = _why_unscheduled(winner, run, outcome)
    if why_unscheduled and why_unscheduled != outcome.ended:
        notes.append(why_unscheduled)
    if not plan.trials and winner:
        notes.append("nothing was measured: the fastest record of the work_dir")
    ahead = packed_ahead(winner.schedule.mod) if winner else ()
    if ahead:
        notes.append(
            f"{', '.join(ahead)} may lie in any layout and is packed ahead of all calls: latencies "
            "are without that, compile() packs at every call"
        )
    notes = [*outcome.said, *notes]
    for note in notes:
        display.note(note)
    return TuneResult(
        mod=plan.mod,
        target=plan.target,
        work_dir=work_dir.path,
        latency_s=winner.trial.latency_s or math.inf if winner else math.inf,
        schedule=winner.schedule if winner else None,
        best=winner.trial if winner else None,
        history=run.trials if run is not None else (),
        flops=estimate_flops(plan.mod),
        measured=outcome.measured,
        wall_s=time.perf_counter() - plan.begin,
        interrupted=outcome.interrupted,
        timed_out=outcome.timed_out,
        verified=winner.verified if winner else False,
        why_unscheduled=why_unscheduled,
        notes=(*before, *([outcome.ended] if outcome.ended else []), *notes),
    )


def _why_unscheduled(winner: Winner | None, run: Run | None, outcome: Outcome) -> str:
    """Why the winner is the function as it is; empty where it is not."""
    if winner is None or run is None or not winner.trial.unscheduled:
        return ""
    scheduled = sum(not trial.unscheduled for trial in run.trials)
    if scheduled:
        return (
            f"the function stays as it is: none of {scheduled} scheduled programs that were "
            "measured is faster"
        )
    return outcome.ended or "nothing could be searched, so the function stays as it is"
