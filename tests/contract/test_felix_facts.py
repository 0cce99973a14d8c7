"""Felix's parts on real design spaces and in whole runs; facts of felix.md section 9."""

import time

import numpy as np
import pytest
import torch
import tvm
from dummy import evolutionary, gemm, relu, target, tune
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.feature_extractor import PerStoreFeature

from mschedx import ConstrainedEvolution, GradientDescent, cost, workloads
from mschedx.cost import FelixConfig, FelixMLP, HeronXGB
from mschedx.cost.learned.felix_features import NAMES, FelixFeatures
from mschedx.search import DescentConfig
from mschedx.search.descent import Group, descend
from mschedx.search.relaxed_sketch import RelaxedSketch
from mschedx.search.scoring import WITH_GRADIENT
from mschedx.space import for_target, sketches
from mschedx.space.sampling.sampler import Sampler
from mschedx.space.trace.design import DecisionKind

GPU = tvm.target.Target("nvidia/nvidia-a100")
SMALL = {"n_seeds": 6, "n_steps": 4, "samples": 16, "batch": 8}
QUICK = FelixConfig(members=2, width=16, steps=20, later_steps=10)
SPACES = {"ours": lambda: for_target(target()), "tvm": lambda: "post-order-apply"}


@pytest.mark.parametrize("space", SPACES)
def test_a_whole_run_learns_and_descends(space, tmp_path):
    parts = GradientDescent(**SMALL), FelixMLP(QUICK)
    database, programs = tune(gemm(), tmp_path, *parts, trials=24, space=SPACES[space]())
    assert len(database) == len(programs) == len(set(programs)) == 24
    assert parts[1].model.network is not None


def test_fact_15_a_run_repeats_and_its_records_replay(tmp_path):
    found = []
    for run in "ab":
        parts = GradientDescent(**SMALL), FelixMLP(QUICK)
        database, programs = tune(gemm(), tmp_path / run, *parts, space="post-order-apply")
        found.append(programs)
    assert found[0] == found[1]
    for record in database.get_all_tuning_records()[:4]:
        schedule = Schedule(record.workload.mod)
        record.trace.apply_to_schedule(schedule, remove_postproc=False)
        again = record.as_measure_candidate().sch.mod
        tvm.ir.assert_structural_equal(schedule.mod, again)


@pytest.mark.parametrize(
    "strategy",
    [evolutionary, lambda: ConstrainedEvolution(population=24, generations=1, batch=8)],
    ids=["evolutionary", "ours"],
)
def test_felix_mlp_serves_other_strategies(strategy, tmp_path):
    database, _ = tune(gemm(), tmp_path, strategy(), FelixMLP(QUICK), space="post-order-apply")
    assert len(database) == 16


@pytest.mark.parametrize("model", [HeronXGB, lambda: "xgb", lambda: "none"])
def test_a_model_without_gradients_stops_the_run_or_scores(model, tmp_path):
    with pytest.raises(TypeError, match="expected a cost model with gradients"):
        tune(gemm(), tmp_path / "a", GradientDescent(**SMALL), model())
    strategy = GradientDescent(fallback="score", **SMALL)
    database, _ = tune(gemm(), tmp_path / "b", strategy, model(), trials=17)
    assert len(database) == 17


def test_the_models_that_messages_name_have_gradients():
    for name in WITH_GRADIENT:
        assert isinstance(getattr(cost, name)().model, cost.Differentiable)


def test_a_space_without_numbers_runs_until_it_is_used_up(tmp_path):
    parts = GradientDescent(**SMALL), FelixMLP(QUICK)
    database, _ = tune(relu(n=2), tmp_path, *parts, trials=16, space="post-order-apply")
    assert 0 < len(database) <= 16


@pytest.mark.parametrize(
    ("shape", "on"), [((1009, 44, 11008), None), ((64, 1, 43), None), ((128, 96, 64), GPU)]
)
def test_fact_7_what_descent_ends_at_replays(shape, on):
    mod = workloads.make("gemm", shape, "float32")
    sketch = sketches(mod, on or target(), "post-order-apply")[0]
    region, rng = RelaxedSketch(sketch), np.random.default_rng(0)
    seeds = sketch.sample(6, rng)
    goal = torch.tensor(np.log2(np.maximum(sketch.sample(1, rng)[0], 1)))

    def score(x, width):
        return -(x.clamp(min=1).log2() - goal).square().sum(dim=1)

    (passed,) = descend([Group(region, score, seeds)], DescentConfig(n_steps=12).annealing)
    configs = region.rounded(passed, rng)
    assert sketch.is_valid(configs).all()
    tiles = [t for t in sketch.design.tables if len(t.columns) > 1]
    for tile in tiles:
        products = configs[:, list(tile.columns)].prod(axis=1)
        assert (products == tile.rows[0].prod()).all()
    for config in configs[:8]:
        replayed = sketch.config_of(sketch.schedule(config).trace)
        assert replayed.tolist() == config.tolist()


