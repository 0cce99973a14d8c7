import numpy as np
import pytest
from dummy import softmax, target
from tvm.s_tir import meta_schedule as ms

from mschedx.cost.base import Measured
from mschedx.cost.heron_xgb import HeronXGBModel
from mschedx.cost.traced_trials import TracedTrials
from mschedx.space import Resolver, sketches


class NoTraces:
    """A model that reads sketches only."""

    def __init__(self):
        self.measured = []

    def ready(self, task):
        return True

    def learn(self, task, measured):
        self.measured = measured

    def score(self, task, asked):
        return np.concatenate([2.0 + np.arange(len(configs)) for _, configs in asked])

    def save(self, path):
        pass

    def load(self, path):
        pass


class TracesToo(NoTraces):
    def learn_traces(self, task, rows):
        self.rows = rows

    def score_traces(self, task, rows):
        return np.full(len(rows), 9.0)


@pytest.fixture(scope="module")
def known():
    return sketches(softmax(), target(), "post-order-apply")[:4]


@pytest.fixture(scope="module")
def candidates(known):
    """Three of each sketch, in turn."""
    rng = np.random.default_rng(0)
    drawn = [sketch.sample(3, rng) for sketch in known]
    return [
        ms.MeasureCandidate(known[s].schedule(drawn[s][i]), []) for i in range(3) for s in range(4)
    ]


def test_trials_are_learnt_by_sketch_in_the_sketches_order(known, candidates):
    trials, model = TracedTrials(Resolver(known)), NoTraces()
    latency_s = 1e-3 * (1.0 + np.arange(12))
    trials.add(candidates[:8], latency_s[:8])
    trials.add(candidates[8:], latency_s[8:])
    trials.teach(model, known[0].task)
    assert [part.sketch.key for part in model.measured] == [sketch.key for sketch in known]
    for s, part in enumerate(model.measured):
        assert part.latency_s.tolist() == latency_s[s::4].tolist()
        for config, candidate in zip(part.configs, candidates[s::4]):
            assert np.array_equal(known[s].config_of(candidate.sch.trace), config)


@pytest.mark.parametrize("make", [NoTraces, TracesToo, HeronXGBModel])
def test_what_fits_no_sketch_is_learnt_and_scored_by_its_trace_or_ranks_last(
    make, known, candidates
):
    trials, model = TracedTrials(Resolver(known[1:])), make()
    task = known[0].task
    trials.add(candidates, 1e-3 * (1.0 + np.arange(12.0)))
    trials.teach(model, task)
    scores = trials.score(model, task, candidates)
    assert scores.shape == (12,)
    others, rest = scores[::4], np.delete(scores, [0, 4, 8])
    if make is NoTraces:
        assert sum(len(part.configs) for part in model.measured) == 9
        assert (others < rest.min()).all()
    elif make is TracesToo:
        assert model.rows.latency_s.tolist() == pytest.approx([1e-3, 5e-3, 9e-3])
        assert (others == 9.0).all()
    else:
        # Measured at 1, 5 and 9 ms, and the trees have seen them.
        assert (np.diff(others) < 0).all()


def test_trials_of_a_search_take_the_place_of_those_of_sketches(known, candidates):
    trials, model = TracedTrials(Resolver(known)), NoTraces()
    trials.add(candidates[:1], np.array([1.0]))
    trials.teach(model, known[0].task)
    before = model.measured
    trials.add(candidates[4:5], np.array([2.0]))
    trials.replace(before)
    trials.add(candidates[8:9], np.array([3.0]))
    trials.teach(model, known[0].task)
    assert model.measured[0].latency_s.tolist() == [1.0, 3.0]


def test_sketches_with_one_key_share_their_trials(known):
    """Such as those of one sketch with a decision fixed in two ways."""
    decision = next(d for d in known[0].decisions if len(d.domain) > 1)
    fixed = [known[0].fix({decision.name: value}) for value in decision.domain[:2]]
    rng = np.random.default_rng(0)
    measured = [Measured(s, s.sample(n, rng), np.full(n, 1e-3 * n)) for s, n in zip(fixed, (3, 2))]
    trials, model = TracedTrials(Resolver(fixed)), NoTraces()
    trials.replace(measured)
    trials.teach(model, known[0].task)
    assert [len(part.configs) for part in model.measured] == [5, 0]
    assert sorted(model.measured[0].latency_s) == pytest.approx([2e-3] * 2 + [3e-3] * 3)
