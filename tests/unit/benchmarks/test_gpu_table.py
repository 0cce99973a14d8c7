"""The table's tuning, timing and file, on this machine's CPU in place of a GPU."""

import argparse
import json

import gpu
import gpu_table
import pytest
import torch
from gpu_stages import Budget, Journal, Stage, advance

from mschedx.hardware import host_target

ARGUMENTS = argparse.Namespace(trials=4, tuners="heron,random", seeds="0,1", shared_kib=0)
DEVICE = {"name": "Some GPU", "compute_capability": "8.0", "driver": "1", "cuda_runtime": "13"}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            gpu_table, "WORKLOADS", {"small": lambda: gpu_table.tensor_core.tw.matmul(32, 32, 32)}
        )
        patch.setattr(gpu_table, "_REPEATS", 2)
        folder = tmp_path_factory.mktemp("table")
        yield gpu_table.TableStage(host_target(), 4, folder, ("heron", "random"), (0, 1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_torch_without_cuda_leaves_its_line_out():
    called, timer = gpu_table.vendor_timer("f16_1024")
    assert timer is None
    assert called == "none: this torch has no CUDA"


def test_tunes_times_and_writes(table, tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j.jsonl")
    stage = Stage("table", table.keys(), 1, table.work)
    runs = ["heron", "random", "heron@1", "random@1"]
    assert stage.keys == [f"small/4/{run}" for run in (*runs, "final:" + "+".join(runs))]
    assert advance(stage, journal, Budget(300))
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "results")
    gpu._write_table(
        journal,
        DEVICE,
        "some-gpu",
        ARGUMENTS,
    )
    (path,) = (tmp_path / "results").iterdir()
    assert path.name.startswith("some-gpu-20")
    content = json.loads(path.read_text())
    assert content["device"] == DEVICE
    assert content["command"].startswith("python benchmarks/gpu.py")
    row = content["workloads"]["small"]
    assert row["heron"]["ok"]
    assert row["heron"]["trials"] == row["random"]["trials"] == 4
    assert set(row["final"]["latency_s"]) >= set(runs)
    assert set(content["tuners"]) == {"heron", "random"}
    seconds, rate = (row["final"][key]["heron"] for key in ("latency_s", "tflops"))
    assert rate == pytest.approx(2 * 32**3 / seconds / 1e12, rel=0.1)


def test_other_numbers_of_trials_stay_out_of_the_file(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j.jsonl")
    journal.append("table", {"key": "small/8/heron", "finished": True, "ok": True, "wall_s": 1})
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "results")
    gpu._write_table(
        journal,
        DEVICE,
        "some-gpu",
        ARGUMENTS,
    )
    assert not (tmp_path / "results").exists()
