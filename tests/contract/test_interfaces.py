"""A cost model and a search as one would add them: a class each, in one file, nothing else touched.

They stand for the kinds there are: analytical and differentiable models, a search that drafts with
one model and verifies with another, a search that follows gradients.
"""

import json

import numpy as np
import pytest
import torch
import tvm
from dummy import NoBuilder, evolutionary, gemm, relu, target, tune
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.measure_callback import PyMeasureCallback

from mschedx.cost import (
    Differentiable,
    HasImportance,
    HeronXGB,
    Measured,
    ReadsTraces,
    TVMCostModel,
)
from mschedx.cost.heron_xgb import HeronXGBModel
from mschedx.cost.learned.pam import PAMModel
from mschedx.search import ConstrainedEvolution, ConstrainedRandom, RepairedGenetic, Strategy
from mschedx.search.constrained_evolution import ConstrainedCrossover, Keys
from mschedx.search.pick import EpsilonGreedy, Greedy
from mschedx.search.points import SketchSet
from mschedx.search.pool import Scored, gather
from mschedx.search.population import evolve
from mschedx.search.scoring import ArrayScorer, NoScorer
from mschedx.space import Task, for_target, sketches

SMALL = {"population": 40, "generations": 2, "batch": 8, "pool": 48}


class Analytical:
    """Knows at once what it wants, every decision near 4; learns one number, how wrong it is."""

    def __init__(self):
        self.learnt, self.asked, self.scale = {}, {}, 1.0

    def ready(self, task):
        return True

    def learn(self, task, measured):
        self.learnt[task] = {part.sketch.key: len(part.configs) for part in measured}
        latency_s = np.concatenate([part.latency_s for part in measured])
        self.scale = float(np.median(latency_s[np.isfinite(latency_s)], keepdims=False))

    def score(self, task, asked):
        self.asked.setdefault(task, set()).update(sketch.key for sketch, _ in asked)
        scores = [
            self.relaxed_score(task, sketch, torch.tensor(configs, dtype=torch.float64))
            for sketch, configs in asked
        ]
        return torch.cat(scores).numpy()

    def relaxed_score(self, task, sketch, configs):
        return 100 - ((torch.log2(configs.clamp(min=1)) - 2) ** 2).sum(dim=1)

    def save(self, path):
        with open(path, "w") as file:
            json.dump(self.scale, file)

    def load(self, path):
        with open(path) as file:
            self.scale = json.load(file)


class DraftThenVerify:
    """Evolves by an analytical model and lets the learned one choose among what it drafted."""

    def __init__(self, draft):
        self.draft = draft

    def propose(self, request):
        count, space, history = request.count, request.space, request.history
        scorer, rng = request.scorer, request.rng
        draft = ArrayScorer(self.draft, space)
        start = Scored.by(draft, gather(history.best(16), space.sample(64, rng)))
        crossover = ConstrainedCrossover(0.2, Keys.RANDOM)
        seen, _ = evolve(
            start, space, draft, crossover, rng, size=48, generations=2, parents=32, elites=8
        )
        drafted = seen.untried(history.tried).best(64).filled(count, space, history.tried, rng)
        found = Scored.by(scorer, drafted.points) if scorer.ready else drafted
        return found.points.take(EpsilonGreedy(0.2)(found.scores, count, rng))


class Descent:
    """Follows the gradient from random configs and takes what is nearest to where it ends."""

    def propose(self, request):
        space, scorer, tried = request.space, request.scorer, request.history.tried
        count, rng = request.count, request.rng
        ends = [self.end(s, sketch, scorer, rng) for s, sketch in enumerate(space.sketches)]
        pool = gather(*(space.lift(s, configs) for s, configs in enumerate(ends)))
        found = Scored.by(scorer, pool).untried(tried)
        found = found.filled(count, space, tried, rng)
        return found.points.take(Greedy()(found.scores, count, rng))

    def end(self, number, sketch, scorer, rng):
        logs = torch.tensor(np.log2(np.maximum(sketch.sample(16, rng), 1)), requires_grad=True)
        for _ in range(30):
            (slope,) = torch.autograd.grad(
                scorer.relaxed_score(number, torch.exp2(logs)).sum(), logs
            )
            logs = (logs + 0.1 * slope).detach().requires_grad_()
        return sketch.nearest(torch.exp2(logs).detach().numpy(), rng)


