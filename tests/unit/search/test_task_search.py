"""The round around a search: heron.md section 9, facts 10 and 14, on a sketch without TVM."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hash_seeds import printed_under_hash_seeds
from toy import ToySketch, latency

from mschedx.search.base import Materializer, TaskSearch
from mschedx.search.constrained_evolution import Evolution, EvolutionConfig
from mschedx.search.constrained_random import RandomSearch
from mschedx.search.history import History
from mschedx.search.points import SketchSet
from mschedx.search.repaired_genetic import Genetic, GeneticConfig
from mschedx.search.request import Request
from mschedx.search.scoring import CandidateScorer, NoScorer

ROOT = Path(__file__).parents[3]
SUPPORT = ROOT / "tests" / "support"
SEARCHES = {
    "evolution": lambda: Evolution(EvolutionConfig(population=40, generations=2)),
    "random keys": lambda: Evolution(EvolutionConfig(population=40, generations=2, keys="random")),
    "local moves": lambda: Evolution(EvolutionConfig(population=40, generations=2, neighbours=2)),
    "genetic": lambda: Genetic(GeneticConfig(population=40, generations=2)),
    "random": RandomSearch,
}


class TrueScorer:
    """Knows the landscape; what is tested here is the round, not a model."""

    capacity = None
    ready = False

    def __init__(self, space):
        self.space = space

    def learn(self, history):
        self.ready = len(history) > 0

    def score(self, points):
        return 1.0 / latency(points.configs)

    def importance(self):
        return np.ones((len(self.space), self.space.width))


def start(search, seed=0, trials=33, batch=32, sketches=None, scorer=TrueScorer, program=hash):
    space = SketchSet(sketches or [ToySketch(), ToySketch(m=8)])
    return TaskSearch(
        space,
        search,
        scorer(space),
        Materializer(space, program),
        trials=trials,
        batch=batch,
        rng=np.random.default_rng(seed),
    )


def finish(task):
    """Run to the end; returns the configs of every batch."""
    batches = []
    while batch := task.next_batch():
        configs = np.array([candidate.schedule.mod for candidate in batch])
        batches.append(configs)
        task.tell(latency(configs))
    return batches


@pytest.mark.parametrize(
    ("name", "trials"),
    [(name, trials) for name in SEARCHES for trials in (32, 33)] + [("evolution", 2000)],
)
def test_exactly_t_trials_and_no_program_twice(name, trials):
    """Fact 14: T = 2000, 32, 33."""
    batches = finish(start(SEARCHES[name](), trials=trials))
    rows = np.concatenate(batches)
    assert len(rows) == trials == len(np.unique(rows, axis=0))
    assert [len(b) for b in batches] == [32] * (trials // 32) + [trials % 32] * (trials % 32 > 0)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_same_seed_gives_the_same_candidates(name):
    """Fact 10."""
    first, second, other = (
        np.concatenate(finish(start(SEARCHES[name](), seed=seed))) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_space_smaller_than_the_budget_is_measured_once_and_ends(name):
    sketches = [ToySketch(m=2, n=4), ToySketch(m=2, n=2)]
    total = len({tuple(c) for sketch in sketches for c in sketch.space.tolist()})
    task = start(SEARCHES[name](), trials=500, sketches=sketches)
    rows = np.concatenate(finish(task))
    assert len(rows) == total == len(np.unique(rows, axis=0))
    assert task.next_batch() is None


@pytest.mark.parametrize("name", SEARCHES)
def test_candidates_that_do_not_materialise_are_replaced(name):
    task = start(SEARCHES[name](), trials=70, sketches=[ToySketch(broken=60)])
    batches = finish(task)
    assert [len(b) for b in batches] == [32, 32, 6]
    assert task.materialize.failures["toy"] > 10


def test_a_space_in_which_nothing_materialises_ends():
    task = start(RandomSearch(), sketches=[ToySketch(broken=100)])
    assert task.next_batch() is None


def test_configs_of_one_program_count_as_one():
    """Two configs may lower to the same program; only one of them is measured (fact 14)."""
    task = start(Evolution(EvolutionConfig()), trials=60, program=lambda config: hash(config[:7]))
    rows = np.concatenate(finish(task))
    assert len(rows) == 60 == len(np.unique(rows[:, :7], axis=0))


def test_programs_and_points_of_an_earlier_run_are_not_measured_again():
    first = start(RandomSearch(), trials=64)
    before = np.concatenate(finish(first))
    space = first.space
    again = TaskSearch(
        space,
        Evolution(EvolutionConfig()),
        TrueScorer(space),
        Materializer(space, hash),
        trials=64,
        batch=32,
        rng=np.random.default_rng(5),
        history=first.history,
        programs=[hash(tuple(row)) for row in before.tolist()],
    )
    after = np.concatenate(finish(again))
    assert not {tuple(r) for r in before.tolist()} & {tuple(r) for r in after.tolist()}
    # The earlier run is known from the start: its best is beaten by evolution, not by luck.
    assert latency(after[:32]).min() < latency(before).min()


def test_failed_trials_are_kept_and_do_not_stop_the_search():
    task = start(Evolution(EvolutionConfig()), trials=64, scorer=lambda space: NoScorer())
    while batch := task.next_batch():
        task.tell(np.full(len(batch), np.inf))
    assert len(task.history) == 64
    assert not task.history.succeeded.any()


def test_results_that_do_not_match_the_batch_are_refused():
    task = start(RandomSearch())
    task.next_batch()
    with pytest.raises(ValueError, match="expected results of 32 candidates, got 3"):
        task.tell(np.ones(3))


class TestResultsByProgram:
    """Whoever measures may sort a batch, measure a part of it, or be batches behind."""

    def learnt(self, task):
        return dict(zip(task.history.points.codes(), task.history.latency_s.tolist()))

    def told(self, task, batch):
        """Tell a latency of each candidate that its config decides; by code."""
        found = latency(np.array([candidate.schedule.mod for candidate in batch]))
        task.tell(found, [candidate.program for candidate in batch])
        return dict(zip([candidate.point.codes()[0] for candidate in batch], found.tolist()))

    def test_a_batch_in_another_order(self):
        task = start(RandomSearch())
        assert self.told(task, task.next_batch()[::-1]) == self.learnt(task)
        assert len(task.history) == 32

    def test_two_batches_at_once_and_one_in_parts(self):
        task = start(RandomSearch(), trials=24, batch=8)
        one, two = task.next_batch(), task.next_batch()
        expected = self.told(task, one)
        assert self.learnt(task) == expected
        expected |= self.told(task, two[5:])
        expected |= self.told(task, task.next_batch())
        assert self.learnt(task) == expected
        assert len(expected) == 8 + 3 + 8
        assert task.next_batch() is None
        expected |= self.told(task, two[:5])
        assert self.learnt(task) == expected

    @pytest.mark.parametrize("wrong", ["told", "twice", "another"])
    def test_results_of_what_waits_for_none_are_refused_and_nothing_is_learnt(self, wrong):
        task = start(RandomSearch(), trials=24, batch=8)
        told, batch = task.next_batch(), task.next_batch()
        self.told(task, told)
        programs = [candidate.program for candidate in batch]
        odd = {"told": told[0].program, "twice": programs[0], "another": -1}[wrong]
        with pytest.raises(ValueError, match="got 1 of 8 that were never proposed or have theirs"):
            task.tell(np.ones(8), [*programs[:7], odd])
        assert len(task.history) == 8
        assert self.told(task, batch).items() <= self.learnt(task).items()

    def test_what_is_no_latency_is_refused_and_can_be_told_again(self):
        task = start(RandomSearch(), batch=4)
        batch = task.next_batch()
        with pytest.raises(ValueError, match="expected latencies > 0"):
            task.tell(np.array([1.0, 1.0, 1.0, np.nan]), [one.program for one in batch])
        assert self.told(task, batch) == self.learnt(task)


@pytest.mark.parametrize(("name", "value"), [("trials", 0), ("trials", -3), ("batch", 0)])
def test_impossible_budgets_are_refused(name, value):
    with pytest.raises(ValueError, match=f"expected {name} >= 1, got {value}"):
        start(RandomSearch(), **{name: value})


def test_a_model_that_needs_programs_scores_a_bounded_pool():
    sketch = ToySketch()
    space = SketchSet([sketch])
    materialize = Materializer(space, hash)
    asked = []

    def predict(candidates):
        asked.append(len(candidates))
        return 1.0 / latency(np.array([c.schedule.mod for c in candidates]))

    task = TaskSearch(
        space,
        Evolution(EvolutionConfig(pool=128)),
        CandidateScorer(predict, materialize, 128),
        materialize,
        trials=96,
        batch=32,
        rng=np.random.default_rng(0),
    )
    task.next_batch()
    task.tell(np.full(32, 1.0))
    built = sketch.built
    assert task.next_batch() is not None
    assert 64 <= sketch.built - built <= 128 + 32
    assert asked


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda n: np.ones(n + 1), "expected [0-9]+ scores"),
        (lambda n: np.full(n, np.nan), "are not finite"),
        (lambda n: np.ones((n, 2)), "expected [0-9]+ scores"),
    ],
)
def test_nonsense_from_a_cost_model_is_named(scores, message):
    space = SketchSet([ToySketch()])
    materialize = Materializer(space, hash)
    scorer = CandidateScorer(lambda candidates: scores(len(candidates)), materialize, 64)
    history = History.of(space)
    points = space.sample(8, np.random.default_rng(0))
    history.add(points, np.ones(8))
    scorer.learn(history)
    with pytest.raises(ValueError, match=message):
        Evolution(EvolutionConfig()).propose(
            Request(8, space, history, scorer, np.random.default_rng(0))
        )


SCRIPT = """
import numpy as np
from test_task_search import SEARCHES, finish, start
for make in SEARCHES.values():
    print(np.concatenate(finish(start(make(), trials=48))).tolist())
