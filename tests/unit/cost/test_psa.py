"""PSA: ready at once, finite, exact in what it adds up, corrected by what is measured."""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import tvm
from scipy.stats import spearmanr

from mschedx import workloads
from mschedx.cost import PSA, Annealable, CostModel, Measured
from mschedx.cost.analytical.caches import traffic
from mschedx.cost.analytical.cuda_block import CudaLimits, Device, balance, occupancy
from mschedx.cost.analytical.machine import CpuMachine
from mschedx.cost.psa import FORMS, PSAModel
from mschedx.hardware import GPUS, Hardware
from mschedx.search import Descent, DescentConfig
from mschedx.search.history import History
from mschedx.search.points import SketchSet
from mschedx.search.request import Request
from mschedx.search.scoring import ArrayScorer
from mschedx.space import sketches

CPU = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
HASWELL = tvm.target.Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
GPU = tvm.target.Target("nvidia/nvidia-a100")
CASES = {
    "gemm": ("gemm", (128, 128, 128), "float32", CPU, None),
    "conv2d in TVM's space": ("conv2d", (1, 16, 14, 14, 32, 3, 1, 1), "float32", CPU,
                              "post-order-apply"),
    "int8": ("gemm", (64, 64, 64), "int8", CPU, None),
    "AVX2": ("gemm", (96, 64, 48), "float32", HASWELL, None),
    "bf16": ("gemm", (96, 64, 48), "bfloat16", CPU, None),
    "softmax": ("softmax", (32, 48), "float32", CPU, None),
    "tensor cores": ("gemm", (256, 256, 256), "float16", GPU, None),
    "CUDA cores": ("gemm", (128, 128, 128), "float32", GPU, "post-order-apply"),
}  # fmt: skip


@cache
def opened(name):
    op, shape, dtype, target, space = CASES[name]
    return sketches(workloads.make(op, shape, dtype), target, space)[0]


def tiles(sketch, rows, vectors):
    """The config of a product of few rows whose register tile is so high and wide."""
    return next(
        config
        for config in sketch.sample(4000, np.random.default_rng(0))
        if dict(zip(sketch.names, config))["C.i0.2"] == rows
        and dict(zip(sketch.names, config))["C.i1_0.2"] == vectors
    )


def test_of_as_many_sums_a_wide_tile_is_faster_than_one_vector_with_two_units():
    zen5 = tvm.target.Target({"kind": "llvm", "mcpu": "znver5", "num-cores": 2})
    sketch = sketches(workloads.make("gemm", (96, 768, 768)), zen5)[0]
    wide, high = (
        PSAModel().costs(sketch, tiles(sketch, *tile)[None]).statements
        for tile in ((8, 2), (16, 1))
    )
    update = [next(one for one in found if one.name == "C_update") for found in (wide, high)]
    loads = [float(one.terms["loads"][0]) for one in update]
    arithmetic = [float(one.terms["arithmetic"][0]) for one in update]
    # 10 and 17 loads of two a cycle, for 16 multiply-adds of two a cycle.
    assert loads[0] / arithmetic[0] == pytest.approx(10 / 16, rel=0.01)
    assert loads[1] / arithmetic[1] == pytest.approx(17 / 16, rel=0.01)


def test_cold_weights_are_read_by_one_core_each_rather_than_by_both():
    sketch = sketches(workloads.make("gemm", (128, 768, 768)), CPU)[1]  # rows are read in place
    configs = sketch.sample(4000, np.random.default_rng(0))
    column = {name: configs[:, i] for i, name in enumerate(sketch.names)}
    alike = (column["C.i0.2"] == 8) & (column["C.i1_0.2"] == 3)
    by_rows = configs[alike & (column["C.i0.0"] == 2) & (column["C.i1_0.0"] == 1)][0]
    by_columns = configs[alike & (column["C.i0.0"] == 1) & (column["C.i1_0.0"] == 2)][0]
    warm, cold = (
        PSAModel(cold=cold).latency_s(None, sketch, np.stack([by_rows, by_columns]))
        for cold in (False, True)
    )
    weights = 4 * 768 * 768
    assert (cold - warm >= 0.5 * weights / 12e9).all(), "12 GB/s where nothing is known"
    assert cold[0] - cold[1] > warm[0] - warm[1] + 0.4 * weights / 12e9