STRATEGIES = {
    "constrained evolution": lambda: ConstrainedEvolution(**SMALL),
    "constrained random": lambda: ConstrainedRandom(batch=8),
    "repaired genetic": lambda: RepairedGenetic(**SMALL),
    "draft, verify": lambda: Strategy(lambda: DraftThenVerify(Analytical()), batch=8, pool=48),
    "descent": lambda: Strategy(Descent, batch=8),
}
MODELS = {
    "analytical": lambda: TVMCostModel(Analytical()),
    "HeronXGB": HeronXGB,
    "xgb": lambda: "xgb",
    "none": lambda: "none",
}
SPACES = {"ours": lambda: for_target(target()), "tvm": lambda: "post-order-apply"}


@pytest.mark.usefixtures("analysed_once")
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_works_with_every_model_in_every_space(strategy, model, space, tmp_path):
    parts = STRATEGIES[strategy](), MODELS[model]()
    if strategy == "descent" and model != "analytical":
        with pytest.raises(TypeError, match="expected a differentiable cost model"):
            tune(gemm(), tmp_path, *parts, space=SPACES[space]())
        return
    database, programs = tune(gemm(), tmp_path, *parts, trials=17, space=SPACES[space]())
    assert len(database) == len(programs) == len(set(programs)) == 17


@pytest.mark.parametrize(
    "strategy", ["constrained evolution", "repaired genetic", "draft, verify", "descent"]
)
def test_a_model_that_is_ready_before_measurement_steers_round_one(strategy, tmp_path):
    model = TVMCostModel(Analytical())
    database, _ = tune(
        gemm(), tmp_path, STRATEGIES[strategy](), model, trials=8, space="post-order-apply"
    )
    space = SketchSet(sketches(gemm(), target(), "post-order-apply"))
    found = space.resolver.resolve([record.trace for record in database.get_all_tuning_records()])
    assert (found.sketch >= 0).all()
    asked = [(space.sketches[s], c[None]) for s, c in zip(found.sketch, found.configs)]
    drawn = space.sample(900, np.random.default_rng(0))
    by_chance = ArrayScorer(Analytical(), space).score(drawn)
    assert np.median(Analytical().score(space.task, asked)) > np.quantile(by_chance, 0.9)


def test_a_descent_ends_at_the_nearest_valid_config_to_the_best_relaxed_one(tmp_path):
    space = SketchSet(sketches(gemm(), target(), "post-order-apply"))
    model = Analytical()
    rng = np.random.default_rng(0)
    ends = Descent().end(0, space.sketches[0], ArrayScorer(model, space), rng)
    drawn = space.sketches[0].sample(5000, rng)
    scores = model.score(space.task, [(space.sketches[0], ends), (space.sketches[0], drawn)])
    assert scores[:16].min() > np.quantile(scores[16:], 0.999)


@pytest.mark.parametrize(
    "strategy", [evolutionary, lambda: "replay-trace"], ids=["evolutionary", "replay-trace"]
)
def test_under_strategies_of_tvm_a_model_sees_sketches_and_configs(strategy, tmp_path):
    model = Analytical()
    handle = TVMCostModel(model)
    tune(gemm(), tmp_path / "a", strategy(), handle, trials=16, num_trials_per_iter=8)
    (task,) = model.learnt
    known = sketches(gemm(), target(), "post-order-apply")
    assert task == known[0].task
    assert sum(model.learnt[task].values()) == 16
    assert set(model.learnt[task]) == {sketch.key for sketch in known}
    # The same model under a strategy of ours: the same task, the same sketches.
    tune(gemm(), tmp_path / "b", ConstrainedEvolution(**SMALL), handle, space="post-order-apply")
    assert list(model.learnt) == [task]
    assert set(model.learnt[task]) <= {sketch.key for sketch in known}
    assert model.asked[task] <= {sketch.key for sketch in known}
    assert strategy is not evolutionary or model.asked[task]


def test_what_a_search_has_taught_is_not_lost_under_a_strategy_of_tvm(tmp_path):
    """Failed builds too, which TVM shows no model."""
    model = Analytical()
    handle = TVMCostModel(model)
    builder = NoBuilder(fail=4)
    search = ConstrainedEvolution(**SMALL)
    tune(gemm(), tmp_path / "a", search, handle, space="post-order-apply", builder=builder)
    (task,) = model.learnt
    assert sum(model.learnt[task].values()) == 16
    tune(gemm(), tmp_path / "b", "replay-trace", handle, trials=8, num_trials_per_iter=8)
    assert sum(model.learnt[task].values()) == 24


