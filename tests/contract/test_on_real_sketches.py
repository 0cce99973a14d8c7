"""The algorithms on sketches of real design spaces; facts of heron.md section 9."""

import time

import numpy as np
import pytest
import tvm
from dummy import gemm, target
from tvm import te

import mschedx.space
from mschedx.bench.replay import OwnPrograms
from mschedx.cost.heron_xgb import HeronXGBModel
from mschedx.search.base import TaskSearch
from mschedx.search.constrained_evolution import (
    ConstrainedCrossover,
    Evolution,
    EvolutionConfig,
    Keys,
)
from mschedx.search.constrained_random import RandomSearch
from mschedx.search.history import History
from mschedx.search.moves import key_columns, neighbours
from mschedx.search.points import Points, SketchSet
from mschedx.search.request import Request
from mschedx.search.scoring import ArrayScorer


@pytest.fixture(scope="module", params=["post-order-apply", None], ids=["tvm", "ours"])
def space(request):
    return SketchSet(mschedx.space.sketches(gemm(256, 256, 256), target(), request.param))


def test_crossover_of_random_pairs_is_always_satisfiable(space):
    """Fact 8: 10^4 pairs."""
    rng = np.random.default_rng(0)
    crossover = ConstrainedCrossover(1.0, Keys.IMPORTANCE)
    first = space.sample(10_000, rng)
    second = Points.concatenate(
        [
            space.lift(s, space.sketches[s].sample(len(rows), rng))
            for s, rows, _ in space.groups(first)
        ]
    )
    first = Points.concatenate([first.take(rows) for _, rows, _ in space.groups(first)])
    keys = np.zeros_like(first.configs, dtype=bool)
    for s, rows, _ in space.groups(first):
        genes = space.genes[s]
        keys[rows] = key_columns(genes, crossover.kept(genes, len(rows), None, rng), space.width)
    children = space.recombine(first, second, keys, rng)
    assert space.is_valid(children).all()
    inherited = (children.configs == first.configs) | (children.configs == second.configs)
    assert inherited[keys].all()
    # The freed gene is drawn afresh: children are not just their parents' mixtures.
    assert (~inherited).any(axis=1).mean() > 0.3
    twins = space.recombine(first, first, keys, rng)
    assert (twins.configs == first.configs)[keys].all()
    assert (twins.configs != first.configs).any(axis=1).mean() > 0.3


def test_local_moves_are_valid(space):
    rng = np.random.default_rng(0)
    points = space.sample(500, rng)
    moved = neighbours(space, points, rng)
    assert len(moved) > 50
    assert space.is_valid(moved).all()


@pytest.mark.performance
def test_a_round_of_1248_candidates_takes_less_than_a_second(space):
    """Fact 11; CPU time of this process, for the machine may be busy with others."""
    rng = np.random.default_rng(0)
    history = History.of(space)
    points = space.sample(64, rng).distinct()
    history.add(points, 1e-3 * (1 + rng.random(len(points))))
    scorer = ArrayScorer(HeronXGBModel(), space)
    scorer.learn(history)
    evolution = Evolution(EvolutionConfig())
    evolution.propose(Request(32, space, history, scorer, rng))  # imports and analyses
    scorer.learn(history)
    start = time.process_time()
    proposed = evolution.propose(Request(32, space, history, scorer, rng))
    assert time.process_time() - start < 1.0
    assert len(proposed) >= 32


def hidden(space, seed):
    """A landscape nobody fitted: distance to a random config, with random weights and a cliff."""
    rng = np.random.default_rng(seed)
    weights = rng.gamma(1.0, size=space.width)
    offsets = rng.exponential(0.5, size=len(space))
    goal = np.log2(1.0 + np.maximum(space.sample(1, rng).configs, 0))
    pair = rng.choice(space.width, size=2, replace=False)

    def latency(points):
        x = np.log2(1.0 + np.maximum(points.configs, 0))
        cliff = 0.7 * (x[:, pair].sum(axis=1) > goal[0, pair].sum() + 1)
        return 1e-4 * np.exp(np.abs(x - goal) @ weights / 4 + offsets[points.sketch] + cliff)

    return latency


def best_of(space, search, latency, seed):
    task = TaskSearch(
        space,
        search,
        ArrayScorer(HeronXGBModel(), space),
        OwnPrograms(),
        trials=32,
        batch=8,
        rng=np.random.default_rng(seed),
    )
    while batch := task.next_batch():
        task.tell(latency(Points.concatenate([candidate.point for candidate in batch])))
    return task.history.best_s


def test_evolution_beats_constrained_random_on_hidden_landscapes(space):
    """Fact 15: geomean over 20 seeds, each with a landscape of its own, at equal trials."""
    config = EvolutionConfig(population=100, generations=3)
    gaps = []
    for seed in range(20):
        latency = hidden(space, seed)
        evolved = best_of(space, Evolution(config), latency, seed)
        gaps.append(np.log(best_of(space, RandomSearch(), latency, seed) / evolved))
    assert np.mean(gaps) > 0
    assert np.mean(np.array(gaps) >= 0) >= 0.6


@pytest.mark.parametrize("name", ["PSA", "PAM", "FelixMLP"])
def test_models_with_gradients_take_a_sketch_without_decisions(name):
    """TVM's space of an elementwise function has one config, of no columns."""
    import torch

    import mschedx.cost
    from mschedx.cost import Measured

    a = te.placeholder((64,), name="A")
    mod = tvm.IRModule({"main": te.create_prim_func([a, te.compute((64,), lambda i: a[i] + 1.0)])})
    (sketch,) = mschedx.space.sketches(mod, target(), "post-order-apply")
    sketch = sketch.narrowed()
    assert sketch.names == ()
    rows = np.empty((12, 0), dtype=np.int64)
    model = getattr(mschedx.cost, name)().model
    model.learn(sketch.task, [Measured(sketch, rows, np.linspace(1e-5, 2e-5, 12))])
    x = torch.empty((2, 0), dtype=torch.float64, requires_grad=True)
    scores = model.relaxed_score(sketch.task, sketch, x)
    scores.sum().backward()
    wanted = model.score(sketch.task, [(sketch, rows[:2])])
    np.testing.assert_allclose(scores.detach().numpy(), wanted, rtol=1e-6)
