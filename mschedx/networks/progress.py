"""What a user sees while a network is tuned: a table of its tasks, or plain lines."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from html import escape
from typing import IO, Any

from mschedx.record.trials import Trial
from mschedx.report.displays import (
    LineWriter,
    NotebookCell,
    SessionProgress,
    bar,
    choose_display,
)
from mschedx.report.progress import format_left, format_seconds

from .running import RunningTask

COLUMNS = ("", "task", "calls", "trials", "best", "GFLOP/s", "of network")
"""Of the tables; the first one marks the task that is at work."""
_TEXTS = COLUMNS[:2]
_ROWS = 20


class NetworkProgress(SessionProgress):
    """Told of a session as it goes; shows nothing. The displays build on what it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: Sequence[RunningTask] = ()
        self.current: RunningTask | None = None

    def start(self, tasks: Sequence[RunningTask], total: int) -> None:
        """Begin a session of so many trials in all, earlier ones included."""
        self.tasks = tasks
        self._begin_with(total, sum(len(one.trials) for one in tasks))

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

    @property
    def latency_s(self) -> float:
        """Sum over the tasks of calls times best latency; inf until each has one."""
        return sum((one.task.weight * one.best_s for one in self.tasks), 0.0)

    def summary(self) -> str:
        """One line on where the session stands."""
        missing = sum(1 for one in self.tasks if math.isinf(one.best_s))
        estimate = (
            f"network {format_seconds(self.latency_s)}" if not missing else f"{missing} tasks to go"
        )
        return f"{self.done}/{self.total} trials, {estimate}, {format_left(self.seconds_left())}"

    def rows(self) -> list[tuple[str, ...]]:
        """What tables show, by `COLUMNS`, of the tasks that take most of the network's time."""
        shares = {one.task.key: one.task.weight * one.best_s for one in self.tasks}
        known = sum(s for s in shares.values() if math.isfinite(s))
        found = []
        for one in sorted(self.tasks, key=lambda one: -shares[one.task.key])[:_ROWS]:
            share, rate = shares[one.task.key], one.task.flops / one.best_s / 1e9
            row = (
                ">" if one is self.current else "",
                one.task.name[:48],
                str(one.task.weight),
                str(len(one.trials)),
                format_seconds(one.best_s),
                f"{rate:.0f}" if math.isfinite(one.best_s) else "-",
                f"{share / known:.0%}" if math.isfinite(share) and known else "-",
            )
            found.append(row)
        return found


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


class _Redrawn(NetworkProgress):
    """A display that is drawn anew with everything that happens; a subclass says how."""

    def searching(self, one: RunningTask) -> None:
        super().searching(one)
        self._draw()

    def update(self, one: RunningTask, trials: Sequence[Trial]) -> None:
        super().update(one, trials)
        self._draw()

    def _draw(self) -> None:
        raise NotImplementedError


class LiveNetworkProgress(_Redrawn):
    """The tasks that take most of the network's time as a table, redrawn in place."""

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
        for name in COLUMNS:
            table.add_column(name, justify="left" if name in _TEXTS else "right")
        for row in self.rows():
            table.add_row(*row)
        return table


class NotebookNetworkProgress(_Redrawn):
    """The same table in a notebook's cell, notes below it."""

    def __init__(self, display: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self._cell = NotebookCell(display)

    def start(self, tasks: Sequence[RunningTask], total: int) -> None:
        super().start(tasks, total)
        self._draw()

    def note(self, text: str) -> None:
        self._cell.note(text)
        self._draw()

    def _draw(self) -> None:
        if not self.tasks:
            self._cell.show("", "")
            return
        lines = ["".join(f"<th>{escape(name)}</th>" for name in COLUMNS)]
        lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in self.rows()]
        table = "".join(f"<tr>{line}</tr>" for line in lines)
        said = self.summary()
        self._cell.show(f"{bar(self)} {escape(said)}<table>{table}</table>", said)


def make_network_progress(progress: bool | NetworkProgress) -> NetworkProgress:
    """Give the display for `progress`: none, the one for this output, or the caller's own."""
    if isinstance(progress, NetworkProgress):
        return progress
    if not progress:
        return NetworkProgress()
    return choose_display(
        notebook=NotebookNetworkProgress, terminal=LiveNetworkProgress, plain=PlainNetworkProgress
    )
