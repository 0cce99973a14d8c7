"""What a user sees while a network is tuned: a table of its tasks, or plain lines."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
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
    """Told of a session as it goes; shows nothing. The displays build on what it keeps.

    Before a session and after it there are stages, and nothing else where nothing is measured.

    Attributes
    ----------
    now : str
        The stage; empty during a session, and when all is done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tasks: Sequence[RunningTask] = ()
        self.current: RunningTask | None = None
        self.now = ""
        self._parts = self._parts_done = 0

    def stage(self, text: str, parts: int = 0) -> None:
        """Begin what may take seconds, of so many parts where these are told of."""
        self.now, self._parts, self._parts_done = text, parts, 0

    def part_done(self) -> None:
        """One more part of the stage is done."""
        self._parts_done += 1

    def stop(self) -> None:
        self.now = ""

    def start(self, tasks: Sequence[RunningTask], total: int) -> None:
        """Begin a session of so many trials in all, earlier ones included."""
        self.tasks, self.now = tasks, ""
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

    def line(self) -> str:
        """The summary of a session, if there is one, and the stage."""
        counted = f", {self._parts_done} of {self._parts} done" if self._parts else ""
        parts = (self.summary() if self.tasks else "", f"{self.now}{counted}" if self.now else "")
        return "; ".join(part for part in parts if part)

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
    """One line a stage or round, for logs and pipes."""

    def __init__(self, file: IO[str] | None = None) -> None:
        super().__init__()
        self._print = LineWriter(file)

    def stage(self, text: str, parts: int = 0) -> None:
        super().stage(text, parts)
        self._print(text)

    def start(self, tasks: Sequence[RunningTask], total: int) -> None:
        self._print(f"tuning {len(tasks)} tasks")
        super().start(tasks, total)

    def update(self, one: RunningTask, trials: Sequence[Trial]) -> None:
        super().update(one, trials)
        best = format_seconds(one.best_s)
        self._print(f"{one.task.name}: {len(one.trials)} trials, best {best}; {self.summary()}")

    def note(self, text: str) -> None:
        self._print(f"note: {text}")


class _Redrawn(NetworkProgress):
    """A display that is drawn anew with everything that happens; a subclass says how."""

    def stage(self, text: str, parts: int = 0) -> None:
        super().stage(text, parts)
        self._draw()

    def part_done(self) -> None:
        super().part_done()
        self._draw()

    def start(self, tasks: Sequence[RunningTask], total: int) -> None:
        super().start(tasks, total)
        self._draw()

    def searching(self, one: RunningTask) -> None:
        super().searching(one)
        self._draw()

    def update(self, one: RunningTask, trials: Sequence[Trial]) -> None:
        super().update(one, trials)
        self._draw()

    def _draw(self) -> None:
        raise NotImplementedError


class LiveNetworkProgress(_Redrawn):
    """The tasks that take most of the network's time as a table, redrawn in place.

    Where there is no table, a stage is a line that goes with the last one.
    """

    def __init__(self, console: Any = None) -> None:
        super().__init__()
        from rich.console import Console

        self._console = console or Console(stderr=True)
        self._live = self._begun()

    def _begun(self) -> Any:
        from rich.live import Live

        return Live(console=self._console, auto_refresh=False)

    def note(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._console.print(text, style="dim", markup=False)

    def stop(self) -> None:
        super().stop()
        if self._live.is_started:
            self._live.transient = not self.tasks
            self._draw()
        with contextlib.suppress(OSError):
            self._live.stop()
        # What shows later stands below what was printed since, and does not wipe it off.
        self._live = self._begun()

    def _draw(self) -> None:
        with contextlib.suppress(OSError):  # the terminal has gone; the run goes on
            self._live.start()
            self._live.update(self._shown(), refresh=True)

    def _shown(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        if not self.tasks:
            return Text(self.line(), style="dim")
        table = Table(caption=self.line())
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

    def stop(self) -> None:
        was = self.now
        super().stop()
        if was:
            self._draw()

    def note(self, text: str) -> None:
        self._cell.note(text)
        self._draw()

    def _draw(self) -> None:
        said = self.line()
        if not self.tasks:
            self._cell.show(escape(said), said)
            return
        lines = ["".join(f"<th>{escape(name)}</th>" for name in COLUMNS)]
        lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in self.rows()]
        table = "".join(f"<tr>{line}</tr>" for line in lines)
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


@contextlib.contextmanager
def staged(
    progress: bool | NetworkProgress, text: str, parts: int = 0
) -> Iterator[NetworkProgress]:
    """Show what goes on in this block, which is no part of tuning one network.

    Parameters
    ----------
    progress : bool or NetworkProgress
        As of `make_network_progress`.
    text : str
        The stage.
    parts : int
        As of `NetworkProgress.stage`; the block tells the display of those that are done.
    """
    with make_network_progress(progress) as display:
        display.stage(text, parts)
        yield display
