import copy
import gc
import pickle

import numpy as np
import pytest
import stand_ins
import tvm_ffi
from dummy import evolutionary, gemm, target, tune
from toy import ToySketch
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.cost_model import CostModel as TVMInterface

import mschedx
from mschedx.cost import CostModel, HeronXGB, Measured, TreeConfig, TVMCostModel, adapter
from mschedx.cost.adapter import Conversation, as_weights, conversation_behind
from mschedx.cost.base import checked_scores
from mschedx.cost.heron_xgb import HeronXGBModel
from mschedx.search import ConstrainedRandom
from mschedx.space import Task, sketches
from mschedx.space.target import for_target


class Least:
    """The least a cost model can be."""

    def ready(self, task):
        return True

    def learn(self, task, measured):
        pass

    def score(self, task, asked):
        return np.concatenate([configs.sum(axis=1) for _, configs in asked])

    def save(self, path):
        pass

    def load(self, path):
        pass


class Driving:
    """A search that has measured some of the toy's points, and has them taught when it is told."""

    def __init__(self, conversation, task, sketch, latency_s=(), seed=0):
        self.conversation, self.task, self.sketch = conversation, task, sketch
        self.latency_s, self.seed = latency_s, seed

    def learn(self):
        self.conversation.learn(self.task)

    def measured(self):
        configs = self.sketch.sample(len(self.latency_s), np.random.default_rng(self.seed))
        return [Measured(self.sketch, configs, np.array(self.latency_s, float))]


class Remembering(Least):
    """Keeps the seconds that it was last taught."""

    def learn(self, task, measured):
        self.taught = [part.latency_s.tolist() for part in measured]


def handle_of(model):
    """What a strategy gets to see: the object out of a container of TVM's."""
    return tvm_ffi.Array([model])[0]


def test_a_bare_handle_leads_back_to_the_model():
    model, other = HeronXGB(TreeConfig(rounds=7)), HeronXGB()
    handle = handle_of(model)
    assert not hasattr(handle, "model")
    found = conversation_behind(handle).model
    assert found is model.model
    assert isinstance(found, CostModel)
    assert found.config.rounds == 7
    assert conversation_behind(other).model is not found
    assert conversation_behind(TVMInterface.create("random")) is None
    assert conversation_behind(None) is None


def test_a_handle_outlives_the_object_it_came_from_and_the_model_goes_with_it():
    handle = handle_of(TVMCostModel(Least()))
    gc.collect()
    assert isinstance(conversation_behind(handle).model, Least)
    model = Least()
    address = TVMCostModel(model).__chandle__()
    gc.collect()
    # The model lives on, the object at that address does not.
    assert address not in adapter._CONVERSATIONS


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_copies_that_no_search_would_know_are_refused(copied):
    with pytest.raises(TypeError, match=r"a HeronXGB .* make another one, and have it load"):
        copied({"cost_model": HeronXGB()} if copied is not copy.copy else HeronXGB())


def test_an_object_without_the_methods_of_a_model_is_refused():
    class Half:
        def score(self, task, asked):
            return []

    with pytest.raises(TypeError, match="got Half without ready, learn, save, load"):
        TVMCostModel(Half())


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.ones(4), r"cost model M: expected 3 scores, .* shape \(4,\)"),
        (np.ones((3, 1)), r"expected 3 scores, .* shape \(3, 1\)"),
        ([1.0, np.nan, np.inf], "2 of 3 scores are not finite"),
    ],
)
def test_scores_of_the_wrong_shape_or_not_finite_are_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        checked_scores(scores, 3, "M")


def test_trials_of_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match=r"expected configs \[n, D\] and latency_s \[n\]"):
        Measured(ToySketch(), np.ones((2, 8), np.int64), np.ones(3))


def test_scores_become_positive_in_their_order_and_positive_ones_stay_as_they_are():
    scores = np.array([-1e9, -16.0, -1e-9, 0.0, 1e-12, 3.0, 1e6])
    weights = as_weights(scores)
    assert (weights > 0).all()
    assert (np.diff(weights) > 0).all()
    np.testing.assert_array_equal(weights[4:], scores[4:])


