"""Two opinions as one score: weights, what they are earned by, scales."""

import numpy as np
import pytest
import torch
from first_guess import FirstGuess
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import ToySketch

from mschedx.search.blend import FADE, Blend, BlendedScorer, Scale, Skill, share
from mschedx.search.history import History
from mschedx.search.points import SketchSet
from mschedx.search.scoring import ArrayScorer, NoScorer

accuracies = st.floats(0, 1)
KNOWS_NOTHING = Skill(0.5, 100)


class Told(FirstGuess):
    """Says what a function of the configs says, and what it is known to have got right."""

    def __init__(self, says, accuracy=None):
        super().__init__()
        self.says, self.accuracy = says, accuracy

    def score(self, task, asked):
        return np.concatenate([self.says(configs) for _, configs in asked])

    def skill(self):
        return self.accuracy


def first_column(configs):
    return configs[:, 0].astype(float)


def scorer(says, space, accuracy=None):
    return ArrayScorer(Told(says, accuracy), space)


@settings(deadline=None)
@given(accuracies, accuracies)
def test_weights_are_shares_and_the_better_opinion_has_the_greater(draft, model):
    found = share(Skill(draft, 1), Skill(model, 1))
    assert 0 <= found <= 1
    if model > draft and model > 0.5:
        assert found >= 0.5
    assert found == pytest.approx(1 - share(Skill(model, 1), Skill(draft, 1)))


@settings(deadline=None)
@given(st.floats(0.51, 0.99))
def test_a_perfect_opinion_takes_over_and_one_that_knows_nothing_is_left_out(other):
    assert share(Skill(other, 1), Skill(1.0, 1)) == 1
    assert share(Skill(1.0, 1), Skill(other, 1)) == 0
    assert share(Skill(other, 1), KNOWS_NOTHING) == 0
    assert share(KNOWS_NOTHING, Skill(other, 1)) == 1


def test_an_opinion_that_is_wrong_more_often_than_right_is_left_out():
    assert share(Skill(0.6, 1), Skill(0.1, 1)) == 0
    assert share(Skill(0.1, 1), Skill(0.2, 1)) == 0.5


def test_two_perfect_opinions_and_two_useless_ones_share():
    assert share(Skill(1.0, 1), Skill(1.0, 1)) == 0.5
    assert share(KNOWS_NOTHING, KNOWS_NOTHING) == 0.5


