"""Tuners and searches of a user's own, by module and attribute."""

import sys
from types import ModuleType

import pytest

from mschedx.bench.compare.tuners import TUNERS, find_tuner, find_tuners
from mschedx.bench.replay import Contender, contenders, find_contender
from mschedx.search.constrained_random import RandomSearch


@pytest.fixture(autouse=True)
def theirs(monkeypatch):
    module = ModuleType("theirs")
    module.parts = lambda: {"cost_model": "random"}
    module.wrong = lambda: {"model": 1}
    module.number = 3
    module.search = lambda: Contender("any", RandomSearch)
    monkeypatch.setitem(sys.modules, "theirs", module)


def test_own_tuners_stand_beside_known_ones():
    heron, own = find_tuners("heron,theirs:parts")
    assert heron is TUNERS["heron"]
    assert (own.name, own.parts()) == ("theirs:parts", {"cost_model": "random"})


def test_own_searches_can_be_replayed():
    found = find_contender("theirs:search", contenders())
    assert found.name == "theirs:search"
    assert isinstance(found.search(), RandomSearch)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nobody", "unknown tuner nobody; there are heron, "),
        ("nothing:here", "cannot import tuner nothing:here: No module named 'nothing'"),
        ("theirs:absent", "cannot import tuner theirs:absent"),
        ("theirs:number", "expected theirs:number to be callable, got int"),
    ],
)
def test_what_is_not_there_is_named(name, says):
    with pytest.raises(ValueError, match=says):
        find_tuner(name)


def test_what_a_function_returns_is_checked():
    with pytest.raises(ValueError, match="a dict with some of space, strategy, cost_model"):
        find_tuner("theirs:wrong").parts()
    with pytest.raises(ValueError, match=r"expected theirs:parts\(\) to return a mschedx.bench"):
        find_contender("theirs:parts", contenders())


@pytest.mark.parametrize("name", ["pruner", "moa", "draft-only", "verify-only", "felix", "random"])
def test_the_same_parts_on_tvms_space(name):
    ours, theirs = find_tuner(name).parts(), find_tuner(f"{name}-tvm-space").parts()
    assert theirs.pop("space") == "post-order-apply"
    assert {k: type(v) for k, v in theirs.items()} == {k: type(v) for k, v in ours.items()}
