"""A network's session in its records: what each task took, by stage."""

from stand_ins import Runner
from tiny_networks import quick, two

from mschedx import DraftVerify, cli, tune_model
from mschedx.cost import HeronXGB
from mschedx.record.contents import TRIALS
from mschedx.record.lines import read_lines
from mschedx.record.trials import read_run
from mschedx.report.analysis import group_stages


def searched(runner=None):
    """A search with every stage; latencies are invented."""
    search = DraftVerify(population=64, drafts=32, parents=16)
    return quick(runner, strategy=search, cost_model=HeronXGB())


def test_seconds_by_stage_are_kept_for_every_task(tmp_path):
    result = tune_model(*two(), trials_per_task=16, work_dir=tmp_path, **searched())
    for number in range(len(result.tasks)):
        run = read_run(tmp_path, number)
        assert all(run.stages[name] > 0 for name in ("draft", "lower", "predict", "train"))
        stages = group_stages(run.stages)
        assert stages.keys() >= {"draft", "lower", "predict", "train", "search", "build", "run"}
        assert stages["record"] > 0
        assert sum(stages.values()) <= run.stages["Total"] * (1 + 1e-9)
    spent = sum(read_run(tmp_path, n).stages["Total"] for n in range(len(result.tasks)))
    assert 0 < spent < result.wall_s, "of tasks one after the other"
    assert cli.main(["report", str(tmp_path)]) == 0
    assert "Where time went" in (tmp_path / "report.html").read_text()


def test_what_a_model_of_tvm_learns_is_counted_too(tmp_path):
    parts = quick(strategy="replay-trace", cost_model="random")
    tune_model(*two(), trials_per_task=2, work_dir=tmp_path, **parts)
    for number in (0, 1):
        assert "MeasureCallback/UpdateCostModel" in read_run(tmp_path, number).stages


def test_after_ctrl_c_the_seconds_until_then_are_kept_and_later_ones_are_added(tmp_path):
    runner = Runner(interrupt_after=1)
    result = tune_model(*two(), trials_per_task=2, work_dir=tmp_path, **quick(runner))
    assert result.interrupted
    first = read_run(tmp_path)
    entries = [line.content for line in read_lines(tmp_path / TRIALS)]
    ended = [entry["workload"] for entry in entries if entry["kind"] == "end"]
    assert ended == [first.workload], "of the other task nothing is recorded"
    assert first.stages["Total"] > 0
    tune_model(*two(), trials_per_task=4, work_dir=tmp_path, **quick())
    both = [read_run(tmp_path, number).stages["Total"] for number in (0, 1)]
    assert both[first.workload] > first.stages["Total"]
    assert both[1 - first.workload] > 0