"""


def test_candidates_do_not_depend_on_the_hash_seed():
    """Fact 10, across processes."""
    outputs = printed_under_hash_seeds(SCRIPT, str(Path(__file__).parent))
    assert len(outputs) == 1
    assert "[" in outputs.pop()


class TestFirst:
    """Points to measure before the search is asked."""

    def task(self, space, first, **sizes):
        materialize, rng = Materializer(space, hash), np.random.default_rng(0)
        return TaskSearch(
            space, RandomSearch(), NoScorer(), materialize, rng=rng, first=first, **sizes
        )

    def test_they_come_first_once_and_the_search_goes_on(self):
        space = SketchSet([ToySketch(), ToySketch(m=8)])
        known = space.sample(5, np.random.default_rng(7)).distinct()
        task = self.task(space, known, trials=20, batch=3)
        batches = []
        while batch := task.next_batch():
            batches.append([candidate.point.codes()[0] for candidate in batch])
            task.tell(np.ones(len(batch)))
        flat = [code for batch in batches for code in batch]
        assert flat[: len(known)] == known.codes()
        assert len(flat) == len(set(flat)) == 20

    def test_one_that_is_not_valid_is_measured_but_not_learnt_from(self):
        space = SketchSet([ToySketch()])
        invalid = space.sample(1, np.random.default_rng(7))
        invalid.configs[0, 7] = 3
        task = self.task(space, invalid, trials=4, batch=2)
        batch = task.next_batch()
        assert batch[0].point.codes() == invalid.codes()
        task.tell(np.ones(2))
        assert len(task.history) == 1


def test_configs_that_do_not_materialise_are_said_three_times_and_counted(caplog):
    space = SketchSet([ToySketch(broken=100)])
    materialize = Materializer(space, hash)
    with caplog.at_level(logging.WARNING, "tvm.s_tir.meta_schedule.mschedx.search"):
        found = materialize(space.sample(50, np.random.default_rng(0)))
    assert found == [None] * 50
    assert caplog.text.count("does not materialise") == 3
    assert sum(materialize.failures.values()) >= 40, "equal points are one"


@pytest.mark.parametrize("predicted", [[-3.0, -1.0, -2.0], [2.0, 0.0, 1.0], [2.0, 3.0, 1.0]])
def test_what_has_no_program_scores_below_what_has_one(predicted):
    """Whatever the model's scores are: seconds below 0, or trees' below 0."""
    space = SketchSet([ToySketch()])
    scorer = CandidateScorer(lambda found: predicted, lambda points: [None, 1, 2, None, 3], 8)
    scores = scorer.score(space.sample(5, np.random.default_rng(0)))
    assert scores[[1, 2, 4]].tolist() == predicted
    assert scores[[0, 3]].max() < min(predicted)
