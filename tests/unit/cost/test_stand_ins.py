"""Predictions for a device that is in no table say so, once, wherever they are made."""

import warnings
from functools import cache

import pytest
from stand_ins import Builder, Runner
from tvm.target import Target

import mschedx
from mschedx import cli, hardware, workloads
from mschedx.cost import PSA
from mschedx.cost.psa import PSAModel
from mschedx.cost.stand_ins import StandInWarning, notes_on_stand_in, said_already
from mschedx.space import sketches

CPU = {"kind": "llvm", "mcpu": "tigerlake", "num-cores": 2}
GPU = {
    "kind": "cuda",
    "arch": "sm_120",
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 49152,
    "thread_warp_size": 32,
}
SAYS = {"cpu": "the CPU tigerlake is in no table", "gpu": "no GPU of sm_120 is in mschedx's table"}
TARGETS = {"cpu": CPU, "gpu": GPU}
# Both in TVM's space, which opens fast.
TVM = "post-order-apply"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    monkeypatch.setattr(hardware.host, "system_cpu", lambda: "znver4")


@pytest.fixture(params=["cpu", "gpu"])
def kind(request):
    return request.param


@pytest.fixture
def silent():
    """No warning of this kind is left."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", StandInWarning)
        yield


def func():
    return workloads.make("gemm", (64, 64, 64))


@cache
def opened(kind):
    return sketches(func(), Target(TARGETS[kind]), TVM)[0]


def own(kind):
    """The device as its user describes it."""
    found = hardware.Hardware.from_target(TARGETS[kind])
    return found.with_rates(peak_flops=1e11, dram_bytes_per_s=1e10)


def predict(model, sketch):
    import numpy as np

    model.latency_s(None, sketch, sketch.sample(4, np.random.default_rng(0)))


def test_psa_warns_once(kind):
    model, sketch = PSAModel(), opened(kind)
    with pytest.warns(StandInWarning, match=SAYS[kind]) as seen:
        predict(model, sketch)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", StandInWarning)
        predict(model, sketch)


@pytest.mark.usefixtures("silent")
def test_psa_with_the_device_has_nothing_to_say(kind):
    predict(PSAModel(own(kind)), opened(kind))
    with said_already():
        predict(PSAModel(), opened(kind))


def test_rank_warns(kind):
    with pytest.warns(StandInWarning, match=SAYS[kind]) as seen:
        assert mschedx.rank(func(), TARGETS[kind], 1, space=TVM)
    assert {one.filename for one in seen} == {__file__}


@pytest.mark.usefixtures("silent")
def test_rank_with_the_device_has_nothing_to_say(kind):
    assert mschedx.rank(func(), TARGETS[kind], 1, space=TVM, model=PSA(own(kind)))


def said(result, kind):
    return sum(SAYS[kind] in note for note in result.notes)


@pytest.mark.usefixtures("silent")
def test_tune_with_no_trials_notes_it(kind, tmp_path):
    options = {"trials": 0, "space": TVM, "progress": False}
    assert said(mschedx.tune(func(), TARGETS[kind], **options), kind) == 1
    with_own = mschedx.tune(func(), TARGETS[kind], cost_model=PSA(own(kind)), **options)
    assert said(with_own, kind) == 0


@pytest.mark.usefixtures("silent")
def test_tune_notes_it_and_none_of_its_predictions_warns(kind, tmp_path):
    options = {
        "trials": 4, "space": TVM, "progress": False, "verify": False, "builder": Builder(),
    }  # fmt: skip
    drafts = {"strategy": mschedx.DraftVerify(), "cost_model": PSA()}
    result = mschedx.tune(func(), TARGETS[kind], runner=Runner(), **options, **drafts)
    assert len(result.trials()) == 4
    assert said(result, kind) == 1
    drafts = {"strategy": mschedx.DraftVerify(PSA(own(kind)))}
    assert (
        said(mschedx.tune(func(), TARGETS[kind], runner=Runner(), **options, **drafts), kind) == 0
    )


def test_the_command_has_a_line_for_it(capsys):
    target = '{"kind": "llvm", "mcpu": "tigerlake", "num-cores": 2}'
    args = ["rank", "gemm", "--shape", "64,64,64", "--limit", "1", "--target", target]
    assert cli.main([*args, "--space", TVM]) == 0
    err = capsys.readouterr().err
    assert err.startswith(f"mschedx: note: {SAYS['cpu']}")
    assert err.count(SAYS["cpu"]) == 1


def test_parts_with_a_device_leave_nothing_to_say():
    target, device = Target(GPU), own("gpu")
    for part in (PSA(device), PSAModel(device), mschedx.DraftVerify(PSA(device))):
        assert notes_on_stand_in(target, part, None) == ()
    for part in (None, "xgb", PSA(), mschedx.DraftVerify()):
        assert len(notes_on_stand_in(target, part)) == 1


@pytest.mark.usefixtures("silent")
def test_a_network_notes_it_once():
    import torch

    model, inputs = torch.nn.Linear(8, 4).eval(), (torch.rand(3, 8),)
    options = {"trials_per_task": 0, "space": TVM, "progress": False, "verify": False}
    result = mschedx.tune_model(model, inputs, CPU, **options)
    assert said(result, "cpu") == 1
    with_own = mschedx.tune_model(model, inputs, CPU, cost_model=PSA(own("cpu")), **options)
    assert said(with_own, "cpu") == 0
