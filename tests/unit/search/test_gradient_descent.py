"""Gradient descent on toys and real sketches; facts of felix.md section 9."""

import logging

import numpy as np
import pytest
import torch
from toy import ToySketch, latency

from mschedx.cost import HeronXGB
from mschedx.search import Descent, DescentConfig, GradientDescent
from mschedx.search.descent import Annealing, Group, descend
from mschedx.search.history import History
from mschedx.search.points import SketchSet
from mschedx.search.pool import Scored
from mschedx.search.relaxed_sketch import RelaxedSketch
from mschedx.search.request import Request
from mschedx.search.scoring import ArrayScorer, NoScorer

SMALL = DescentConfig(n_seeds=8, n_steps=12, samples=24)


class Valley:
    """Latency rises with the squared distance, in octaves, from one config; knows it at once."""

    def __init__(self, goal, broken=None):
        self.goal = np.log2(np.maximum(goal, 1.0))
        self.broken, self.scored = broken, 0

    def ready(self, task):
        return True

    def learn(self, task, measured):
        pass

    def score(self, task, asked):
        found = []
        for sketch, configs in asked:
            x = torch.tensor(configs, dtype=torch.float64)
            found.append(self.relaxed_score(task, sketch, x).detach().numpy())
        self.scored += sum(map(len, found))
        return np.nan_to_num(np.concatenate(found))

    def relaxed_score(self, task, sketch, configs):
        if self.broken is not None:
            return self.broken(configs)
        logs = torch.log2(configs.clamp(min=1.0))
        return -((logs - torch.tensor(self.goal)) ** 2).sum(dim=1)


def setting(sketches=None, goal=(4, 2, 2, 3, 1, 16, 16, 8), model=None):
    space = SketchSet(sketches or [ToySketch()])
    model = model or Valley(np.array(goal))
    return space, model, ArrayScorer(model, space), History.of(space)


def test_fact_11_descent_and_rounding_reach_the_optimum_of_a_convex_cost():
    """From 95 % of the seeds, each alone; of 20 valleys, none with its floor on the lattice."""
    sketch = ToySketch(unroll=(16,), vector=(4,))
    every, rng = sketch.space, np.random.default_rng(0)
    search = Descent(DescentConfig())
    region = RelaxedSketch(sketch)
    reached, near = [], []
    for goal in sketch.sample(20, rng):
        model = Valley(goal * rng.uniform(0.8, 1.25, len(goal)))
        space, _, scorer, _ = setting([sketch], model=model)

        def score(x, width, model=model):
            return model.relaxed_score(None, sketch, x)

        scores = model.score(None, [(sketch, every)])
        seeds = sketch.sample(10, rng)
        (passed,) = descend([Group(region, score, seeds)], search.config.annealing)
        for seed in range(len(seeds)):
            rounded = space.lift(0, region.rounded(passed[seed :: len(seeds)], rng))
            found = search.climb(Scored.by(scorer, rounded).best(8), space, scorer)
            reached.append(found.scores.max() >= scores.max() - 1e-9)
            near.append(scorer.score(rounded).max() >= np.quantile(scores, 0.95))
    assert np.mean(reached) >= 0.95
    # Before anything is changed by hand, too, the way leads among the best twentieth.
    assert np.mean(near) >= 0.95


def test_fact_13_descent_lowers_the_exact_cost_at_rounded_points():
    sketch = ToySketch()
    space, model, scorer, _ = setting([sketch])
    region, rng = RelaxedSketch(sketch), np.random.default_rng(1)
    seeds = sketch.sample(30, rng)

    def score(x, width):
        return model.relaxed_score(None, sketch, x)

    annealing = Annealing(48, 0.5, 0.05, 0.5, 0.05, 5.0)
    (passed,) = descend([Group(region, score, seeds)], annealing)
    last = [region.rounded(passed[i : i + 1], rng) for i in range(len(seeds))]
    ends = scorer.score(space.lift(0, np.concatenate(last)))
    starts = scorer.score(space.lift(0, seeds))
    assert (ends >= starts).mean() > 0.9
    assert np.median(ends - starts) > 1.0


