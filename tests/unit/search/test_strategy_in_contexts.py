"""Strategies in loops of one's own: several contexts of one object, batches in any order."""

import pytest
from dummy import gemm, relu, target
from tvm.s_tir import meta_schedule as ms

from mschedx import compat
from mschedx.cost import TVMCostModel
from mschedx.search import ConstrainedRandom
from mschedx.space import Resolver


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


class Remembers:
    """A cost model that keeps what it was last taught, and knows nothing."""

    def __init__(self):
        self.measured = ()

    def ready(self, task):
        return False

    def learn(self, task, measured):
        self.measured = measured

    def score(self, task, asked):
        raise AssertionError("it is never ready")

    save = load = score

    @property
    def latencies(self):
        """By the config of each trial."""
        return {
            tuple(config): seconds
            for part in self.measured
            for config, seconds in zip(part.configs.tolist(), part.latency_s.tolist())
        }


def test_results_are_of_the_candidates_that_they_are_given_with():
    """A loop of one's own: two batches ahead, and sorted before they run."""
    model = Remembers()
    one = context(ConstrainedRandom(batch=4), gemm(), "a")
    one.pre_tuning(max_trials=8, num_trials_per_iter=4, cost_model=TVMCostModel(model))
    batches = [list(one.generate_measure_candidates()) for _ in range(2)]
    resolver = Resolver.of_space(one.mod, target(), "post-order-apply")
    expected = {}
    for number, batch in enumerate(batches):
        seconds = [1e-3 * (i + 1 + 4 * number) for i in range(4)]
        results = [ms.runner.RunnerResult([s], None) for s in seconds]
        found = resolver.resolve([candidate.sch.trace for candidate in batch[::-1]])
        expected |= zip([tuple(config.tolist()) for config in found.configs], seconds)
        one.notify_runner_results(batch[::-1], results)
    one.post_tuning()
    assert len(expected) == 8
    assert model.latencies == expected


def test_results_of_other_programs_are_refused():
    one = context(ConstrainedRandom(batch=2), relu(128), "a")
    other = context(ConstrainedRandom(batch=2), relu(96), "b")
    begin(one)
    begin(other)
    one.generate_measure_candidates()
    foreign = other.generate_measure_candidates()
    results = [ms.runner.RunnerResult([1e-3], None)] * len(foreign)
    with pytest.raises(ValueError, match="that were never proposed"):
        one.notify_runner_results(foreign, results)
