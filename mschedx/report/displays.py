"""What the displays of a tuner and of a network share: how far a session is, and where it shows."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from html import escape
from typing import IO, Any, Self, TypeVar

Display = TypeVar("Display")


class SessionProgress:
    """Counts the trials of a session and guesses how long it still takes; shows nothing.

    Use as a context manager.

    Attributes
    ----------
    total, done : int
        Trials, those of earlier sessions included.
    """

    def __init__(self) -> None:
        self.total = self.done = 0
        self._first_done = 0
        self._begin = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def note(self, text: str) -> None:
        """Say something that is neither progress nor an error."""

    def stop(self) -> None:
        """End the display; may be called twice."""

    def seconds_left(self) -> float | None:
        """Guess from the rate of this session; None before its first round."""
        measured = self.done - self._first_done
        if measured == 0:
            return None
        spent = time.perf_counter() - self._begin
        return spent / measured * max(0, self.total - self.done)

    def _begin_with(self, total: int, done: int) -> None:
        """Begin a session of `total` trials of which `done` were measured earlier, perhaps more."""
        self.total, self.done, self._first_done = max(total, done), done, done
        self._begin = time.perf_counter()
        if done > total > 0:
            self.note(f"{done} trials are in the work_dir already, {total} were asked for")
        elif done:
            known = f"{done} of {total}" if total else str(done)
            self.note(f"{known} trials are in the work_dir already")


class LineWriter:
    """Prints lines as long as somebody reads them.

    Parameters
    ----------
    file : IO[str], optional
        Standard error when None.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        self._file: IO[str] | None = file or sys.stderr

    def __call__(self, text: str) -> None:
        if self._file is None:
            return
        try:
            print(text, file=self._file, flush=True)
        except OSError:  # whoever read it has gone; the run goes on
            self._file = None


class NotebookCell:
    """One display in a notebook's cell that is replaced each time, notes below it.

    Parameters
    ----------
    display : callable, optional
        As IPython's, which is taken when None.
    """

    def __init__(self, display: Callable[..., Any] | None = None) -> None:
        self._display = _display() if display is None else display
        # One that no other display has, in this process or in a notebook that is opened again.
        self._id = f"mschedx-{uuid.uuid4().hex}"
        self._is_shown, self._notes = False, list[str]()

    def note(self, text: str) -> None:
        """Keep a line for below; it is seen when something is shown next."""
        self._notes.append(text)

    def show(self, html: str, text: str) -> None:
        """Replace what is shown, by HTML or, where that cannot be, by plain text."""
        notes = "".join(f"<div><small>{escape(note)}</small></div>" for note in self._notes)
        content = {"text/html": html + notes, "text/plain": text}
        self._display(content, raw=True, display_id=self._id, update=self._is_shown)
        self._is_shown = True


def bar(progress: SessionProgress) -> str:
    """How far a session is, as HTML."""
    return f'<progress value="{progress.done}" max="{max(progress.total, 1)}"></progress>'


def _display() -> Callable[..., Any]:
    from IPython.display import display  # pyright: ignore[reportMissingImports]

    return display


def in_notebook() -> bool:
    """Whether cells of a notebook show what is displayed."""
    shell = sys.modules.get("IPython")
    found = None if shell is None else shell.get_ipython()
    return found is not None and hasattr(found, "kernel")


def choose_display(
    *,
    notebook: Callable[[], Display],
    terminal: Callable[[], Display],
    plain: Callable[[], Display],
) -> Display:
    """Make the display that suits this output."""
    if in_notebook():
        return notebook()
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return terminal() if is_terminal else plain()
