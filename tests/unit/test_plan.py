"""What a call is asked for, as its session hands it on."""

import pytest
from tvm.s_tir import meta_schedule as ms

from mschedx.cost import PSA, FelixMLP, HeronXGB
from mschedx.plan import Parts
from mschedx.search import GradientDescent
from mschedx.search.gradients import lacks_gradients
from mschedx.session import filled


def test_a_journal_says_parts_by_their_class_or_their_name():
    assert Parts(strategy="evolutionary", builder=object()).names() == {
        "space": None,
        "strategy": "evolutionary",
        "cost_model": None,
        "builder": "object",
        "runner": None,
    }


@pytest.mark.parametrize("given", [{}, {"runner": "rpc"}, {"strategy": "replay-trace"}])
def test_what_is_given_is_kept_and_what_is_missing_is_made(given):
    named = {"space": "union", "cost_model": "none", "builder": "local"}
    own = {"runner": "our runner", "strategy": "our strategy"}
    found = filled(Parts(**named, **given), None, lambda: own["runner"], lambda: own["strategy"])
    assert found == Parts(**named, **(own | given))


@pytest.mark.parametrize("name", ["space", "strategy", "cost_model", "builder", "runner"])
def test_a_class_is_no_part(name):
    with pytest.raises(TypeError, match=rf"{name} as an object.*class dict: make one, dict\(\)"):
        Parts(**{name: dict})


def test_a_plain_cost_model_is_made_one_of_tvm():
    model, given = PSA().model, {"space": "union", "builder": "local"}
    found = filled(Parts(cost_model=model, **given), None, lambda: "rpc", lambda: "replay-trace")
    assert isinstance(found.cost_model, ms.CostModel)
    assert found.cost_model.model is model
    with pytest.raises(TypeError, match="got int without ready, learn"):
        filled(Parts(cost_model=1, **given), None, lambda: "rpc", lambda: "replay-trace")


def test_a_plain_cost_model_may_have_gradients():
    descent = GradientDescent()
    models = (FelixMLP(), FelixMLP().model, HeronXGB(), HeronXGB().model, "xgb")
    assert [lacks_gradients(descent, model) for model in models] == [False, False, True, True, True]
