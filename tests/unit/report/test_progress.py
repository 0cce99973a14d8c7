"""Displays of a run in a notebook."""

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from mschedx.record.trials import Trial
from mschedx.report.displays import NotebookCell, in_notebook
from mschedx.report.progress import (
    LiveProgress,
    NotebookProgress,
    Progress,
    format_seconds,
    make_progress,
)


def one(place, **found):
    return Trial(index=place, record=place, **found)


class TestNotebook:
    """One display that is replaced, and only in a notebook."""

    def test_it_is_drawn_once_and_then_updated(self):
        drawn = []
        shown = NotebookProgress(1e9, lambda content, **options: drawn.append((content, options)))
        with shown:
            shown.start(4, [])
            shown.update([one(0, latency_s=1e-3), one(1, reason="timeout")])
            shown.note("a <note>")
        assert [options["update"] for _, options in drawn] == [False, True, True]
        assert len({options["display_id"] for _, options in drawn}) == 1
        last = drawn[-1][0]
        assert "2/4 trials, best 1 ms (1000.0 GFLOP/s), 1 failed (1 timeout)" in last["text/plain"]
        assert "a &lt;note&gt;" in last["text/html"]

    def test_displays_one_after_the_other_are_two(self):
        """The first is gone when the second is made, and may have lain where that lies."""
        shown = []
        for _ in range(20):
            cell = NotebookCell(lambda content, **options: shown.append(options["display_id"]))
            cell.show("", "")
            del cell
        assert len(set(shown)) == 20

    def test_make_progress_takes_it_in_a_notebook(self, monkeypatch):
        assert not in_notebook()
        shell = SimpleNamespace(kernel=object())
        module = SimpleNamespace(get_ipython=lambda: shell)
        display = SimpleNamespace(display=lambda *args, **options: None)
        monkeypatch.setitem(sys.modules, "IPython", module)
        monkeypatch.setitem(sys.modules, "IPython.display", display)
        assert isinstance(make_progress(True, 1.0), NotebookProgress)
        assert type(make_progress(False, 1.0)) is Progress
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
        assert not isinstance(make_progress(True, 1.0), NotebookProgress)


def test_more_trials_than_were_asked_for_are_all_there_are():
    drawn, file = [], io.StringIO()
    in_notebook = NotebookProgress(1e9, lambda content, **options: drawn.append(content))
    in_terminal = LiveProgress(1e9, Console(file=file, width=120))
    done = [one(place, latency_s=1e-3) for place in range(4)]
    for shown in (in_notebook, in_terminal):
        with shown:
            shown.start(2, done)
        assert (shown.done, shown.total) == (4, 4)
    assert "4/4 trials" in drawn[-1]["text/plain"]
    assert '<progress value="4" max="4">' in drawn[-1]["text/html"]
    assert "4 trials are in the work_dir already, 2 were asked for" in drawn[-1]["text/html"]
    assert "4/4 trials" in file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (9.996e-4, "1 ms"),
        (9.994e-4, "999 us"),
        (0.99951, "1 s"),
        (1.5, "1.5 s"),
        (999.4, "999 s"),
        (999.6, "1000 s"),
        (1234.5, "1234 s"),
        (2e-7, "200 ns"),
        (float("inf"), "-"),
        (float("nan"), "-"),
    ],
)
def test_durations_have_three_digits_and_the_unit_that_suits(seconds, text):
    assert format_seconds(seconds) == text


def test_a_terminal_that_has_gone_does_not_end_the_run():
    """From the first line on."""
    with open("/dev/full", "wb", buffering=0) as full:
        file = io.TextIOWrapper(full, write_through=True)
        with LiveProgress(1.0, Console(file=file, force_terminal=True)) as shown:
            shown.start(4, [])
            shown.update([one(0, latency_s=1e-3)])
            shown.note("a note")
            shown.exhausted("no more")
        assert shown.done == shown.total == 1