def test_fact_2_shared_columns_equal_those_of_tvm():
    """Where the definitions are one: operations, threads, trips, unrolling, allocations, bytes.

    Distinct bytes and lines are not: TVM's take every access for one of a whole box.
    """
    mod = tvm.IRModule({"main": gemm(64, 48, 96)})
    extractor = PerStoreFeature()
    shared = {
        "float.add": 1,
        "float.mul": 2,
        "blockIdx.x": 50,
        "threadIdx.x": 53,
        "vthread": 56,
        "allocation.outer": 159,
        "allocation.inner": 160,
        "outer": 161,
        "unroll": 163,
    }
    # TVM's five buffers of a store, of 18 columns each, are in another order.
    their_bytes = [57 + 18 * buffer + 3 for buffer in range(5)]
    our_bytes = [NAMES.index(f"{buffer}.bytes") for buffer in range(5)]
    sketch = sketches(mod, GPU, "post-order-apply")[0]
    features = FelixFeatures.of(sketch)
    context = ms.TuneContext(mod, target=GPU, num_threads=1)
    configs = sketch.sample(200, np.random.default_rng(0))
    candidates = [
        ms.MeasureCandidate(s, ms.arg_info.ArgInfo.from_entry_func(s.mod, True))
        for s in sketch.schedules(configs, 1)
    ]
    rows = extractor.extract_from(context, candidates)
    number = next(i for i, s in enumerate(features.statements) if s.is_reduction)
    for theirs, ours in zip(rows, features(configs)[:, number] / np.log(2)):
        theirs = theirs.numpy()
        update = theirs[theirs[:, 1] > 0][0]
        for name, column in shared.items():
            assert update[column] == pytest.approx(ours[NAMES.index(name)], abs=1e-4), name
        np.testing.assert_allclose(
            np.sort(update[their_bytes]), np.sort(ours[our_bytes]), atol=1e-4
        )


@pytest.mark.parametrize(
    ("op", "shape", "on"),
    [
        ("gemm", (64, 48, 96), GPU),
        ("gemm", (1009, 44, 11), GPU),
        ("conv2d", (1, 14, 14, 32, 16, 3, 1, 1), GPU),
        ("gemm", (64, 48, 96), target()),
    ],
)
def test_fact_6_bounds_agree_with_the_postprocs(op, shape, on):
    """Of configs that satisfy nothing but the tables: none that is refused here is valid there."""
    sketch = sketches(workloads.make(op, shape, "float32"), on, "post-order-apply")[0]
    rng = np.random.default_rng(0)
    tables = sketch.design.tables
    free = Sampler(tables, [], len(sketch.decisions)).sample(60, rng)
    predicted = sketch.is_valid(free)
    real = np.array([isinstance(s, Schedule) for s in sketch.schedules(free, 1)])
    assert not (real & ~predicted).any()
    assert (predicted == real).mean() >= 0.99
    region = RelaxedSketch(sketch)
    bounds = region.penalty(torch.tensor(free, dtype=torch.float64), 0.1).numpy()
    assert (bounds[predicted] == 0).all()
    assert {d.kind for d in sketch.decisions if d.column in region.choices} == {
        DecisionKind.CATEGORICAL
    }


@pytest.mark.parametrize(
    ("bound", "limit"), [("threads per block", 1024), ("shared bytes per block", 48 * 1024)]
)
def test_fact_6_exact_limits_are_accepted(bound, limit):
    """Each is kept to the last thread and byte, and no noise of logarithms breaks it."""
    sketch = sketches(gemm(1024, 1024, 64), GPU, "post-order-apply")[0]
    region = RelaxedSketch(sketch)
    constraint = next(c for c in sketch.constraints if bound in c.origin)
    at_limit = sketch.sample(3000, np.random.default_rng(0))
    at_limit = at_limit[constraint.left(at_limit) == limit]
    assert len(at_limit) > 3
    assert all(isinstance(s, Schedule) for s in sketch.schedules(at_limit[:4], 1))
    for width in (1.0, 0.05):
        x = torch.tensor(at_limit, dtype=torch.float64)
        assert (region.penalty(x, width) == 0).all()


@pytest.mark.performance
def test_fact_8_features_in_batches_take_a_hundredth_of_a_replay_and_tvms_extractor():
    """CPU time of this process, for the machine may be busy with others."""
    sketch = sketches(workloads.make("gemm", (512, 512, 512)), target())[0]
    configs = sketch.sample(2048, np.random.default_rng(0))
    features = FelixFeatures.of(sketch)
    features(configs[:2])
    begin = time.process_time()
    features(configs)
    each = (time.process_time() - begin) / len(configs)
    context = ms.TuneContext(sketch.design.mod, target=sketch.design.target, num_threads=1)

    def extracted(count):
        made = [one for one in sketch.schedules(configs[:count], 1) if isinstance(one, Schedule)]
        arguments = [ms.arg_info.ArgInfo.from_entry_func(one.mod, True) for one in made]
        candidates = [ms.MeasureCandidate(*pair) for pair in zip(made, arguments)]
        PerStoreFeature().extract_from(context, candidates)
        return len(made)

    extracted(1)  # loads intrinsics
    begin = time.process_time()
    count = extracted(32)
    assert (time.process_time() - begin) / count > 100 * each
