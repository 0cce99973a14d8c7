import gc

import numpy as np
import pytest
import tvm_ffi
from toy import ToySketch
from tvm.s_tir.meta_schedule.cost_model import CostModel as TVMInterface

from mschedx.cost import CostModel, HeronXGB, Measured, TreeConfig, TVMCostModel, adapter
from mschedx.cost.adapter import conversation_behind
from mschedx.cost.base import checked_scores


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