@pytest.mark.parametrize(("op", "shape"), [("softmax", (128, 768)), ("mean", (1024, 768))])
def test_what_reads_its_input_alone_has_no_cold_weights(op, shape):
    """The operator before has just written it, and a program's own buffers are its own."""
    sketch = sketches(workloads.make(op, shape), CPU)[0]
    configs = sketch.sample(100, np.random.default_rng(0))
    warm, cold = (PSAModel(cold=cold).latency_s(None, sketch, configs) for cold in (False, True))
    np.testing.assert_array_equal(warm, cold)


def test_cold_weights_come_from_memory_once():
    """Those that are packed are read from memory, and the copy from where it was written."""
    weights = 4 * 768 * 768
    for sketch in sketches(workloads.make("gemm", (128, 768, 768)), CPU):
        configs = sketch.sample(400, np.random.default_rng(0))
        warm, cold = (PSAModel(cold=c).latency_s(None, sketch, configs) for c in (False, True))
        # Both cores have 12 GB/s: a core that reads all takes twice as long, and short runs wait.
        fetched = (cold - warm) / (weights / 12e9)
        assert ((fetched > 0.9) & (fetched < 5)).all()


@pytest.mark.parametrize("name", list(CASES))
def test_every_config_gets_a_latency_and_a_cause(name):
    sketch = opened(name)
    configs = sketch.sample(200, np.random.default_rng(0))
    costs = PSAModel().costs(sketch, configs)
    assert np.isfinite(costs.latency_s).all()
    assert (costs.latency_s > 0).all()
    total = sum(one.seconds for one in costs.statements) + costs.fixed
    assert np.allclose(total, costs.latency_s)
    assert all((term >= 0).all() for one in costs.statements for term in one.terms.values())


def test_it_is_a_model_that_is_ready_before_any_trial():
    sketch = opened("gemm")
    model = PSA().model
    assert isinstance(model, CostModel)
    assert model.ready(sketch.task)
    configs = sketch.sample(50, np.random.default_rng(1))
    scores = model.score(sketch.task, [(sketch, configs)])
    alone = [model.score(sketch.task, [(sketch, one[None])])[0] for one in configs[:5]]
    assert np.allclose(scores[:5], alone)  # whatever else is in the batch


def test_trials_correct_one_task_and_no_other():
    sketch, other = opened("gemm"), opened("int8")
    rng = np.random.default_rng(2)
    model = PSAModel()
    configs = sketch.sample(64, rng)
    truth = model.latency_s(None, sketch, configs) * np.where(configs[:, 2] > 1, 4.0, 1.0)
    before = spearmanr(model.latency_s(sketch.task, sketch, configs), truth)[0]
    elsewhere = model.score(other.task, [(other, other.sample(8, np.random.default_rng(0)))])
    model.learn(sketch.task, [Measured(sketch, configs, truth)])
    after = model.latency_s(sketch.task, sketch, configs)
    assert spearmanr(after, truth)[0] > before
    assert np.abs(np.log(after / truth)).mean() < np.log(4) / 2
    again = model.score(other.task, [(other, other.sample(8, np.random.default_rng(0)))])
    assert np.array_equal(elsewhere, again)


def test_failed_trials_teach_nothing_and_break_nothing():
    sketch = opened("gemm")
    model = PSAModel()
    configs = sketch.sample(20, np.random.default_rng(3))
    before = model.latency_s(sketch.task, sketch, configs)
    model.learn(sketch.task, [Measured(sketch, configs, np.full(20, np.inf))])
    assert np.array_equal(model.latency_s(sketch.task, sketch, configs), before)


def test_a_file_stays_where_another_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "psa.json"
    PSAModel().save(str(path))
    before = path.read_bytes()

    def half(path, *_, **__):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space left on device"):
        PSAModel().save(str(path))
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("psa.json", before)]


