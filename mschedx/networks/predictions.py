"""What PSA expects of a network's tuned programs, which were chosen by what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from tvm.target import Target
from tvm_ffi.serialization import from_json_graph_str, to_json_graph_str

from mschedx.collector import without_collections
from mschedx.measure.pool import Job

from .choices import Choice, Origin, module_of, on_all_cores

if TYPE_CHECKING:
    import tvm


def predicted_latencies(
    choices: Sequence[Choice],
    target: Target,
    *,
    space: Any = None,
    cold: bool = False,
    done: Callable[[], None] = lambda: None,
) -> list[float]:
    """Seconds of one call of each choice's program [len(choices)], by PSA as it comes.

    What was measured does not correct it. NaN where there is no schedule, where its record is not
    of the space, or none of its statements is understood.

    Parameters
    ----------
    choices : sequence of Choice
    target : Target
    space : optional
        That was tuned in; in the default one as many processes read records as there are cores.
    cold : bool
        Whether weights come from memory.
    done : callable
        Called as each record has been read.
    """
    tuned = {
        i: (one.task.mod, one.record) for i, one in enumerate(choices) if one.record is not None
    }
    found = [one.latency_s if one.origin is Origin.RANKED else math.nan for one in choices]
    asked = list(tuned.values())
    if space is None:
        answers = _predicted_apart(asked, target, cold, done)
    else:
        answers = []
        for mod, record in asked:
            answers.append(_predicted(mod, record, target, space, cold))
            done()
    for i, seconds in zip(tuned, answers):
        found[i] = seconds
    return [seconds if math.isfinite(seconds) else math.nan for seconds in found]


def _predicted_apart(
    asked: Sequence[Any], target: Target, cold: bool, done: Callable[[], None]
) -> list[float]:
    text = to_json_graph_str(target)
    jobs = [
        lambda mod=mod, record=record: Job(_job, (to_json_graph_str(mod), record, text, cold))
        for mod, record in asked
    ]
    outcomes = on_all_cores(jobs, done=done)
    return [math.nan if one.error is not None else one.value for one in outcomes]


def _job(mod: str, record: list[Any], target: str, cold: bool) -> float:
    """In a worker process; modules travel as TVM's JSON."""
    with without_collections():
        resolved = cast("Target", from_json_graph_str(target))
        return _predicted(module_of(mod), record, resolved, None, cold)


def _predicted(
    mod: tvm.IRModule, record: list[Any], target: Target, space: Any, cold: bool
) -> float:
    from tvm.s_tir.meta_schedule.database import Workload

    from mschedx.cost.psa import PSAModel
    from mschedx.ranking import explained
    from mschedx.record.schedules import read_record
    from mschedx.space.resolver import Resolver

    resolver = Resolver.of_space(mod, target, space)
    resolved = resolver.resolve([read_record(record, Workload(mod)).trace])
    config = resolved.configs[0]
    if config is None:
        return math.nan
    sketch = resolver.sketches[resolved.sketch[0]]
    return explained(PSAModel(cold=cold), None, sketch, config).latency_s