class Logs(Least):
    """Says half the logarithm of a config's sum: e times as much is ½ more."""

    logarithmic = 0.5

    def score(self, task, asked):
        return 0.5 * np.log(super().score(task, asked))


def test_twice_as_fast_weighs_twice_as_much_where_scores_are_logarithms():
    sketch = sketches(gemm(), target(), "post-order-apply")[0]
    configs = sketch.sample(4, np.random.default_rng(0))
    candidates = [ms.MeasureCandidate(sketch.schedule(config), []) for config in configs]
    context = ms.TuneContext(gemm(), target=target(), task_name="gemm")
    task = Task.of(context.mod, context.target, "gemm")
    conversation = Conversation(Logs())
    driver = Driving(conversation, task, sketch)
    conversation.begin(task, [sketch], driver)
    together = conversation.predict(context, candidates)
    np.testing.assert_allclose(together, configs.sum(axis=1))
    alone = [conversation.predict(context, [candidate])[0] for candidate in candidates]
    np.testing.assert_array_equal(alone, together)


def test_weights_of_logarithms_are_positive_finite_and_in_order():
    weights = as_weights(np.array([-1e9, -50.0, 0.0, 50.0, 1e9]), 1.0)
    assert (np.diff(weights) > 0).all()
    assert weights.min() > 0
    assert np.isfinite(weights.sum() * 1e6)


@pytest.mark.parametrize("unit", [0, -1.0, float("nan"), True, "6"])
def test_a_model_that_is_logarithmic_by_no_number_above_0_is_refused(unit):
    model = Least()
    model.logarithmic = unit
    with pytest.raises(ValueError, match=r"expected Least\.logarithmic > 0, got"):
        TVMCostModel(model)


@pytest.fixture
def context():
    return ms.TuneContext(
        gemm(), target=target(), task_name="gemm", space_generator="post-order-apply"
    )


def test_searches_of_one_task_teach_their_model_what_all_of_them_have_measured(context):
    """Functions of other names are one task to it, and TVM tunes them side by side."""
    task = Task.of(context.mod, context.target, "gemm")
    sketch = sketches(gemm(), target(), "post-order-apply")[0]
    conversation = Conversation(Remembering())
    first = Driving(conversation, task, sketch, [1e-3, 2e-3])
    second = Driving(conversation, task, sketch, [3e-3], seed=1)
    for driver in (first, second):
        conversation.begin(task, [sketch], driver)
    conversation.update(context, [], [])
    assert conversation.model.taught == [[1e-3, 2e-3, 3e-3]]

    conversation.end(task, first)
    second.latency_s = [3e-3, 4e-3]
    conversation.update(context, [], [])
    (taught,) = conversation.model.taught
    assert sorted(taught) == [1e-3, 2e-3, 3e-3, 4e-3]

    conversation.end(task, second)
    measured_by_tvm(conversation, context, sketch, 5e-3)
    taught = np.concatenate(conversation.model.taught)
    assert sorted(taught) == [1e-3, 2e-3, 3e-3, 4e-3, 5e-3]


def measured_by_tvm(conversation, context, sketch, seconds):
    """A trial of a strategy of TVM's."""
    config = sketch.sample(1, np.random.default_rng(9))[0]
    candidate = ms.MeasureCandidate(sketch.schedule(config), [])
    conversation.update(context, [candidate], [ms.runner.RunnerResult([seconds], None)])


@pytest.mark.parametrize("ends", [True, False])
def test_a_model_that_is_used_again_keeps_what_it_knew(context, ends):
    """Whatever measured it, and whether that search came to its end; each config counts once."""
    task = Task.of(context.mod, context.target, "gemm")
    sketch, other = sketches(gemm(), target(), "post-order-apply")[:2]
    conversation = Conversation(Remembering())
    measured_by_tvm(conversation, context, sketch, 9e-3)

    def again(sketch, latency_s, seed):
        driver = Driving(conversation, task, sketch, latency_s, seed)
        conversation.begin(task, [sketch], driver)
        conversation.update(context, [], [])
        if ends:
            conversation.end(task, driver)
        return known()

    def known():
        return sorted(sorted(part) for part in conversation.model.taught if part)

    assert again(sketch, [1e-3, 2e-3], 0) == [[1e-3, 2e-3, 9e-3]]
    assert again(other, [3e-3], 1) == [[1e-3, 2e-3, 9e-3], [3e-3]]
    assert again(sketch, [4e-3, 5e-3], 0) == [[3e-3], [4e-3, 5e-3, 9e-3]]
    gc.collect()
    measured_by_tvm(conversation, context, other, 8e-3)
    assert known() == [[3e-3, 8e-3], [4e-3, 5e-3, 9e-3]]