@derived_object
class Note(PyMeasureCallback):
    """Asks for scores after every round, as a forecast does, and notes what had been learnt."""

    def __init__(self, model, learnt, notes):
        super().__init__()
        self.model, self.learnt, self.notes = model, learnt, notes

    def apply(self, task_scheduler, task_id, measure_candidates, builder_results, runner_results):
        context = task_scheduler.tasks_[task_id].ctx
        scores = task_scheduler.cost_model_.predict(context, list(measure_candidates))
        self.notes.append((len(scores), list(self.learnt)))


def test_a_round_is_learnt_once_and_not_before_the_next(tmp_path):
    """So that a model can be asked, after a round, what it had expected of it."""
    learnt, notes = [], []

    class Counting(Analytical):
        def learn(self, task, measured):
            learnt.append(sum(len(part.configs) for part in measured))

    model = Counting()
    callbacks = [Note(model, learnt, notes), *ms.MeasureCallback.create("default")]
    search = ConstrainedEvolution(**SMALL)
    tune(gemm(), tmp_path, search, TVMCostModel(model), trials=24, measure_callbacks=callbacks)
    assert notes == [(8, []), (8, [8]), (8, [8, 16])]
    assert learnt == [8, 16, 24]


def test_one_model_serves_all_tasks_of_a_run(tmp_path):
    model = Analytical()
    functions = {"gemm": gemm(), "relu": relu(n=96)}
    module = tvm.IRModule(
        {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    )
    tune(module, tmp_path, ConstrainedEvolution(**SMALL), TVMCostModel(model), trials=24)
    wanted = {Task.of(tvm.IRModule({"main": func}), target()) for func in functions.values()}
    assert set(model.learnt) == wanted
    assert {task.name for task in model.learnt} == {"gemm", "relu"}


def test_optional_abilities_are_told_apart():
    assert isinstance(Analytical(), Differentiable)
    assert not isinstance(Analytical(), HasImportance | ReadsTraces)
    assert isinstance(HeronXGBModel(), HasImportance)
    assert isinstance(HeronXGBModel(), ReadsTraces)
    assert not isinstance(HeronXGBModel(), Differentiable)
    assert isinstance(PAMModel(), Differentiable)
    with pytest.raises(TypeError, match=r"expected a differentiable .* got none"):
        NoScorer().relaxed_score(0, torch.ones(1, 1))


@pytest.mark.usefixtures("analysed_once")
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: np.full(n, np.nan), "cost model Wrong: [0-9]+ of [0-9]+ scores are not finite"),
        (lambda n: np.full(n, -np.inf), "cost model Wrong: .* scores are not finite"),
        (lambda n: np.ones(n + 1), "cost model Wrong: expected [0-9]+ scores"),
        (lambda n: np.ones((n, 2)), "cost model Wrong: expected [0-9]+ scores"),
    ],
)
@pytest.mark.parametrize("strategy", [lambda: ConstrainedEvolution(**SMALL), evolutionary])
def test_nonsense_from_a_model_stops_the_run_with_its_name(strategy, answer, message, tmp_path):
    class Wrong(Analytical):
        def score(self, task, asked):
            return answer(sum(len(configs) for _, configs in asked))

    with pytest.raises(ValueError, match=message):
        tune(gemm(), tmp_path, strategy(), TVMCostModel(Wrong()))


@pytest.mark.parametrize("make", [Analytical, HeronXGBModel, PAMModel])
def test_a_model_is_saved_and_loaded_without_pickle(make, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads"):
        monkeypatch.setattr(f"pickle.{name}", refuse)
    sketch = sketches(gemm(), target(), "post-order-apply")[0]
    configs = sketch.sample(64, np.random.default_rng(0))
    model, again = make(), make()
    model.learn(sketch.task, [Measured(sketch, configs, 1e-3 * (1 + configs[:, 0]))])
    path = str(tmp_path / "model")
    TVMCostModel(model).save(path)
    TVMCostModel(again).load(path)
    assert again.ready(sketch.task)
    asked = [(sketch, configs)]
    assert np.array_equal(again.score(sketch.task, asked), model.score(sketch.task, asked))


def test_a_file_with_pickled_objects_is_refused(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, header=np.array([{"format": 2}], dtype=object))
    with pytest.raises(ValueError, match="expected a file written by HeronXGB"):
        HeronXGB().load(str(path))
