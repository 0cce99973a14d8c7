"""One call of the tuner: run MetaSchedule for the trials that are missing, and journal them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm.s_tir import meta_schedule as ms

from mschedx import compat
from mschedx.hardware import kernel_cores
from mschedx.measure.failures import MachineTrouble, machine_trouble
from mschedx.plan import Parts, Plan, name_of
from mschedx.process_state import interruptible, numpy_seed, quiet_logging, search_log
from mschedx.record.answers import answering
from mschedx.record.checks import workload_entry
from mschedx.record.contents import RECORDS, Contents
from mschedx.record.database import open_database
from mschedx.record.rounds import Appended
from mschedx.record.trials import Journal, Run, Trial, run_of, workload_number
from mschedx.recorder import Earlier, Outcome, Recorder
from mschedx.search.notes import listening

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target

    from mschedx.record.work_dir import WorkDir
    from mschedx.report.progress import Progress
    from mschedx.search.strategy import Strategy


_NOTHING = "nothing to search"

_ROUND = 16
"""Trials of a round at most, where nobody has said how many."""


def recorded(work_dir: WorkDir, mod: IRModule) -> Run | None:
    """Read what the work_dir knows of this function now; None if it is new there."""
    return _of(work_dir.read(), work_dir, mod)


def _of(contents: Contents, work_dir: WorkDir, mod: IRModule) -> Run | None:
    number = workload_number(contents, ms.database.Workload(mod).as_json()[0])
    return None if number is None else run_of(work_dir.path, contents, number)


def run_session(plan: Plan, work_dir: WorkDir, progress: Progress) -> Outcome:
    """Measure until the work_dir holds ``plan.trials`` trials of the function, or it is stopped.

    Whatever stops it, all rounds that were measured are in the database and in the journal. Where
    the search finds nothing at all, the function as it is becomes the only trial.

    Raises
    ------
    MachineTrouble
        If this machine can build or run nothing at present; nothing of that round is recorded.
    OSError
        If the work_dir can no longer be written.
    ValueError, TypeError
        If there is nothing to search where the plan says what, or its programs to begin with are
        of no sketch; if its strategy is one of TVM's and must know sketches or such programs.
    Exception
        Whatever ``plan.on_round`` raises, once its round is recorded.
    """
    before = _of(work_dir.contents, work_dir, plan.mod)
    done = before.trials if before is not None else ()
    outcome = Outcome()
    progress.start(plan.trials, done)
    if len(done) >= plan.trials:
        return outcome
    reads = asks_for_records(plan.parts.strategy)
    with open_database(work_dir, read=reads) as database:
        seed = plan.seed if not done else derived_seed(plan.seed, len(done))
        common = _begin(plan, work_dir, before, database, seed)
        # A strategy of TVM's has the database read all that there is, which counts it then.
        unread = 0 if reads else len(work_dir.contents.records)
        recorder = Recorder(
            plan,
            Earlier(trials=done, common=common, unread=unread),
            work_dir=work_dir,
            database=database,
            progress=progress,
            outcome=outcome,
        )
        with (
            ms.Profiler() as profiler,
            search_log() as said,
            listening() as outcome.said,
            interruptible(outcome.interrupt),
        ):
            try:
                parts = _parts(plan)
                nothing = _search(plan, work_dir, recorder, parts, seed)
                if not outcome.stopping and recorder.missing > 0:
                    ended = nothing or (said[-1] if said else "TVM's log says more")
                    builder, runner = made(ms.Builder, parts.builder), parts.runner
                    recorder.end(ended, builder, made(ms.Runner, runner))
            except KeyboardInterrupt:
                if not outcome.interrupted:
                    raise
    stages = {str(name): float(seconds) for name, seconds in profiler.get().items()}
    Journal(work_dir.path).append({"kind": "end", "workload": common.workload, "stages": stages})
    return outcome


def intrinsics_for(folder: Path, target: Target, space: Any) -> AbstractContextManager[None]:
    """Have the tensor intrinsics that a call can need in this block, and no others.

    Our own space needs few. Records of earlier runs may be of other spaces, whose are TVM's.
    """
    ours = space is None and not (folder / RECORDS).exists()
    return compat.only_intrinsics(target, compat.own_space_kinds(target) if ours else None)


def made(kind: Any, part: Any) -> Any:
    """A part of TVM's by name, as ``ms.tune_tir`` makes it; "none" for no cost model."""
    if not isinstance(part, str):
        return part
    return None if part == "none" else kind.create(part)


def asks_for_records(strategy: Any) -> bool:
    """Whether a strategy asks the database for earlier records; ours read the files."""
    from mschedx.search.strategy import Strategy

    return strategy is not None and not isinstance(strategy, Strategy)


def _begin(
    plan: Plan, work_dir: WorkDir, before: Run | None, database: ms.Database, seed: int
) -> Trial:
    """Write down that a session begins; return what its trials have in common."""
    done = before.trials if before is not None else ()
    new = Appended(work_dir.workloads)
    database.commit_workload(plan.mod)
    if before is None:
        new.check(1)
    common = Trial(
        index=len(done),
        workload=before.workload if before is not None else len(work_dir.contents.workloads),
        record=len(work_dir.contents.records),
        session=len(before.sessions) if before is not None else 0,
        round=0,
        unscheduled=bool(done) and all(t.unscheduled for t in done),
        elapsed_s=max((t.elapsed_s or 0.0 for t in done), default=0.0),
    )
    journal = Journal(work_dir.path)
    remember(plan.mod, common.workload, work_dir.contents, journal)
    journal.session(common.workload, seed=seed, trials=plan.trials, parts=plan.parts.names())
    return common


