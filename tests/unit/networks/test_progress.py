"""What is said of a network before anything is measured, after it, and where nothing is."""

import io
import math
import re
import sys
from html import escape
from types import SimpleNamespace

import pytest
from rich.console import Console
from stand_ins import Runner
from tiny_networks import TARGET, WeightsAlone, quick, two

from mschedx import tune_buckets, tune_model, tune_parts
from mschedx.networks import NetworkError
from mschedx.networks.progress import (
    LiveNetworkProgress,
    NotebookNetworkProgress,
    PlainNetworkProgress,
    make_network_progress,
)

BEFORE = ["reading the network", "rewriting the network", "reading the records"]
AFTER = ["compiling the network", "comparing the output"]


def ranked(progress, space=None):
    parts = quick(space=space, cost_model=None, progress=progress)
    return tune_model(*two(), trials_per_task=0, **parts)


def said_plainly(call):
    """Lines of a plain display that a call is given, notes left out."""
    file = io.StringIO()
    call(PlainNetworkProgress(file))
    return [one for one in file.getvalue().splitlines() if not one.startswith("note: ")]


def terminal():
    screen = io.StringIO()
    return screen, LiveNetworkProgress(Console(file=screen, force_terminal=True, width=140))


def test_every_stage_is_a_line_where_nothing_is_measured():
    assert said_plainly(ranked) == [*BEFORE, "ranking 2 tasks", *AFTER]


def test_stages_stand_around_the_rounds():
    def measured(progress):
        tune_model(*two(), trials_per_task=2, **quick(progress=progress))

    lines = said_plainly(measured)
    assert lines[:4] == [*BEFORE, "tuning 2 tasks"]
    assert all("trials, best" in line for line in lines[4:-2])
    assert len(lines) > 6
    assert lines[-2:] == AFTER


@pytest.mark.parametrize("space", [None, "post-order-apply"], ids=["apart", "here"])
def test_a_terminal_counts_the_tasks_that_are_ranked(space):
    screen, progress = terminal()
    ranked(progress, space=space)
    shown = screen.getvalue()
    assert [text in shown for text in (*BEFORE, *AFTER)] == [True] * 5
    counts = re.findall(r"ranking 2 tasks, (\d) of 2 done", shown)
    assert list(dict.fromkeys(counts)) == ["0", "1", "2"]
    assert shown.endswith("\x1b[1A\x1b[2K"), "the last stage is wiped off, for there is no table"


def test_a_table_stays_without_the_last_stage():
    screen, progress = terminal()
    tune_model(*two(), trials_per_task=2, **quick(progress=progress))
    assert "0 s left; comparing the output" in screen.getvalue()
    assert "comparing" not in screen.getvalue().rpartition("of network")[2]


def test_a_notebook_shows_the_stages_in_its_cell():
    drawn = []
    progress = NotebookNetworkProgress(lambda content, **_: drawn.append(content["text/plain"]))
    ranked(progress)
    assert set(drawn) > {*BEFORE, *AFTER, "ranking 2 tasks, 1 of 2 done"}
    assert drawn[-1] == "", "nothing is going on any more"


def test_a_network_that_is_refused_leaves_no_display_behind():
    screen, progress = terminal()
    streams = sys.stdout, sys.stderr
    model, inputs = two()
    with pytest.raises(NetworkError, match="training"):
        tune_model(model.train(), inputs, target=TARGET, progress=progress)
    assert "reading the network" in screen.getvalue()
    assert (sys.stdout, sys.stderr) == streams
    assert not progress._live.is_started


def test_several_sizes_are_read_once_and_tried_padded():
    def tuned(progress):
        options = {"trials_per_task": 0, "target": TARGET, "progress": progress}
        tune_buckets(*two(), {"x[0]": (1, 3)}, **options)

    lines = said_plainly(tuned)
    assert lines.count("reading the network") == 1
    assert lines[-1] == "trying padded inputs"
    assert lines.count("comparing the output") == 2


def test_a_network_without_unknown_operators_is_read_once():
    def tuned(progress):
        tune_parts(WeightsAlone().eval(), (), TARGET, trials_per_task=0, progress=progress)

    assert said_plainly(tuned)[:2] == ["reading the network", "rewriting the network"]


LATER = ["ranking 1 tasks", "compiling the network"]


