"""Seconds of drafting, materialising, scoring and learning, apart from the rest of a search."""

import json
import time

import pytest
from dummy import evolutionary
from stand_ins import Runner, gemm, quick
from tvm.s_tir import meta_schedule as ms

import mschedx
from mschedx.cost import HeronXGB
from mschedx.record.contents import TRIALS
from mschedx.report.analysis import group_stages
from mschedx.run_stages import covered_by_tvm, stage
from mschedx.tuning import tune

PAUSE_S = 0.05


def seconds(work):
    """What TVM's profile says of a function."""
    with ms.Profiler() as profiler:
        work()
    return {str(name): float(found) for name, found in profiler.get().items()}


def test_the_innermost_stage_has_the_seconds():
    def work():
        with stage("predict"):
            time.sleep(PAUSE_S)
            with stage("train"):
                time.sleep(2 * PAUSE_S)
            time.sleep(PAUSE_S)
            with stage("train"):
                pass

    found = seconds(work)
    assert found["predict"] >= 2 * PAUSE_S
    assert found["train"] >= 2 * PAUSE_S
    assert found["predict"] + found["train"] <= found["Total"]


def test_what_tvm_s_scope_covers_is_not_counted_again():
    def work():
        with covered_by_tvm(), stage("train"):
            pass
        with stage("predict"):
            pass

    assert seconds(work).keys() == {"predict", "Total"}


def test_without_a_profiler_nothing_is_counted_then_or_later():
    with stage("draft"):
        assert seconds(lambda: None).keys() == {"Total"}
    assert seconds(lambda: None).keys() == {"Total"}


def test_a_stage_ends_with_what_is_raised_in_it():
    def work():
        with pytest.raises(ZeroDivisionError), stage("draft"), stage("train"):
            raise ZeroDivisionError
        time.sleep(PAUSE_S)

    found = seconds(work)
    assert found["draft"] + found["train"] < PAUSE_S <= found["Total"]


def ended(folder):
    """The profile in a run's journal."""
    lines = [json.loads(line) for line in (folder / TRIALS).read_text().splitlines()]
    (last,) = [line for line in lines if line["kind"] == "end"]
    return last["stages"]


def test_a_run_tells_its_search_apart(tmp_path):
    """pruner.md section 8, fact 16: seconds in draft, lower, predict, train and measure."""
    search = mschedx.DraftVerify(population=64, drafts=32, parents=16)
    how = quick(Runner(), strategy=search, cost_model=HeronXGB())
    tune(gemm(), trials=16, work_dir=tmp_path, **how)
    profile = ended(tmp_path)
    assert all(profile[name] > 0 for name in ("draft", "lower", "predict", "train"))
    stages = group_stages(profile)
    assert stages.keys() >= {"draft", "lower", "predict", "train", "search", "build", "run"}
    assert sum(stages.values()) <= profile["Total"] * (1 + 1e-9)


def test_what_tvm_s_search_asks_a_model_of_ours_is_counted_once(tmp_path):
    how = quick(Runner(), strategy=evolutionary(), cost_model=HeronXGB())
    tune(gemm(), trials=16, work_dir=tmp_path, **how)
    profile = ended(tmp_path)
    assert not profile.keys() & {"draft", "lower", "predict", "train"}
    stages = group_stages(profile)
    assert stages["predict"] == profile["EvoSearch/Evolve/PredictNormalizedScore"] > 0
    assert sum(stages.values()) <= profile["Total"] * (1 + 1e-9)
