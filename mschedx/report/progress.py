"""What a user sees while a run goes on: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from html import escape
from typing import IO, Any

from mschedx.record.trials import Trial

from .displays import LineWriter, NotebookCell, SessionProgress, bar, choose_display


class Progress(SessionProgress):
    """Told of a run as it goes; shows nothing. The displays build on what it keeps.

    Use as a context manager; ``start`` once, then ``update`` after each round.

    Parameters
    ----------
    flops : float
        Arithmetic operations of one run of the kernel.
    """

    def __init__(self, flops: float) -> None:
        super().__init__()
        self.flops = flops
        self.rounds = 0
        self.best_s = math.inf
        self.failures: dict[str, int] = {}

    def start(self, total: int, done: Sequence[Trial]) -> None:
        """Begin a run of `total` trials of which `done` were measured earlier."""
        self._take(done)
        self._begin_with(total, len(done))

    def update(self, trials: Sequence[Trial]) -> None:
        """Take in the trials of a round."""
        self.rounds += 1
        self.done += len(trials)
        self._take(trials)

    def exhausted(self, why: str) -> None:
        """Say why there will be no more trials than there are."""
        self.total = self.done
        self.note(why)

    @property
    def gflops(self) -> float:
        """Best rate so far, GFLOP/s; 0 if none ran."""
        return self.flops / self.best_s / 1e9

    def _take(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            if trial.latency_s is not None:
                self.best_s = min(self.best_s, trial.latency_s)
            if trial.reason is not None:
                self.failures[trial.reason] = self.failures.get(trial.reason, 0) + 1


class PlainProgress(Progress):
    """One line a round, for logs and pipes."""

    def __init__(self, flops: float, file: IO[str] | None = None) -> None:
        super().__init__(flops)
        self._print = LineWriter(file)

    def update(self, trials: Sequence[Trial]) -> None:
        super().update(trials)
        left = self.seconds_left()
        self._print(
            f"round {self.rounds}: {self.done}/{self.total} trials, {describe_best(self)}"
            f"{describe_failures(self.failures)}, {format_left(left)}"
        )

    def note(self, text: str) -> None:
        self._print(f"note: {text}")


class LiveProgress(Progress):
    """A bar with the best so far, the failures and the time left, redrawn in place."""

    def __init__(self, flops: float, console: Any = None) -> None:
        super().__init__(flops)
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._console = console or Console(stderr=True)
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("round {task.fields[round]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} trials"),
            TextColumn("[bold]{task.fields[best]}"),
            TextColumn("[red]{task.fields[failed]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=False,
        )
        self._task: Any = None

    def start(self, total: int, done: Sequence[Trial]) -> None:
        super().start(total, done)
        fields = self._fields()
        self._task = self._bar.add_task("", total=self.total, completed=self.done, **fields)
        with contextlib.suppress(OSError):  # the terminal has gone; the run goes on
            self._bar.start()

    def update(self, trials: Sequence[Trial]) -> None:
        super().update(trials)
        with contextlib.suppress(OSError):
            self._bar.update(self._task, completed=self.done, **self._fields())

    def exhausted(self, why: str) -> None:
        super().exhausted(why)
        with contextlib.suppress(OSError):
            self._bar.update(self._task, total=self.total, **self._fields())

    def note(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._console.print(text, style="dim", markup=False)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._bar.stop()

    def _fields(self) -> dict[str, Any]:
        return {
            "round": self.rounds if self.done == self.total else self.rounds + 1,
            "best": describe_best(self),
            "failed": describe_failures(self.failures).lstrip(", "),
            "left": format_left(self.seconds_left()),
        }


class NotebookProgress(Progress):
    """One display in a notebook's cell that is replaced round by round, notes below it."""

    def __init__(self, flops: float, display: Callable[..., Any] | None = None) -> None:
        super().__init__(flops)
        self._cell = NotebookCell(display)

    def start(self, total: int, done: Sequence[Trial]) -> None:
        super().start(total, done)
        self._draw()

    def update(self, trials: Sequence[Trial]) -> None:
        super().update(trials)
        self._draw()

    def exhausted(self, why: str) -> None:
        super().exhausted(why)
        self._draw()

    def note(self, text: str) -> None:
        self._cell.note(text)
        self._draw()

    def _draw(self) -> None:
        said = (
            f"{self.done}/{self.total} trials, {describe_best(self)}"
            f"{describe_failures(self.failures)}, {format_left(self.seconds_left())}"
        )
        self._cell.show(f"{bar(self)} {escape(said)}", said)


def make_progress(progress: bool | Progress, flops: float) -> Progress:
    """Give the display for `progress`: none, the one for this output, or the caller's own."""
    if isinstance(progress, Progress):
        return progress
    if not progress:
        return Progress(flops)
    return choose_display(
        notebook=lambda: NotebookProgress(flops),
        terminal=lambda: LiveProgress(flops),
        plain=lambda: PlainProgress(flops),
    )


def describe_best(progress: Progress) -> str:
    """Latency and rate of the best so far."""
    if math.isinf(progress.best_s):
        return "nothing ran yet"
    return f"best {format_seconds(progress.best_s)} ({progress.gflops:.1f} GFLOP/s)"


def describe_failures(failures: dict[str, int]) -> str:
    """Number of failures by reason, led by a comma; empty when there are none."""
    if not failures:
        return ""
    by_reason = ", ".join(f"{count} {why}" for why, count in failures.items())
    return f", {sum(failures.values())} failed ({by_reason})"


def format_seconds(seconds: float) -> str:
    """Give a duration three significant digits and a unit that suits; "-" if it is not known."""
    if not math.isfinite(seconds):
        return "-"
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= 0.9995 * factor:  # what three digits round up to it
            return f"{seconds / factor:.3g} {unit}" if seconds < 999.5 else f"{seconds:.0f} s"
    return f"{seconds * 1e9:.3g} ns"


def format_left(seconds: float | None) -> str:
    """Say how long a run still takes."""
    if seconds is None:
        return "time left unknown"
    return f"{seconds:.0f} s left" if seconds < 120 else f"{seconds / 60:.0f} min left"