def interrupted(progress):
    """Of two tasks one was measured before Ctrl-C came."""
    parts = quick(Runner(interrupt_after=1), space=None, progress=progress)
    return tune_model(*two(), trials_per_task=2, **parts)


def test_what_ctrl_c_left_says_what_it_does_once_it_is_asked_for():
    file = io.StringIO()
    result = interrupted(PlainNetworkProgress(file))
    assert result.interrupted
    said = len(file.getvalue())
    result.compile()
    assert file.getvalue()[said:].splitlines() == LATER
    result.compile()
    assert file.getvalue()[said:].splitlines() == LATER, "it is done once"
    result.profile(runs=1)
    assert file.getvalue()[said:].splitlines() == [*LATER, "predicting 1 tasks"]


def test_a_terminal_and_a_notebook_count_what_ctrl_c_left():
    screen, progress = terminal()
    result = interrupted(progress)
    said = len(screen.getvalue())
    result.compile()
    before, _, _ = screen.getvalue()[said:].partition("ranking 1")
    assert "\x1b[1A" not in before, "what was printed since is not wiped off"
    unstyled = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()[said:])
    shown = " ".join(unstyled.split())  # a caption is as wide as its table
    assert [f"ranking 1 tasks, {done} of 1 done" in shown for done in (0, 1)] == [True, True]
    assert "compiling the network" in shown
    assert not progress._live.is_started
    drawn = []
    result = interrupted(
        NotebookNetworkProgress(lambda content, **_: drawn.append(content["text/plain"]))
    )
    drawn.clear()
    result.compile()
    assert any("ranking 1 tasks, 1 of 1 done" in text for text in drawn)
    assert any("compiling the network" in text for text in drawn)


def test_without_a_display_nothing_is_said_later_either(capsys):
    interrupted(False).compile()
    assert capsys.readouterr().err == ""


def session(progress):
    """A session of two tasks, as a display is told of it: two trials of each."""

    def task(name, weight):
        named = SimpleNamespace(name=name, key=name, weight=weight, flops=4e6)
        return SimpleNamespace(task=named, trials=(), best_s=math.inf)

    first, second = task("first", 1), task("second", 3)
    progress.start([first, second], total=4)
    for one, best_s in ((first, 1e-3), (second, 2e-3)):
        progress.searching(one)
        one.trials, one.best_s = (None, None), best_s
        progress.update(one, one.trials)


ROWS = [
    (">", "second", "3", "2", "2 ms", "2", "86%"),
    ("", "first", "1", "2", "1 ms", "4", "14%"),
]


def test_plain_progress_says_how_far_it_is(capsys):
    session(PlainNetworkProgress())
    assert capsys.readouterr().err.splitlines() == [
        "tuning 2 tasks",
        "first: 2 trials, best 1 ms; 2/4 trials, 1 tasks to go, 0 s left",
        "second: 2 trials, best 2 ms; 4/4 trials, network 7 ms, 0 s left",
    ]


def test_the_live_table_shows_every_task_and_the_network():
    screen, progress = terminal()
    with progress:
        session(progress)
    assert progress.rows() == ROWS
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).rpartition("of network")[2]
    assert all(cell in last for row in ROWS for cell in row)
    assert "4/4 trials, network 7 ms, 0 s left" in last


def test_a_notebook_shows_the_same_table_in_one_display(monkeypatch):
    drawn = []
    shell = SimpleNamespace(kernel=object())
    display = SimpleNamespace(display=lambda content, **options: drawn.append((content, options)))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    chosen = make_network_progress(True)
    assert isinstance(chosen, NotebookNetworkProgress)
    chosen.note("a <note>")
    session(chosen)
    assert [options["update"] for _, options in drawn] == [False] + [True] * (len(drawn) - 1)
    assert len({options["display_id"] for _, options in drawn}) == 1
    last = drawn[-1][0]
    assert last["text/plain"] == "4/4 trials, network 7 ms, 0 s left"
    assert '<progress value="4" max="4">' in last["text/html"]
    for row in ROWS:
        assert "".join(f"<td>{escape(cell)}</td>" for cell in row) in last["text/html"]
    assert "a &lt;note&gt;" in last["text/html"]
    assert not isinstance(make_network_progress(False), NotebookNetworkProgress)