def remember(mod: IRModule, number: int, contents: Contents, journal: Journal) -> None:
    """Keep the workload in the journal, too: without it its records are of no use."""
    known = [e["workload"] for e in contents.journal if e["kind"] == "workload"]
    if number in known:
        return
    there = number < len(contents.workloads)  # with the hash that its line has
    content = contents.workloads[number] if there else ms.database.Workload(mod).as_json()
    journal.append(workload_entry(number, content))


def _search(
    plan: Plan, work_dir: WorkDir, recorder: Recorder, parts: Parts, seed: int
) -> str | None:
    """Let TVM's scheduler measure what is missing; say why if there is nothing to search."""
    outcome = recorder.outcome
    try:
        with quiet_logging(), numpy_seed(seed):
            ms.tune_tir(
                plan.mod,
                plan.target,
                work_dir=str(work_dir.path),
                max_trials_global=recorder.missing,
                num_trials_per_iter=min(_per_round(plan, parts), recorder.missing),
                database=recorder.database,
                measure_callbacks=recorder.callbacks(),
                seed=seed,
                space=parts.space,
                strategy=parts.strategy,
                cost_model=parts.cost_model,
                builder=parts.builder,
                runner=parts.runner,
            )
    except (Exception, KeyboardInterrupt) as error:
        # KeyboardInterrupt and Stopped arrive as RuntimeError after passing through TVM.
        if outcome.fault is not None:
            raise outcome.fault from None
        if outcome.stopping:
            return None
        trouble = machine_trouble(error)
        if trouble is not None:
            raise MachineTrouble(trouble) from None
        if _NOTHING in str(error) and not _are_given(plan, parts):
            return f"{_NOTHING}{str(error).partition(_NOTHING)[2]}".splitlines()[0]
        raise
    return None


def _per_round(plan: Plan, parts: Parts) -> int:
    """The most trials of a round."""
    own = getattr(parts.strategy, "batch", None)
    return plan.trials_per_round or own or _ROUND


def _are_given(plan: Plan, parts: Parts) -> bool:
    """Whether the caller has said what to search: then it is an error that this is nothing."""
    from mschedx.search.strategy import Strategy

    strategy = parts.strategy
    restricted = isinstance(strategy, Strategy) and bool(strategy.given.sketches)
    return plan.parts.space is not None or restricted


def filled(
    given: Parts, target: Target, runner: Callable[[], Any], strategy: Callable[[], Any]
) -> Parts:
    """Make what is not given: what is our own differs by call for runner and strategy only.

    Builder and runner are made first, since their workers start apart.

    Raises
    ------
    ValueError
        For a space of ours for another target.
    """
    from mschedx.space.or_as_it_is import require_made_for

    require_made_for(given.space, target)
    return Parts(
        builder=_own_builder() if given.builder is None else given.builder,
        runner=runner() if given.runner is None else answering(given.runner),
        space=_own_space(target) if given.space is None else given.space,
        strategy=strategy() if given.strategy is None else given.strategy,
        cost_model=_cost_model(given),
    )


def _own_builder() -> Any:
    from mschedx.measure import LocalBuilder

    return LocalBuilder()


def _own_runner(target: Target) -> Any:
    from mschedx.measure import LocalRunner

    return LocalRunner(cores=kernel_cores(target))


def _own_space(target: Target) -> Any:
    from mschedx.space import for_target

    return for_target(target)


def _own_strategy() -> Strategy:
    from mschedx.search import DraftVerify

    return DraftVerify()


def _cost_model(given: Parts) -> Any:
    """The cost model as TVM takes it: a plain `mschedx.cost.CostModel`, too, is made one."""
    from mschedx.cost import TVMCostModel
    from mschedx.search.gradients import model_beside

    if isinstance(given.cost_model, str | ms.CostModel):
        return given.cost_model
    if given.cost_model is not None:
        return TVMCostModel(given.cost_model)
    return model_beside(given.strategy)


def _parts(plan: Plan) -> Parts:
    """What the plan's session searches and measures with."""
    runner = partial(_own_runner, plan.target)
    return _restricted(plan, filled(plan.parts, plan.target, runner, _own_strategy))


def _restricted(plan: Plan, parts: Parts) -> Parts:
    """Tell the search of the sketches that the space consists of, and of what to start from.

    There is one task, and the caller is told why there is nothing to search.
    """
    from mschedx.search.strategy import Strategy
    from mschedx.space.design_spaces import generator_of
    from mschedx.space.opening import given_sketches, require_same_names, sketches

    parts = alone(parts)
    if isinstance(parts.strategy, Strategy):
        parts = replace(parts, strategy=parts.strategy.of_one_task())
    given = given_sketches(parts.space)
    if given is None and not plan.start:
        return parts
    if not isinstance(parts.strategy, Strategy):
        raise TypeError(
            "expected a strategy of mschedx with sketches as space= or with start=, got "
            f"{name_of(parts.strategy)}: TVM's own know neither"
        )
    own = [] if given is None else sketches(plan.mod, plan.target, given)
    require_same_names(own, plan.mod)
    strategy = parts.strategy.restricted(own, plan.start)
    space = generator_of([one.design.trace for one in own]) if own else parts.space
    return replace(parts, strategy=strategy, space=space)


def alone(parts: Parts) -> Parts:
    """The parts for a caller to whom what they raise for one task is told, and ends no other."""
    from mschedx.search.strategy import Strategy
    from mschedx.space.or_as_it_is import raising

    strategy = parts.strategy
    if isinstance(strategy, Strategy):
        strategy = strategy.alone()
    return replace(parts, strategy=strategy, space=raising(parts.space))


def derived_seed(seed: int, number: int) -> int:
    """A seed for TVM, > 0, of a run's own and a number: other candidates for every other number."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1) or 1