def test_fact_9_what_is_proposed_first_scores_best():
    """Points that are tried, broken or invalid are left out with their scores."""
    space, _, scorer, history = setting()
    rng = np.random.default_rng(0)
    tried = space.sample(20, rng).distinct()
    history.add(tried, 1.0 + rng.random(len(tried)))
    greedy = {"near_share": 0.0, "niche_share": 1.0, "epsilon": 0.0}
    search = Descent(DescentConfig(n_seeds=8, n_steps=12, samples=24, **greedy))
    points = search.propose(Request(10, space, history, scorer, rng))
    assert not set(points.codes()) & history.tried
    assert space.is_valid(points).all()
    scores = scorer.score(points)
    assert (np.diff(scores) <= 1e-12).all()
    assert len(points.distinct()) == len(points) >= 10


def test_fact_10_nothing_is_proposed_twice_across_rounds():
    space, _, scorer, history = setting([ToySketch(), ToySketch(m=8)])
    search, rng, seen = Descent(SMALL), np.random.default_rng(0), set()
    for _ in range(5):
        points = search.propose(Request(8, space, history, scorer, rng))
        chosen = points.take(np.arange(8))
        assert not seen & set(chosen.codes())
        seen |= set(chosen.codes())
        history.add(chosen, 1e-3 * (1 + rng.random(8)))
    assert len(seen) == 40


def test_fact_15_the_same_seed_gives_the_same_candidates():
    found = []
    for _ in range(2):
        space, _, scorer, history = setting([toy_with_key("a"), toy_with_key("b")])
        rng = np.random.default_rng(5)
        tried = space.sample(6, rng).distinct()
        history.add(tried, 1.0 + rng.random(len(tried)))
        found.append(Descent(SMALL).propose(Request(8, space, history, scorer, rng)))
    assert np.array_equal(found[0].configs, found[1].configs)
    assert np.array_equal(found[0].sketch, found[1].sketch)


def toy_with_key(key):
    sketch = ToySketch()
    sketch.key = key
    return sketch


@pytest.mark.parametrize("most", [1, 3])
def test_a_round_goes_down_in_the_best_sketches_and_one_by_chance(most, monkeypatch):
    by_number = [ToySketch() for _ in range(8)]
    space = SketchSet(by_number)
    model = Valley(np.array((4, 2, 2, 3, 1, 16, 16, 8)))
    scorer, history = ArrayScorer(model, space), History.of(space)
    gone = []

    def counted(groups, schedule):
        gone.append([by_number.index(group.region.sketch) for group in groups])
        return descend(groups, schedule)

    monkeypatch.setattr("mschedx.search.descent.descend", counted)
    config = DescentConfig(n_seeds=12, n_sketches=most, n_steps=4, samples=64)
    first = space.sample(64, np.random.default_rng(0)).distinct()
    best = first.sketch[np.argmax(scorer.score(first))]
    Descent(config).propose(Request(8, space, history, scorer, np.random.default_rng(0)))
    (numbers,) = gone
    assert 1 <= len(numbers) <= most
    assert best in numbers


def test_after_the_first_round_descents_are_short(monkeypatch):
    taken = []

    def counted(groups, schedule):
        taken.append(schedule.steps)
        return descend(groups, schedule)

    monkeypatch.setattr("mschedx.search.descent.descend", counted)
    space, _, scorer, history = setting()
    search, rng = Descent(DescentConfig(n_steps=9, later_steps=3, samples=16)), rng_of(0)
    for _ in range(3):
        batch = search.propose(Request(4, space, history, scorer, rng)).take(np.arange(4))
        history.add(batch, 1.0 + rng.random(4))
    assert taken == [9, 3, 3]


def rng_of(seed):
    return np.random.default_rng(seed)


class OneSketchIsBetter(Valley):
    """A valley whose floor is lower in one sketch, whatever the config."""

    def __init__(self, goal, best):
        super().__init__(goal)
        self.best = best

    def relaxed_score(self, task, sketch, configs):
        found = super().relaxed_score(task, sketch, configs)
        return found + (100.0 if sketch is self.best else 0.0)