def test_corrections_are_saved_without_pickle(tmp_path):
    sketch = opened("gemm")
    model = PSAModel()
    configs = sketch.sample(20, np.random.default_rng(4))
    model.learn(sketch.task, [Measured(sketch, configs, np.linspace(1e-4, 2e-4, 20))])
    path = str(tmp_path / "psa.json")
    model.save(path)
    loaded = PSAModel()
    loaded.load(path)
    assert np.allclose(
        loaded.latency_s(sketch.task, sketch, configs),
        model.latency_s(sketch.task, sketch, configs),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"model": "PAM"},
        {"tasks": []},
        {"tasks": {"k": None}},
        {"tasks": {"k": {"bias": 10**400, "centre": [], "weights": []}}},
        {"tasks": {"k": {"bias": 0.1, "centre": ["a"], "weights": []}}},
        {"tasks": {"k": {"bias": 0.1, "centre": [], "weights": {}}}},
    ],
)
def test_files_that_are_no_corrections_are_refused(tmp_path, change):
    path = tmp_path / "psa.json"
    PSAModel().save(str(path))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=r"psa\.json: expected a file written by PSA\.save"):
        PSAModel().load(str(path))


def test_a_cache_fetches_what_fits_once_and_the_rest_again():
    """A loop of 4 around a loop of 8 over 8 KiB: 8 KiB into a large cache, 32 KiB into none."""
    kib = 1024.0
    footprints = [np.array([[8 * kib], [8 * kib], [1 * kib]])]
    extents = np.array([[4.0], [8.0]])
    large = traffic(footprints, footprints, extents, 1e9)
    small = traffic(footprints, footprints, extents, 2 * kib)
    assert large[0] == pytest.approx(8 * kib, rel=1e-3)
    assert small[0] == pytest.approx(32 * kib, rel=0.05)


def test_fact_5_improved_falls_half_as_far_where_the_grid_passes_the_multiprocessors():
    share = balance(np.array([107.0, 108.0, 109.0, 216.0]), 108)
    assert share[1] == share[3] == 1.0
    assert abs(share[0] - share[1]) < 0.02
    # A second wave of one block: the published p_sm is 109 / 216.
    assert share[2] == pytest.approx(1 - (1 - 109 / 216) / 2)


def test_occupancy_is_bounded_by_threads_registers_and_shared_memory():
    limits = CudaLimits()
    one = np.ones(1)
    assert occupancy(1024 * one, 32 * one, 0 * one, limits)[0] == 2
    assert occupancy(256 * one, 255 * one, 0 * one, limits)[0] == 1
    assert occupancy(128 * one, 32 * one, 80 * 1024 * one, limits)[0] == 2
    assert occupancy(32 * one, 32 * one, 0 * one, limits)[0] == 32
    for name, held in (("t4", 16), ("rtx4090", 24), ("a100", 32)):
        device = Device(Hardware.from_device(name))
        assert occupancy(32 * one, 32 * one, 0 * one, device.limits)[0] == held, name


def test_a_gpu_in_no_table_is_predicted_as_the_one_that_stands_in():
    """Its clock too, which follows from the stand-in's peak and multiply-adds a cycle."""
    sketch, known = opened("tensor cores"), Hardware.from_device("a100")
    configs = sketch.sample(8, np.random.default_rng(0))
    unknown = Hardware.from_target({"kind": "cuda", "arch": "sm_120"})
    assert unknown == replace(known, arch="sm_120")
    np.testing.assert_array_equal(
        PSAModel(unknown).latency_s(None, sketch, configs),
        PSAModel(known).latency_s(None, sketch, configs),
    )
    own = unknown.with_rates(peak_flops=1e14, dram_bytes_per_s=1e12)
    assert (unknown.fma_per_cycle, own.fma_per_cycle) == (64, 128)


@pytest.mark.parametrize(
    ("name", "boost_mhz"),
    [("k80", 875), ("v100", 1530), ("titanv", 1455), ("t4", 1590), ("a100", 1410),
     ("a100_40", 1410), ("rtx4090", 2520), ("h200", 1980)],
)  # fmt: skip
def test_the_clock_of_a_gpu_follows_from_its_peak(name, boost_mhz):
    """Boost clocks of the vendor's sheets; the K80's peak is of a lower one, under load."""
    assert Device(Hardware.from_device(name)).hz == pytest.approx(boost_mhz * 1e6, rel=0.07)


