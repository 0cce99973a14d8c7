"""What a user sees while a network is tuned: a table of its tasks, or plain lines."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

from mschedx.record.trials import Trial
from mschedx.report.progress import LineWriter, format_left, format_seconds

from .running import RunningTask


class NetworkProgress:
    """Told of a session as it goes; shows nothing. The displays build on what it keeps."""

    def __init__(self) -> None:
        self.tasks: Sequence[RunningTask] = ()
        self.total = self.done = self._first = 0
        self.current: RunningTask | None = None
        self._begin = time.perf_counter()

    def __enter__(self) -> NetworkProgress:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self, tasks: Sequence[RunningTask], total: int) -> None:
        """Begin a session of so many trials in all, earlier ones included."""
        self.tasks, self.total = tasks, total
        self.done = self._first = sum(len(one.trials) for one in tasks)
        self._begin = time.perf_counter()
        if self.done:
            self.note(f"{self.done} of {total} trials are in the work_dir already")

    def searching(self, one: RunningTask) -> None:
        """A task's next candidates are being searched."""
        self.current = one

    def running(self, one: RunningTask) -> None:
        """A task's candidates are being timed."""
        self.current = one

    def update(self, one: RunningTask, trials: Sequence[Trial]) -> None:
        """A round of a task is done."""
        self.current = one
        self.done += len(trials)

    def note(self, text: str) -> None:
        """Say something that is neither progress nor an error."""

    def stop(self) -> None:
        """End the display; may be called twice."""

    @property
    def latency_s(self) -> float:
        """Sum over the tasks of calls times best latency; inf until each has one."""
        return sum((one.task.weight * one.best_s for one in self.tasks), 0.0)

    def seconds_left(self) -> float | None:
        """Guess from the rate of this session; None before its first round."""
        measured = self.done - self._first
        if measured == 0:
            return None
        spent = time.perf_counter() - self._begin
        return spent / measured * max(0, self.total - self.done)

    def summary(self) -> str:
        """One line on where the session stands."""
        missing = sum(1 for one in self.tasks if math.isinf(one.best_s))
        estimate = (
            f"network {format_seconds(self.latency_s)}" if not missing else f"{missing} tasks to go"
        )
        return f"{self.done}/{self.total} trials, {estimate}, {format_left(self.seconds_left())}"


class PlainNetworkProgress(NetworkProgress):
    """One line a round, for logs and pipes."""

    def __init__(self, file: IO[str] | None = None) -> None:
        super().__init__()
        self._print = LineWriter(file)

    def update(self, one: RunningTask, trials: Sequence[Trial]) -> None:
        super().update(one, trials)
        best = format_seconds(one.best_s)
        self._print(f"{one.task.name}: {len(one.trials)} trials, best {best}; {self.summary()}")

    def note(self, text: str) -> None:
        self._print(f"note: {text}")


class LiveNetworkProgress(NetworkProgress):
    """The tasks that take most of the network's time as a table, redrawn in place."""

    _ROWS = 20

    def __init__(self, console: Any = None) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False)

    def start(self, tasks: Sequence[RunningTask], total: int) -> None:
        super().start(tasks, total)
        with contextlib.suppress(OSError):  # the terminal has gone; the run goes on
            self._live.start()
            self._draw()

    def searching(self, one: RunningTask) -> None:
        super().searching(one)
        self._draw()

    def update(self, one: RunningTask, trials: Sequence[Trial]) -> None:
        super().update(one, trials)
        self._draw()

    def note(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._console.print(text, style="dim", markup=False)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._live.stop()

    def _draw(self) -> None:
        with contextlib.suppress(OSError):
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(caption=self.summary())
        for name in ("", "task", "calls", "trials", "best", "GFLOP/s", "of network"):
            table.add_column(name, justify="left" if name in ("", "task") else "right")
        shares = {one.task.key: one.task.weight * one.best_s for one in self.tasks}
        known = sum(s for s in shares.values() if math.isfinite(s))
        order = sorted(self.tasks, key=lambda one: -_finite(shares[one.task.key]))
        for one in order[: self._ROWS]:
            share = shares[one.task.key]
            rate = one.task.flops / one.best_s / 1e9
            table.add_row(
                ">" if one is self.current else "",
                one.task.name[:48],
                str(one.task.weight),
                str(len(one.trials)),
                format_seconds(one.best_s),
                f"{rate:.0f}" if math.isfinite(one.best_s) else "-",
                f"{share / known:.0%}" if math.isfinite(share) and known else "-",
            )
        return table


def make_network_progress(progress: bool | NetworkProgress) -> NetworkProgress:
    """Give the display for `progress`: none, the one for this output, or the caller's own."""
    if isinstance(progress, NetworkProgress):
        return progress
    if not progress:
        return NetworkProgress()
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return LiveNetworkProgress() if terminal else PlainNetworkProgress()


def _finite(share: float) -> float:
    return share if math.isfinite(share) else math.inf