def batch_of(history_at=None, **changes):
    """A batch of 8 in two sketches, of which a model is sure that one is better."""
    two = [ToySketch(), ToySketch()]
    model = OneSketchIsBetter(np.array((4, 2, 2, 3, 1, 16, 16, 8)), two[0])
    space, _, scorer, history = setting(two, model=model)
    if history_at is not None:
        history.add(space.lift(1, np.array([history_at])), np.array([1.0]))
    config = DescentConfig(samples=64, epsilon=0.0, **changes)
    asked = Descent(config).propose(Request(8, space, history, scorer, rng_of(0)))
    return space, asked.take(np.arange(8))


def test_a_batch_is_not_all_of_one_niche():
    _, sure = batch_of(niche_share=1.0, near_share=0.0)
    assert (sure.sketch == 0).all()
    _, spread = batch_of(niche_share=0.25, near_share=0.0)
    assert 0 < (spread.sketch == 1).sum() < 8


def test_a_share_of_a_batch_is_near_what_was_measured():
    """However much better the model says it is elsewhere."""
    measured = [16, 1, 1, 48, 1, 1, 0, 1]
    for share in (0.0, 0.5):
        space, batch = batch_of(measured, niche_share=1.0, near_share=share)
        assert (batch.sketch == 1).sum() == 8 * share
        own = batch.configs[batch.sketch == 1][:, :6]
        tiles = np.abs(np.log2(own) - np.log2(measured[:6]))
        # Within reach by descent, rounded, or one change away.
        one_change = (tiles[:, :3].max(axis=1) == 0) | (tiles[:, 3:].max(axis=1) == 0)
        assert (one_change | (tiles.max(axis=1) <= 1.6 + 1.0)).all()
        assert space.is_valid(batch).all()


def test_choices_are_enumerated_and_never_relaxed():
    sketch = ToySketch()
    region = RelaxedSketch(sketch)
    assert set(region.choices) == {6, 7}
    rng = np.random.default_rng(0)
    (config,) = sketch.sample(1, rng)
    varied = region.with_choices(config[None], 16, rng)
    expected = sketch.space
    expected = expected[(expected[:, :6] == config[:6]).all(axis=1)]
    assert {row.tobytes() for row in varied} | {config.tobytes()} == {
        row.tobytes() for row in expected
    }
    few = region.with_choices(config[None], 2, rng)
    assert len(few) <= 2

    seen = []

    def score(x, width):
        seen.append(x.detach().numpy()[:, 6:].copy())
        return x.sum(dim=1)

    seeds = sketch.sample(4, rng)
    descend([Group(region, score, seeds)], Annealing(5, 0.5, 0.1, 0.5, 0.1, 5.0))
    assert all(np.array_equal(some, seeds[:, 6:]) for some in seen)
    # The best choices are found although no slope leads there.
    space, _, scorer, history = setting([sketch], goal=(4, 2, 2, 3, 1, 16, 64, 8))
    best = Descent(SMALL).propose(Request(4, space, history, scorer, rng))
    assert best.configs[0, 6] == 64


# Bad input.


def test_a_model_without_gradients_is_refused_before_anything_is_measured():
    space = SketchSet([ToySketch()])
    rng, history = np.random.default_rng(0), History.of(space)
    for scorer in (ArrayScorer(HasNoSlope(), space), NoScorer()):
        with pytest.raises(TypeError, match=r"cost\.FelixMLP\(\).*fallback=\"score\""):
            Descent(SMALL).propose(Request(4, space, history, scorer, rng))


class HasNoSlope:
    def ready(self, task):
        return True

    def learn(self, task, measured):
        pass

    def score(self, task, asked):
        return np.concatenate([-np.log(latency(configs)) for _, configs in asked])

    def save(self, path):
        pass

    def load(self, path):
        pass