def test_a_kernel_has_one_die_of_a_k80():
    die = Hardware.from_target({"kind": "cuda", "arch": "sm_37"})
    assert (die.name, die.cores) == ("k80", 13)
    assert (die.peak_flops, die.dram_bytes_per_s) == (4113e9, 240e9)
    both = replace(die, cores=26).with_rates(peak_flops=8226e9, dram_bytes_per_s=480e9)
    sketch = opened("CUDA cores")
    configs = sketch.sample(64, np.random.default_rng(0))
    one, two = (PSAModel(device).latency_s(None, sketch, configs) for device in (die, both))
    assert (one > two).all()


def test_where_threads_are_few_that_is_the_cause():
    """A product of 128³ fills few of an A100's multiprocessors, and all of a hundredth of it."""
    sketch, a100 = opened("CUDA cores"), Hardware.from_device("a100")
    configs = sketch.sample(200, np.random.default_rng(0))
    one_of_its = replace(a100, cores=1).with_rates(
        peak_flops=a100.peak_flops / 108, dram_bytes_per_s=a100.dram_bytes_per_s
    )
    update = {}
    for device in (a100, one_of_its):
        (update[device.cores],) = [
            one for one in PSAModel(device).costs(sketch, configs).statements if one.name == "C"
        ]
    occupied = {
        cores: np.mean([one.cause(i) == "occupancy" for i in range(len(configs))])
        for cores, one in update.items()
    }
    assert occupied[108] > 0.95 > 0.05 > occupied[1]
    for found in update.values():
        assert ((found.idle() >= 0) & (found.idle() < 1)).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", GPUS)
def test_every_gpu_of_the_table_is_predicted_by_its_own_figures(name, form):
    sketch = opened("CUDA cores")
    configs = sketch.sample(8, np.random.default_rng(0))
    own = GPUS[name]
    slower = replace(own, peak_flops=own.peak_flops / 8, dram_bytes_per_s=own.dram_bytes_per_s / 8)
    found = PSAModel(own, form).latency_s(None, sketch, configs)
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert (PSAModel(slower, form).latency_s(None, sketch, configs) > found).all()


def test_devices_without_rates_are_named():

    sketch = opened("tensor cores")
    unknown = replace(Hardware.from_device("a100"), peak_flops=None)
    with pytest.raises(ValueError, match="with_rates"):
        PSAModel(unknown).costs(sketch, sketch.sample(2, np.random.default_rng(0)))
    cpu, rates = opened("gemm"), {"peak_flops": 1e11, "dram_bytes_per_s": 1e10}
    known = Hardware(kind="cpu", name="znver4", cores=2).with_rates(**rates)
    configs = cpu.sample(2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r'a GPU for PSA\(form="published"\), got znver4'):
        PSAModel(known, form="published").costs(cpu, configs)
    with pytest.raises(ValueError, match='kind "cpu"'):
        CpuMachine.of(Hardware.from_device("a100"))
    with pytest.raises(ValueError, match="improved, published"):
        PSAModel(form="new")


class Veiled:
    """A sketch whose main statement has a loop without an expression."""

    def __init__(self, sketch):
        self.analysis, self.design, self.task = sketch.analysis, sketch.design, sketch.task
        self.statements = tuple(
            replace(one, loops=(replace(one.loops[0], extent=None), *one.loops[1:]))
            if one.is_reduction
            else one
            for one in sketch.statements
        )


def test_a_sketch_that_is_not_understood_is_not_taken_for_fast():
    sketch = opened("gemm")
    veiled, model = Veiled(sketch), PSAModel()
    configs = sketch.sample(20, np.random.default_rng(0))
    hidden = model.score(sketch.task, [(veiled, configs)])
    assert model.unknown(veiled)
    assert (model.latency_s(None, veiled, configs) < model.latency_s(None, sketch, configs)).all()
    assert hidden.max() < model.score(sketch.task, [(sketch, configs)]).min()


@pytest.mark.parametrize("name", list(CASES))
def test_relaxed_scores_are_the_scores_at_configs_and_have_finite_slopes(name):
    sketch, model = opened(name), PSAModel()
    assert isinstance(model, Annealable)
    configs = sketch.sample(12, np.random.default_rng(4))
    x = torch.tensor(configs, dtype=torch.float64, requires_grad=True)
    scores = model.relaxed_score(sketch.task, sketch, x)
    wanted = model.score(sketch.task, [(sketch, configs)])
    np.testing.assert_allclose(scores.detach().numpy(), wanted, rtol=1e-6)
    torch.log(scores).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).any(dim=1).float().mean() > 0.9


