"""Runners of users, whose answers are made such that records can keep them.

TVM writes whatever seconds a runner gives. JSON knows no infinity and no NaN, and a record without
seconds is taken for a broken one when its folder is opened next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from tvm.ir.utils import derived_object
from tvm.s_tir.meta_schedule.runner import (
    PyRunner,
    PyRunnerFuture,
    Runner,
    RunnerFuture,
    RunnerInput,
    RunnerResult,
)

from mschedx.latency import latency_of


def answering(runner: Any) -> Any:
    """Give a runner that says of every candidate either its latency or why there is none.

    One of our own and the name of one of TVM's are returned as they are.
    """
    from mschedx.measure import LocalRunner

    if not isinstance(runner, Runner) or isinstance(runner, cast("type", LocalRunner)):
        return runner
    return _Answering(runner)


@derived_object
class _Answering(PyRunner):
    """Hands candidates on to another runner.

    Parameters
    ----------
    runner : ms.Runner
    """

    def __init__(self, runner: Any) -> None:
        super().__init__()
        self._runner = runner

    def run(self, runner_inputs: Sequence[RunnerInput]) -> list[RunnerFuture]:
        """Have all inputs run.

        Raises
        ------
        RuntimeError
            Where the runner gives no result for some, or more than there are candidates.
        """
        futures = list(self._runner.run(list(runner_inputs)))
        if len(futures) != len(runner_inputs):
            raise RuntimeError(
                f"expected a result for each of {len(runner_inputs)} candidates of the runner, got "
                f"{len(futures)}: have its run() give a future for every input, in their order"
            )
        return cast("list[RunnerFuture]", [_Answer(future) for future in futures])


@derived_object
class _Answer(PyRunnerFuture):
    """A result with seconds that a record can keep, or with an error."""

    def __init__(self, future: Any) -> None:
        super().__init__()
        self._future = future

    def done(self) -> bool:
        """Whether there is a result."""
        return self._future.done()

    def result(self) -> RunnerResult:
        """What the runner found; an error where it has neither error nor latency."""
        found = self._future.result()
        if found.error_msg is not None or math.isfinite(latency_of(found.run_secs)):
            return found
        seconds = [float(one) for one in found.run_secs or ()]
        return RunnerResult(None, f"other: the runner gave {seconds} as seconds, and no error")