def test_what_a_model_reads_from_a_file_takes_the_place_of_what_it_knew(context, tmp_path):
    task = Task.of(context.mod, context.target, "gemm")
    sketch = sketches(gemm(), target(), "post-order-apply")[0]
    model = TVMCostModel(Remembering())
    conversation = conversation_behind(model)
    measured_by_tvm(conversation, context, sketch, 9e-3)
    model.load(str(tmp_path / "any"))
    driver = Driving(conversation, task, sketch, [1e-3])
    conversation.begin(task, [sketch], driver)
    driver.learn()
    assert model.model.taught == [[1e-3]]


@pytest.mark.parametrize("stop", ["whole", "early"])
def test_a_model_learns_from_all_folders_that_it_was_used_for(tmp_path, stop):
    model, traces = HeronXGB(), set()

    def tuned(folder, trials, seed):
        limit = trials if stop == "whole" else 64
        result = mschedx.tune(
            stand_ins.gemm(),
            trials=limit,
            work_dir=tmp_path / folder,
            seed=seed,
            on_round=None if stop == "whole" else lambda done: done[-1].index >= trials - 1,
            **stand_ins.quick(
                stand_ins.Runner(), strategy=ConstrainedRandom(batch=8), cost_model=model
            ),
        )
        assert len(result.history) == trials
        traces.update(str(record.trace) for record in result.database.get_all_tuning_records())
        model.save(str(tmp_path / "model"))
        with np.load(tmp_path / "model") as stored:
            assert len(stored["latency_s_0"]) == len(traces)

    tuned("a", 8, seed=1)
    tuned("b", 16, seed=2)
    assert len(traces) > 16
    tuned("a", 16, seed=1)
    assert len(traces) > 24


@pytest.mark.parametrize("stop", ["whole", "early"])
def test_a_model_knows_the_last_round_also_of_a_run_that_was_stopped(tmp_path, stop):
    model, strategy = HeronXGB(), ConstrainedRandom(batch=8)
    mschedx.tune(
        stand_ins.gemm(),
        trials=16 if stop == "whole" else 64,
        work_dir=tmp_path,
        on_round=None if stop == "whole" else lambda trials: trials[-1].index >= 15,
        **stand_ins.quick(stand_ins.Runner(), strategy=strategy, cost_model=model),
    )
    model.save(str(tmp_path / "model"))
    with np.load(tmp_path / "model") as stored:
        assert len(stored["latency_s_0"]) == 16


def test_one_model_hears_of_every_space_that_a_task_is_searched_in(tmp_path):
    model = HeronXGB()
    asked = []
    score = model.model.score
    model.model.score = lambda task, parts: asked.append(len(parts)) or score(task, parts)
    for number, space in enumerate(("post-order-apply", for_target(target()))):
        before = len(asked)
        tune(
            gemm(),
            tmp_path / str(number),
            evolutionary(),
            model,
            trials=16,
            num_trials_per_iter=8,
            space=space,
        )
        assert any(asked[before:]), "candidates of this space have sketches"


class Logarithmic(HeronXGBModel):
    """Says the same on another scale, on which all scores are negative."""

    def score(self, task, asked):
        return np.log(1e-9 + super().score(task, asked)) - 100


def test_tvms_search_hears_a_model_whose_scores_are_negative(tmp_path, monkeypatch):
    said = []
    predict = Conversation.predict

    def noted(self, context, candidates):
        said.append(predict(self, context, candidates))
        return said[-1]

    monkeypatch.setattr(Conversation, "predict", noted)
    model = TVMCostModel(Logarithmic())
    tune(gemm(), tmp_path, evolutionary(), model, trials=16, num_trials_per_iter=8)
    late = [scores for scores in said if len(np.unique(scores)) > 1]
    assert late
    assert all((scores > 0).all() for scores in said)
