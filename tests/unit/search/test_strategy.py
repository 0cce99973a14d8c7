import copy
import gc
import pickle
import weakref
from dataclasses import replace

import pytest
from dummy import context, gemm, tune

from mschedx.cost import PSA, HeronXGB
from mschedx.search import (
    ConstrainedEvolution,
    ConstrainedRandom,
    DraftVerify,
    GradientDescent,
    RepairedGenetic,
)
from mschedx.search.constrained_evolution import Evolution, EvolutionConfig
from mschedx.search.constrained_random import RandomSearch
from mschedx.search.given import Given
from mschedx.search.growing import GrowingSet
from mschedx.search.strategy import Strategy

SMALL = {"population": 40, "generations": 2, "batch": 8, "pool": 48}


def test_what_is_made_of_a_strategy_keeps_its_other_options():
    made = Strategy(RandomSearch, batch=3, pool=5, drafts=True, gradients=True)
    sketch, program = object(), object()
    found = made.restricted(sketches=[sketch]).alone().restricted(start=[program])
    given = Given((sketch,), (program,))
    assert (found.make_search, found.batch, found.gradients) == (RandomSearch, 3, True)
    assert found.given == given
    assert found._form == replace(made._form, given=given, alone=True)


@pytest.mark.parametrize(
    ("strategy", "model", "trials", "begins_with_one"),
    [
        (DraftVerify, HeronXGB, 64, True),
        (ConstrainedEvolution, PSA, 64, True),
        (ConstrainedEvolution, HeronXGB, 64, False),
        (DraftVerify, HeronXGB, 8, False),  # no second round in which the others could come
    ],
)
def test_many_sketches_are_not_all_scored_before_the_first_trial(
    strategy, model, trials, begins_with_one, monkeypatch
):
    monkeypatch.setattr("mschedx.search.strategy.MOST_ANALYSED", 1)
    began = []

    def begin(space, rng=None):
        original(space, rng)
        began.append((len(space.opened), len(space.spaces)))

    original = GrowingSet.begin
    monkeypatch.setattr(GrowingSet, "begin", begin)
    tuned = context(strategy())
    tuned.pre_tuning(max_trials=trials, num_trials_per_iter=8, cost_model=model())
    ((opened, spaces),) = began
    assert spaces > 1
    assert opened == (1 if begins_with_one else spaces)


def test_clones_do_not_share_state():
    first = context(ConstrainedEvolution(**SMALL))
    second = first.clone()
    first.pre_tuning(max_trials=4, num_trials_per_iter=4, cost_model=HeronXGB())
    with pytest.raises(RuntimeError, match="expected pre_tuning before the first round"):
        second.generate_measure_candidates()
    second.pre_tuning(max_trials=2, num_trials_per_iter=2, cost_model=HeronXGB())
    assert len(first.generate_measure_candidates()) == 4
    assert len(second.generate_measure_candidates()) == 2


def test_strategies_are_freed_after_tuning(tmp_path):
    alive = []

    def watched():
        search = Evolution(EvolutionConfig(**SMALL))
        alive.append(weakref.ref(search))
        return search

    tune(gemm(), tmp_path, Strategy(watched, batch=8), HeronXGB(), trials=8)
    gc.collect()
    assert alive
    assert [ref() for ref in alive] == [None] * len(alive)


@pytest.mark.parametrize("trials", [0, -1])
def test_no_trials_are_refused(trials):
    tuned = context(ConstrainedEvolution())
    with pytest.raises(ValueError, match=f"expected max_trials of task main >= 1, got {trials}"):
        tuned.pre_tuning(max_trials=trials, num_trials_per_iter=4)
    with pytest.raises(ValueError, match="expected num_trials_per_iter of task main >= 1, got 0"):
        tuned.pre_tuning(max_trials=4, num_trials_per_iter=0)


def test_a_space_without_designs_is_refused_where_there_is_one_task():
    tuned = context(ConstrainedEvolution().alone())
    with pytest.raises(ValueError, match=r"task main: nothing to search .*no design space"):
        tuned.pre_tuning(max_trials=4, num_trials_per_iter=4, design_spaces=[])


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
