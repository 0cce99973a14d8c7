import copy
import pickle
from dataclasses import replace

import pytest

from mschedx.search import (
    ConstrainedEvolution,
    ConstrainedRandom,
    DraftVerify,
    GradientDescent,
    RepairedGenetic,
)
from mschedx.search.constrained_random import RandomSearch
from mschedx.search.given import Given
from mschedx.search.strategy import Strategy


def test_what_is_made_of_a_strategy_keeps_its_other_options():
    made = Strategy(RandomSearch, batch=3, pool=5, drafts=True, gradients=True)
    sketch, program = object(), object()
    found = made.restricted(sketches=[sketch]).alone().restricted(start=[program])
    given = Given((sketch,), (program,))
    assert (found.make_search, found.batch, found.gradients) == (RandomSearch, 3, True)
    assert found.given == given
    assert found._form == replace(made._form, given=given, alone=True)


EVERY = (ConstrainedEvolution, ConstrainedRandom, DraftVerify, GradientDescent, RepairedGenetic)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: copy.deepcopy([one])[0]])
@pytest.mark.parametrize("kind", EVERY)
def test_copies_are_strategies_of_their_own(kind, copied):
    made = kind(batch=3)
    found = copied(made)
    assert type(found) is kind
    assert found.__chandle__() != made.__chandle__()
    assert (found.batch, found._form) == (3, made._form)
    assert getattr(found, "config", None) == getattr(made, "config", None)
    assert isinstance(found.restricted().alone(), Strategy)
    assert found.clone().__chandle__() not in (found.__chandle__(), made.__chandle__())


@pytest.mark.parametrize("kind", EVERY)
def test_no_strategy_is_pickled(kind):
    with pytest.raises(TypeError, match=f"a {kind.__name__} .* make it in the other process"):
        pickle.dumps(kind())