def test_with_fallback_a_model_without_gradients_chooses_by_its_scores():
    space = SketchSet([ToySketch()])
    rng, history = np.random.default_rng(0), History.of(space)
    tried = space.sample(8, rng).distinct()
    history.add(tried, latency(tried.configs))
    search = Descent(DescentConfig(fallback="score", epsilon=0.0))
    chosen = search.propose(Request(8, space, history, ArrayScorer(HasNoSlope(), space), rng)).take(
        np.arange(8)
    )
    drawn = space.sample(500, rng)
    assert latency(chosen.configs).max() < np.quantile(latency(drawn.configs), 0.2)
    assert len(search.propose(Request(8, space, history, NoScorer(), rng))) == 8


def test_a_space_without_numbers_is_searched_by_its_choices():
    sketch = ToySketch(m=1, n=1, vector=(1,))
    assert not RelaxedSketch(sketch).movable.any()
    space, _, scorer, history = setting([sketch], goal=(1, 1, 1, 1, 1, 1, 64, 1))
    points = Descent(SMALL).propose(Request(8, space, history, scorer, np.random.default_rng(0)))
    assert len(points) == 3
    assert points.configs[0, 6] == 64


def test_constraints_that_leave_one_config_leave_one_proposal():
    sketch = ToySketch(m=1, n=8, unroll=(0,), vector=(8,), inner=8)
    assert sketch.count() == 1
    space, _, scorer, history = setting([sketch])
    search, rng = Descent(SMALL), np.random.default_rng(0)
    points = search.propose(Request(4, space, history, scorer, rng))
    assert len(points) == 1
    history.add(points, np.array([1e-3]))
    assert not len(search.propose(Request(4, space, history, scorer, rng)))


@pytest.mark.parametrize(
    ("broken", "warns"),
    [
        (lambda x: x.sum(dim=1) * 0, False),
        (lambda x: torch.zeros(len(x), dtype=torch.float64), False),
        (lambda x: (x - x).sqrt().sum(dim=1), True),
        (lambda x: x.sum(dim=1) * float("nan"), True),
    ],
    ids=["flat", "constant", "infinite slope", "not a number"],
)
def test_slopes_that_say_nothing_move_nothing(broken, warns, caplog):
    space, _, scorer, history = setting(model=Valley(np.ones(8), broken))
    with caplog.at_level(logging.WARNING, logger="tvm.s_tir.meta_schedule.mschedx.search"):
        points = Descent(SMALL).propose(
            Request(8, space, history, scorer, np.random.default_rng(0))
        )
    assert len(points) >= 8
    assert space.is_valid(points).all()
    assert ("slopes were not finite" in caplog.text) == warns


def test_before_a_model_is_ready_the_search_samples():
    class Later(Valley):
        def ready(self, task):
            return False

    space, model, scorer, history = setting(model=Later(np.ones(8)))
    points = Descent(SMALL).propose(Request(8, space, history, scorer, np.random.default_rng(0)))
    assert len(points.distinct()) == 8
    assert model.scored == 0


class Unready(Valley):
    """Knows nothing before it has learnt."""

    known = False

    def ready(self, task):
        return self.known


def test_before_a_model_is_ready_the_draft_leads():
    space, model, scorer, history = setting(model=Unready(np.ones(8)))
    goal = np.array((4, 2, 2, 3, 1, 16, 16, 8))
    search = Descent(SMALL, Valley(goal))
    points = search.propose(Request(8, space, history, scorer, np.random.default_rng(0)))
    assert len(points.distinct()) >= 8
    assert model.scored == 0
    judge = ArrayScorer(Valley(goal), space)
    samples = judge.score(space.sample(200, np.random.default_rng(1)))
    assert np.sort(judge.score(points.take(np.arange(8))))[2:].min() > np.quantile(samples, 0.9)


def test_a_draft_that_knows_nothing_either_leaves_samples():
    space, model, scorer, history = setting(model=Unready(np.ones(8)))
    draft = Unready(np.ones(8))
    points = Descent(SMALL, draft).propose(
        Request(8, space, history, scorer, np.random.default_rng(0))
    )
    assert len(points.distinct()) == 8
    assert (model.scored, draft.scored) == (0, 0)


