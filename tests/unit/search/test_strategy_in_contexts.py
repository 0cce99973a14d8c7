"""One strategy object in several contexts of TVM's, as loops of one's own make them."""

import pytest
from dummy import relu, target
from tvm.s_tir import meta_schedule as ms

from mschedx import compat
from mschedx.search import ConstrainedRandom


def context(strategy, function, name):
    with compat.only_intrinsics(target()):
        return ms.TuneContext(
            function,
            target=target(),
            space_generator="post-order-apply",
            search_strategy=strategy,
            task_name=name,
            rand_state=3,
            num_threads=1,
        )


def begin(one, trials=2):
    one.pre_tuning(max_trials=trials, num_trials_per_iter=trials)


def extents(one):
    """Elements of the buffers of what a context would measure next."""
    candidates = one.generate_measure_candidates()
    return {int(c.sch.mod["main"].params[0].shape[0]) for c in candidates}


def two_of(strategy):
    return context(strategy, relu(128), "a"), context(strategy, relu(96), "b")


def test_a_strategy_of_two_contexts_is_refused_before_it_mixes_them():
    first, second = two_of(ConstrainedRandom(batch=2))
    begin(first)
    with pytest.raises(ValueError, match=r"task b: expected post_tuning between .* Clone"):
        begin(second)


def test_also_where_the_first_is_measured_as_it_is():
    first, second = two_of(ConstrainedRandom(batch=2))
    first.pre_tuning(max_trials=2, num_trials_per_iter=2, design_spaces=[])
    with pytest.raises(ValueError, match="task b: expected post_tuning"):
        begin(second)


def test_clones_each_search_their_own_task():
    first, second = (one.clone() for one in two_of(ConstrainedRandom(batch=2)))
    begin(first)
    begin(second)
    assert (extents(first), extents(second)) == ({128}, {96})


def test_one_strategy_serves_contexts_in_turn():
    strategy = ConstrainedRandom(batch=2)
    for elements in (128, 96, 96):
        one = context(strategy, relu(elements), "a")
        begin(one)
        assert extents(one) == {elements}
        one.post_tuning()
        begin(one)
        assert extents(one) == {elements}


def test_whoever_was_interrupted_or_refused_may_begin_again():
    strategy = ConstrainedRandom(batch=2)
    with pytest.raises(ValueError, match="expected max_trials"):
        begin(context(strategy, relu(128), "a"), trials=0)
    begin(context(strategy, relu(128), "a"))
    again = context(strategy, relu(96), "b")
    begin(again)
    assert extents(again) == {96}
