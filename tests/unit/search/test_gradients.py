"""Which cost model is taken beside a strategy where none is given."""

import pytest

from mschedx.bench.named_parts import STRATEGIES
from mschedx.search import ConstrainedEvolution, DraftVerify, GradientDescent
from mschedx.search.gradients import lacks_gradients, model_beside


@pytest.mark.parametrize(
    ("strategy", "model"),
    [
        (DraftVerify(), "HeronXGB"),
        (ConstrainedEvolution(), "HeronXGB"),
        (GradientDescent(fallback="score"), "HeronXGB"),
        (GradientDescent(), "FelixMLP"),
        (GradientDescent().restricted(), "FelixMLP"),
        ("evolutionary", "HeronXGB"),
    ],
)
def test_descent_brings_a_network_and_all_others_trees(strategy, model):
    assert type(model_beside(strategy)).__name__ == model


def test_no_named_strategy_stops_for_the_gradients_of_its_own_model():
    made = [named.make() for named in STRATEGIES.values() if named.beside is None]
    assert not any(lacks_gradients(strategy, model_beside(strategy)) for strategy in made)
