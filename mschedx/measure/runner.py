"""``LocalRunner``: time built candidates in one warm worker process that has all the cores."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import cast

from tvm.ir.utils import derived_object
from tvm.s_tir.meta_schedule.runner import (
    PyRunner,
    PyRunnerFuture,
    RunnerFuture,
    RunnerInput,
    RunnerResult,
)

from mschedx import compat
from mschedx.ranges import is_whole

from . import failures, work
from .builder import pickled
from .config import MeasureConfig, require_memory, require_timeout
from .pool import Job, JobOutcome, PoolConfig, carry_out, shared_pool, total_memory_bytes
from .timing import ArgsInfo


@derived_object
class LocalRunner(PyRunner):
    """An ``ms.Runner`` that times candidates one after the other, shortly and with all cores.

    ``run_secs`` holds one number, the median of the timed groups (see
    :class:`~mschedx.measure.MeasureConfig`), because TVM ranks records by the mean of that list.
    The worker starts in the background, stays warm, is shared by runners of the same
    configuration, and ends with the session. A candidate that crashes, hangs or exhausts its
    memory costs one failed record (:mod:`mschedx.measure.failures`).

    A batch is timed before :meth:`run` returns, unless that leaves the timings undisturbed: on a
    GPU, or with `cores` fewer than the process may use, batches run in the background while the
    session searches and builds for other tasks.

    Parameters
    ----------
    config : MeasureConfig, optional
        How long and how often a candidate runs.
    timeout_s : float
        Limit for one candidate, seconds, loading and repeats included.
    cores : int, optional
        Cores that a candidate uses; all that this process may use when None.
    memory_bytes : int, optional
        Limit for the worker's resident memory; half of the machine's when None.
    initializer : callable, optional
        Called without arguments before the worker is forked; picklable by cloudpickle.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    def __init__(
        self,
        *,
        config: MeasureConfig | None = None,
        timeout_s: float = 10.0,
        cores: int | None = None,
        memory_bytes: int | None = None,
        initializer: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        compat.check_versions()
        require_timeout(timeout_s)
        require_memory(memory_bytes)
        self.config = MeasureConfig() if config is None else config
        self.timeout_s = timeout_s
        available = compat.available_cores()
        if cores is not None and not (is_whole(cores) and 1 <= cores <= available):
            raise ValueError(
                f"cores must be an integer from 1 to {available} (what this process may use), "
                f"got {cores!r}"
            )
        self.cores = available if cores is None else int(cores)
        self._spare_cores = self.cores < available
        self._pool_config = PoolConfig(
            workers=1,
            cores=self.cores,
            memory_bytes=memory_bytes or max(1 << 30, total_memory_bytes() // 2),
            initializer=pickled(initializer),
        )
        shared_pool(self._pool_config)

    def run(self, runner_inputs: Sequence[RunnerInput]) -> list[RunnerFuture]:
        """Time all inputs; a candidate's failure is a result with ``error_msg``.

        Raises
        ------
        MachineTrouble
            If this machine can run nothing at present; where batches run in the background, out of
            the first result.
        """
        batch = _RunBatch(self._pool_config, self.config, self.timeout_s, list(runner_inputs))
        on_cpu = any(str(item.device_type) in ("cpu", "llvm") for item in runner_inputs)
        if on_cpu and not self._spare_cores:
            batch.run()
        else:
            threading.Thread(target=batch.run, name="mschedx-runner", daemon=True).start()
        futures = [_Future(batch, index) for index in range(len(runner_inputs))]
        return cast("list[RunnerFuture]", futures)  # what derived_object makes of them


class _RunBatch:
    """The candidates of one round: their cutoff is the best among them so far.

    Slow ones that come before there is a best are judged at the end, by it and by the fastest of
    their own first runs. Those that may still be the best are then timed in full; what this takes
    too long for keeps the latency of its first runs.

    Candidates of other rounds do not count: equal argument types do not make the same workload.
    """

    def __init__(
        self,
        pool_config: PoolConfig,
        config: MeasureConfig,
        timeout_s: float,
        inputs: list[RunnerInput],
    ):
        self._pool_config = pool_config
        self._config = config
        self._timeout_s = timeout_s
        self._best_s: float | None = None
        # Read here: TVM's objects belong to the thread that runs the search.
        self._inputs = [
            (str(item.artifact_path), str(item.device_type), args_info(item)) for item in inputs
        ]
        self._unjudged: set[int] = set()
        self.outcomes: list[JobOutcome | None] = [None] * len(inputs)
        self._failure: BaseException | None = None
        self._ended = [threading.Event() for _ in inputs]

    def run(self) -> None:
        """Time the candidates in their order."""
        try:
            self._time(range(len(self._inputs)))
            self._time(self._judge())
        except BaseException as error:
            self._failure = error
            if threading.current_thread() is threading.main_thread():
                raise
        finally:
            for event in self._ended:
                event.set()

    def _time(self, indices: Sequence[int]) -> None:
        if not indices:
            return
        carry_out(
            self._pool_config,
            [self._job(index) for index in indices],
            kind="run",
            timeout_s=self._timeout_s,
            done=lambda position, outcome: self._done(indices[position], outcome),
        )

    def _job(self, index: int) -> Callable[[], Job]:
        path, device, info = self._inputs[index]

        def job() -> Job:
            if self._best_s is None:
                self._unjudged.add(index)
            return Job(work.run_candidate, (path, device, info, self._config, self._best_s))

        return job

    def _done(self, index: int, outcome: JobOutcome) -> None:
        before = self.outcomes[index]
        if before is not None and _says_less(outcome, before):
            outcome = before
        self.outcomes[index] = outcome
        if outcome.error is None and not outcome.value.cut:
            latency = outcome.value.latency_s
            self._best_s = latency if self._best_s is None else min(self._best_s, latency)
        elif outcome.error is None and index in self._unjudged:
            return
        self._unjudged.discard(index)
        self._ended[index].set()

    def _judge(self) -> list[int]:
        """Those put by that may be the best, the fastest first; the others have ended."""
        first_s = {index: self._first_s(index) for index in self._unjudged}
        self._unjudged.clear()
        cutoff = self._config.slow_cutoff
        if not first_s or cutoff is None:
            return []
        fastest_s = min(first_s.values())
        self._best_s = fastest_s if self._best_s is None else min(fastest_s, self._best_s)
        worth = [index for index, seen_s in first_s.items() if seen_s <= cutoff * self._best_s]
        for index in first_s.keys() - worth:
            self._ended[index].set()
        return sorted(worth, key=first_s.__getitem__)

    def _first_s(self, index: int) -> float:
        outcome = self.outcomes[index]
        return math.inf if outcome is None else outcome.value.latency_s

    def done(self, index: int) -> bool:
        """Whether there is a result."""
        return self._ended[index].is_set()

    def result(self, index: int) -> RunnerResult:
        """Wait for the result."""
        self._ended[index].wait()
        outcome = self.outcomes[index]
        if outcome is None:
            raise RuntimeError(f"the runner was interrupted: {self._failure}")
        if outcome.error is not None:
            return RunnerResult(None, outcome.error)
        return RunnerResult([outcome.value.latency_s], None)


def _says_less(outcome: JobOutcome, before: JobOutcome) -> bool:
    """Whether timing in full has found no more than the first runs: it took too long, or was cut.

    It had run in its time before: what takes longer is to time it in full.
    """
    if outcome.error is not None:
        return failures.reason(outcome.error) == "timeout"
    return outcome.value.cut and outcome.value.latency_s > before.value.latency_s


@derived_object
class _Future(PyRunnerFuture):
    def __init__(self, batch: _RunBatch, index: int) -> None:
        super().__init__()
        self._batch = batch
        self._index = index

    def done(self) -> bool:
        return self._batch.done(self._index)

    def result(self) -> RunnerResult:
        return self._batch.result(self._index)


def args_info(item: RunnerInput) -> ArgsInfo:
    """Argument types of a runner's input as plain data."""
    found = []
    for argument in item.args_info:
        kind, dtype, shape = argument.as_json()
        found.append((str(kind), str(dtype), tuple(int(extent) for extent in shape)))
    return tuple(found)