def test_the_weights_are_those_of_the_best_linear_prediction():
    """Of two noisy readings of one normal variable, against least squares."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=2000)
    readings = [truth + noise * rng.normal(size=2000) for noise in (0.5, 1.5)]
    skills = [Skill(0.5, 0).after(np.exp(-truth), reading) for reading in readings]
    standardised = np.stack([Scale.of(reading)(reading) for reading in readings], axis=1)
    fitted = np.linalg.lstsq(standardised, truth, rcond=None)[0]
    assert share(*skills) == pytest.approx(fitted[1] / fitted.sum(), abs=0.03)


def test_a_round_counts_by_its_trials_and_earlier_ones_fade():
    latency_s = np.array([1.0, 2.0, 3.0, 4.0])
    right = Skill(0.5, 4).after(latency_s, -latency_s)
    before = FADE * 4
    assert right.trials == before + 4
    assert right.accuracy == pytest.approx((before * 0.5 + 4) / (before + 4))
    skill = Skill(0.5, 16)
    for _ in range(60):
        skill = skill.after(latency_s, -latency_s)
    assert skill.accuracy > 0.99


@pytest.mark.parametrize("latency_s", [[], [1.0], [np.inf, np.inf, 1.0], [2.0, 2.0, 2.0]], ids=str)
def test_a_round_without_two_different_latencies_says_nothing(latency_s):
    skill = Skill(0.7, 10)
    assert skill.after(np.array(latency_s), np.arange(float(len(latency_s)))) is skill


def test_what_failed_is_left_out_and_equal_scores_know_nothing():
    latency_s = np.array([1.0, 2.0, np.inf])
    assert Skill(0.0, 0).after(latency_s, np.array([2.0, 1.0, 3.0])) == Skill(1.0, 2)
    assert Skill(0.0, 0).after(latency_s, np.ones(3)) == Skill(0.5, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Skill(1.5, 0), r"accuracy in \[0, 1\], got 1.5"),
        (lambda: Skill(np.nan, 0), r"accuracy in \[0, 1\], got nan"),
        (lambda: Skill(0.5, -1), "trials >= 0, got -1"),
        (lambda: Scale.of(np.array([1.0, np.nan])), "got 1 of 2 that are not"),
        (lambda: Skill(0.5, 1).after(np.ones(2) * [1, 2], np.full(2, np.nan)), "got nan for 2"),
        (lambda: BlendedScorer(NoScorer(), NoScorer(), 1.2), r"share in \[0, 1\], got 1.2"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@settings(deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=30), st.floats(0.1, 10))
def test_a_scale_keeps_the_order_and_forgets_units(values, factor):
    scores = np.array(values) / 8
    standardised = Scale.of(scores)(scores)
    order = np.argsort(scores, kind="stable")
    assert (np.diff(standardised[order]) >= 0).all()
    rescaled = factor * scores
    assert Scale.of(rescaled)(rescaled) == pytest.approx(standardised, abs=1e-6)


def test_of_positive_scores_what_counts_is_by_which_factor_they_differ():
    scores = np.array([1e-9, 1e-7, 1e-5])
    assert np.diff(Scale.of(scores)(scores), 2) == pytest.approx([0.0])
    assert Scale.of(scores)(np.array([0.0])) < -10, "no score of 0 among them, and one behind them"


def test_of_one_config_and_of_equal_scores_a_scale_says_nothing():
    assert Scale.of(np.array([3.0]))(np.array([3.0, 5.0])).tolist() == [0.0, 0.0]
    assert Scale.of(np.full(7, 0.1))(np.full(2, 0.1)).tolist() == [0.0, 0.0]
    assert Scale.of(np.empty(0))(np.array([1.0])).tolist() == [0.0]


def test_a_blend_is_one_opinion_where_the_other_has_no_weight_or_says_nothing():
    space = SketchSet([ToySketch()])
    points = space.sample(200, np.random.default_rng(0))
    draft = scorer(first_column, space)
    model = scorer(lambda c: 1e3 * c[:, 3].astype(float), space)
    flat = scorer(lambda c: np.ones(len(c)), space)
    for only, blended in (
        (draft, BlendedScorer(draft, model, 0.0)),
        (model, BlendedScorer(draft, model, 1.0)),
        (draft, BlendedScorer(draft, flat, 0.5)),
    ):
        order = np.argsort(only.score(points), kind="stable")
        assert (np.diff(blended.score(points)[order]) >= -1e-9).all()


def test_children_are_scored_on_the_scale_of_the_pool():
    space = SketchSet([ToySketch()])
    rng = np.random.default_rng(0)
    pool, children = space.sample(100, rng), space.sample(10, rng)
    blended = BlendedScorer(scorer(first_column, space), scorer(first_column, space), 0.3)
    first = blended.score(pool)
    both = BlendedScorer(scorer(first_column, space), scorer(first_column, space), 0.3)
    both.score(pool)
    assert np.array_equal(blended.score(children), both.score(children))
    assert np.array_equal(blended.score(pool), first)


def measured(blend, space, history, speed, rounds, rng, **accuracy):
    """Propose by both and measure, some rounds; the share that the model ends with."""
    draft = scorer(lambda c: c[:, 3].astype(float), space, accuracy.get("draft"))
    model = scorer(first_column, space, accuracy.get("model"))
    for _ in range(rounds):
        blended = blend.scorer(draft, model)
        batch = space.sample(8, rng).distinct(history.tried)
        blend.expect(batch, blended)
        history.add(batch, 1 / speed(batch.configs))
        blend.observe(history)
    return blend.scorer(draft, model).share


def test_the_opinion_that_turns_out_right_takes_over():
    rng = np.random.default_rng(0)
    space = SketchSet([ToySketch(m=64, n=192, inner=10**6)])
    right = measured(Blend(), space, History.of(space), lambda c: 1.0 + c[:, 0], 30, rng)
    wrong = measured(Blend(), space, History.of(space), lambda c: 1.0 + c[:, 3], 30, rng)
    assert right > 0.8
    assert wrong < 0.1


def test_before_any_trial_what_is_known_of_both_decides():
    space = SketchSet([ToySketch()])
    args = space, History.of(space), None, 0, None
    assert measured(Blend(), *args) == 0, "of a new model nothing is known: the draft alone"
    assert measured(Blend(), *args, draft=0.75, model=0.75) == pytest.approx(0.5)
    assert measured(Blend(), *args, draft=0.6, model=0.9) > 0.9


def test_what_was_not_predicted_before_it_was_measured_does_not_count():
    space = SketchSet([ToySketch()])
    blend, history = Blend(), History.of(space)
    draft, model = scorer(first_column, space), scorer(first_column, space)
    blend.scorer(draft, model)
    before = blend.skills
    history.add(space.sample(20, np.random.default_rng(0)), np.arange(1.0, 21.0))
    blend.observe(history)
    assert blend.skills == before


class Sloped(Told):
    """Says the same of relaxed configs, with slopes."""

    def relaxed_score(self, task, sketch, configs):
        return self.says(configs)


@pytest.mark.parametrize("of_model", [0.0, 0.3, 1.0])
def test_slopes_are_those_of_both(of_model):
    space = SketchSet([ToySketch()])
    points = space.sample(20, np.random.default_rng(0))
    draft, model = (
        ArrayScorer(Sloped(says), space)
        for says in (lambda x: 2.0 ** (x[:, 0] / 8), lambda x: 3.0 - x[:, 0])
    )
    both = BlendedScorer(draft, model, of_model)
    assert both.differentiable
    assert not BlendedScorer(draft, scorer(first_column, space), of_model).differentiable
    x = torch.tensor(points.configs, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="to be scored before relaxed"):
        both.relaxed_score(0, x)
    exact = both.score(points)
    relaxed = both.relaxed_score(0, x)
    np.testing.assert_allclose(relaxed.detach().numpy(), exact, atol=1e-12)
    relaxed.sum().backward()
    moved = x.detach().clone()
    moved[:, 0] += 1e-4
    slope = (both.relaxed_score(0, moved) - relaxed.detach()) / 1e-4
    np.testing.assert_allclose(x.grad[:, 0].numpy(), slope.numpy(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("of_model", [0.0, 0.3, 1.0])
def test_a_descent_asks_a_draft_now_and_then_and_never_one_without_a_say(of_model):
    space = SketchSet([ToySketch()])
    points = space.sample(20, np.random.default_rng(0))
    asked = {"draft": 0, "model": 0}

    def counted(name, says):
        def score(x):
            asked[name] += torch.is_tensor(x)
            return says(x)

        return ArrayScorer(Sloped(score), space)

    draft = counted("draft", lambda x: 2.0 ** (x[:, 0] / 8))
    both = BlendedScorer(draft, counted("model", lambda x: 3.0 - x[:, 0]), of_model)
    both.score(points)
    slopes = []
    for score in (both.lagging(0, 2), both.relaxed_score):
        x = torch.tensor(points.configs, dtype=torch.float64, requires_grad=True)
        given = (x, 0.5) if score != both.relaxed_score else (0, x, 0.5)
        score(*given).sum().backward()
        slopes.append(x.grad.numpy())
    np.testing.assert_allclose(slopes[0], slopes[1])
    asked.update(draft=0, model=0)
    descending = both.lagging(0, 2)
    for _ in range(4):
        descending(torch.tensor(points.configs, dtype=torch.float64, requires_grad=True), 0.5)
    assert asked == {"draft": 2 * (of_model < 1), "model": 4 * (of_model > 0)}


def test_an_opinion_without_a_width_has_no_slope():
    scale = Scale.of(np.full(4, 7.0))
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    scale.relaxed(x).sum().backward()
    assert (x.grad == 0).all()