@pytest.mark.parametrize("name", ["gemm", "conv2d in TVM's space", "CUDA cores"])
def test_gradients_find_better_predictions_than_as_many_samples(name):
    """PSA is an objective before anything is measured."""
    sketch, model = opened(name), PSAModel()
    space = SketchSet([sketch])
    scored = [0]

    class Counting(ArrayScorer):
        def score(self, points):
            scored[0] += len(points)
            return super().score(points)

    scorer = Counting(model, space)
    assert scorer.differentiable
    search = Descent(DescentConfig(n_seeds=8, n_steps=12, samples=48, epsilon=0.0))
    found = search.propose(Request(8, space, History.of(space), scorer, np.random.default_rng(0)))
    best = model.score(sketch.task, [(sketch, found.configs[:8])]).max()
    drawn = sketch.sample(scored[0], np.random.default_rng(1))
    by_chance = model.score(sketch.task, [(sketch, drawn)]).max()
    assert best > 0.98 * by_chance
    few = sketch.sample(48, np.random.default_rng(2))
    assert best > model.score(sketch.task, [(sketch, few)]).max()


def test_what_was_loaded_holds_until_there_are_enough_trials(tmp_path):
    sketch = opened("gemm")
    configs = sketch.sample(20, np.random.default_rng(4))
    model = PSAModel()
    seconds = model.latency_s(None, sketch, configs) * np.linspace(2, 4, 20)
    model.learn(sketch.task, [Measured(sketch, configs, seconds)])
    path = str(tmp_path / "psa.json")
    model.save(path)
    loaded = PSAModel()
    loaded.load(path)
    before = loaded.latency_s(sketch.task, sketch, configs)
    loaded.learn(sketch.task, [Measured(sketch, configs[:4], seconds[:4])])
    assert np.array_equal(loaded.latency_s(sketch.task, sketch, configs), before)
    loaded.save(path)
    assert sketch.task.key in json.loads((tmp_path / "psa.json").read_text())["tasks"]
    loaded.learn(sketch.task, [Measured(sketch, configs, 10 * seconds)])
    assert (loaded.latency_s(sketch.task, sketch, configs) > 5 * before).all()
    with pytest.raises(ValueError, match="form is 'improved', this one's is 'published'"):
        PSAModel(form="published").load(path)


@pytest.mark.parametrize("factor", [0.02, 1.0, 50.0])
def test_a_machine_that_is_slower_throughout_is_followed_and_the_order_is_learnt(factor):
    sketch = opened("gemm")
    configs = sketch.sample(64, np.random.default_rng(2))
    model = PSAModel()
    truth = factor * model.latency_s(None, sketch, configs) * np.where(configs[:, 2] > 1, 2.0, 1.0)
    before = spearmanr(model.latency_s(None, sketch, configs), truth)[0]
    model.learn(sketch.task, [Measured(sketch, configs, truth)])
    after = model.latency_s(sketch.task, sketch, configs)
    assert spearmanr(after, truth)[0] > before
    assert np.abs(np.log(after / truth)).mean() < np.log(2) / 2


def test_a_correction_leaves_programs_alone_that_are_not_understood():
    sketch = opened("gemm")
    configs = sketch.sample(20, np.random.default_rng(4))
    model = PSAModel()
    blind = replace(model.costs(sketch, configs), statements=())
    without = model.corrected(sketch.task, blind)
    seconds = model.latency_s(None, sketch, configs) * 3
    model.learn(sketch.task, [Measured(sketch, configs, seconds)])
    assert np.array_equal(model.corrected(sketch.task, blind), without)


@pytest.mark.parametrize("name", ["gemm", "conv2d in TVM's space", "CUDA cores", "softmax"])
def test_fact_7_ten_thousand_programs_a_second_of_one_core(name):
    """No less, whatever else the machine does: it is 50,000 and more."""
    sketch, model = opened(name), PSAModel()
    configs = sketch.sample(4096, np.random.default_rng(0))
    model.latency_s(None, sketch, configs[:1])
    begin = time.process_time()
    model.latency_s(None, sketch, configs)
    assert len(configs) / (time.process_time() - begin) > 1e4