def test_a_draft_offers_seeds_to_a_model_that_is_ready():
    """A model that sees no difference starts from what the draft prefers."""
    space, _, scorer, history = setting(model=Valley(np.ones(8), broken=lambda x: x.sum(dim=1) * 0))
    goal = np.array((4, 2, 2, 3, 1, 16, 16, 8))
    config = DescentConfig(n_seeds=8, n_steps=1, samples=200, climbs=0, draft_share=0.5)
    seeds = []
    search = Descent(config, Valley(goal))
    kept = search._seeds
    search._seeds = lambda *given: seeds.append(kept(*given)) or seeds[0]
    search.propose(Request(8, space, history, scorer, np.random.default_rng(0)))
    judge = ArrayScorer(Valley(goal), space)
    samples = judge.score(space.sample(200, np.random.default_rng(1)))
    assert (judge.score(seeds[0]) > np.quantile(samples, 0.95)).sum() >= 4


def ends_at(truth, model, draft, blend, rounds=4):
    """How good the last of some measured rounds is, by the truth: mean over the batch."""
    space, _, scorer, history = setting(model=model)
    judge, rng = ArrayScorer(truth, space), np.random.default_rng(0)
    search = Descent(DescentConfig(n_steps=16, samples=64, epsilon=0, blend=blend), draft)
    for _ in range(rounds):
        batch = search.propose(Request(8, space, history, scorer, rng)).take(np.arange(8))
        scores = judge.score(batch)
        history.add(batch, np.exp(-scores / 10))
    return scores.mean()


def test_both_lead_each_as_far_as_it_has_ranked_what_was_measured():
    truth, astray = (
        Valley(np.array(goal)) for goal in ((4, 2, 2, 3, 1, 16, 16, 8), (1, 1, 16, 1, 8, 1, 1, 1))
    )
    misled = ends_at(truth, model=astray, draft=truth, blend=False)
    assert ends_at(truth, model=astray, draft=truth, blend=True) > misled + 1
    # And the other way round: the model, of which nothing is known at first, takes over.
    assert ends_at(truth, model=truth, draft=astray, blend=True) > misled + 1


def test_a_device_that_is_not_known_is_sampled_and_it_is_said(caplog, monkeypatch):
    from mschedx.cost.psa import PSAModel
    from mschedx.hardware import Hardware

    def unknown(target):
        raise ValueError('expected a target of kind "llvm" or "cuda", got "vulkan"')

    monkeypatch.setattr(Hardware, "from_target", staticmethod(unknown))
    space, model, scorer, history = setting(model=Unready(np.ones(8)))
    caplog.set_level(logging.INFO)
    search = Descent(SMALL, PSAModel())
    points = search.propose(Request(4, space, history, scorer, np.random.default_rng(0)))
    assert len(points) == 4
    assert model.scored == 0
    assert 'no draft, the search samples: expected a target of kind "llvm"' in caplog.text


def test_a_draft_is_a_cost_model_or_none():
    assert GradientDescent(draft="none").draft is None
    assert type(GradientDescent().draft).__name__ == "PSAModel"
    with pytest.raises(TypeError, match="expected a cost model with the methods"):
        GradientDescent(draft=3)
    with pytest.raises(TypeError, match=r"expected a draft with gradients .* got HeronXGBModel"):
        GradientDescent(draft=HeronXGB())


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_seeds": 0},
        {"n_steps": 0},
        {"later_steps": 0},
        {"draft_every": 0},
        {"reach": 0.0},
        {"near_share": 1.1},
        {"niche_share": 0.0},
        {"niche_share": 1.5},
        {"learning_rate": 0.0},
        {"width": 0.0},
        {"last_width": 1.5},
        {"epsilon": -0.1},
        {"measured_share": 0.8, "random_share": 0.3},
        {"measured_share": 0.5, "random_share": 0.3, "draft_share": 0.3},
        {"draft_share": -0.1},
        {"fallback": "hope"},
        {"batch": 0},
        {"climbs": -1},
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"expected|is not a valid"):
        GradientDescent(**wrong)
