"""Draft, then verify: pruner.md section 8, facts 8 and 9."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from first_guess import FirstGuess, guess
from toy import ToySketch

from mschedx.search.base import Materializer, TaskSearch
from mschedx.search.blend import share as share_of_model
from mschedx.search.draft_verify import DraftThenVerify, DraftVerify, DraftVerifyConfig
from mschedx.search.history import History
from mschedx.search.mutation import Mutation
from mschedx.search.notes import listening
from mschedx.search.points import SketchSet
from mschedx.search.request import Request
from mschedx.search.scoring import ArrayScorer

PUBLISHED = DraftVerifyConfig.as_published()
SMALL = DraftVerifyConfig(
    population=64, drafts=24, parents=16, batch=8, niche_share=0.5, blend=False, correct=False
)

BLENDED = replace(SMALL, blend=True)


class Learned(FirstGuess):
    """Ready once something was measured."""

    def ready(self, task):
        return any(self.learnt)


def latency(points):
    """What the guess prefers is fast."""
    return 1e-3 * (1001.0 - guess(points.configs))


class TwoDesignSpaces(SketchSet):
    """The second design space opens when the set grows."""

    def __init__(self):
        super().__init__([ToySketch(), ToySketch()], opened=[0])

    def grow(self):
        self.open(1, self.sketches[1])
        return True


class Rounds:
    """One task, round by round, as `TaskSearch` drives a search."""

    def __init__(self, config, draft=None, seed=0, space=None):
        self.space = space or SketchSet([ToySketch(), ToySketch()])
        self.draft, self.verifier = draft or FirstGuess(), Learned()
        self.search = DraftThenVerify(self.draft, config)
        self.history = History.of(self.space)
        self.scorer = ArrayScorer(self.verifier, self.space)
        self.rng = np.random.default_rng(seed)

    def __call__(self, count=10, seconds=latency):
        """Propose, and measure the first ``count``; what was proposed and the passes it took."""
        self.draft.passes.clear()
        self.verifier.passes.clear()
        if len(self.history):
            self.scorer.learn(self.history)
        found = self.search.propose(Request(count, self.space, self.history, self.scorer, self.rng))
        batch = found.take(np.arange(min(count, len(found))))
        self.history.add(batch, seconds(batch))
        return found, list(self.draft.passes), list(self.verifier.passes)


def test_drafts_are_made_anew_when_a_design_space_opens():
    rounds = Rounds(SMALL, space=TwoDesignSpaces())
    assert {*rounds()[0].sketch.tolist()} == {0}
    rounds.space.grow()
    _, drafting, _ = rounds()
    assert drafting, "drafts of the first design space alone would serve two rounds"
    _, drafting, _ = rounds()
    assert drafting, "an even round"
    _, drafting, _ = rounds()
    assert not drafting


def test_a_design_space_that_opens_within_a_round_is_drafted_in_it():
    """As where the first has too few configs for a round."""
    rounds = Rounds(SMALL, space=TwoDesignSpaces())

    def passes():
        rounds.draft.passes.clear()
        rounds.search.propose(Request(8, rounds.space, rounds.history, rounds.scorer, rounds.rng))
        return len(rounds.draft.passes)

    assert passes()
    assert not passes(), "more of the same round"
    rounds.space.grow()
    assert passes()
    assert not passes()


def test_a_draft_takes_three_passes_and_serves_two_rounds():
    """Fact 8."""
    rounds = Rounds(PUBLISHED)
    lasting = None
    for number in range(5):
        before = set(rounds.history.tried)
        _, passes, _ = rounds()
        drafts = rounds.search._drafts
        if number % 2 == 0:
            assert len(passes) == 3
            codes = drafts.points.codes()
            assert len(codes) == len(set(codes)) <= 512
            assert not set(codes) & before
        else:
            assert passes == []
            assert drafts is lasting
        lasting = drafts


def test_verifying_takes_two_passes_and_a_batch_is_nine_of_the_best_and_one_by_chance():
    """Fact 9."""
    rounds = Rounds(PUBLISHED)
    rounds()
    for _ in range(4):
        found, _, passes = rounds()
        assert len(passes) == 2
        assert len(found) <= 20
        scores = guess(found.configs)
        assert (np.diff(scores[:9]) <= 0).all()
        assert (np.diff(scores[10:]) <= 0).all()
        assert scores[:9].min() >= scores[9:].max()
    codes = rounds.history.points.codes()
    assert len(codes) == len(set(codes)) == 50


def test_what_is_verified_holds_drafts_samples_and_the_fastest():
    rounds = Rounds(PUBLISHED)
    for _ in range(3):
        rounds()
    _, _, (start, _) = rounds()
    distinct = 512 + len(rounds.history) - 10
    assert distinct < start <= 512 + 1536 + 153


def test_before_anything_is_learnt_the_best_drafts_are_measured():
    rounds = Rounds(PUBLISHED)
    found, _, passes = rounds()
    assert passes == []
    by_chance = guess(rounds.space.sample(2000, np.random.default_rng(1)).configs)
    assert guess(found.configs[:9]).min() > np.quantile(by_chance, 0.95)


def test_the_verifier_shares_its_say_with_a_draft_that_ranks_better():
    """A verifier that prefers what is slow, and a draft that is right."""
    best = {}
    for blend in (True, False):
        rounds = Rounds(replace(BLENDED, blend=blend))
        rounds.verifier.sign = -1.0
        for _ in range(4):
            rounds()
        found, _, _ = rounds()
        best[blend] = np.median(latency(found.take(np.arange(8))))
    assert best[True] < best[False]


def test_a_verifier_that_ranks_better_takes_over_from_the_draft():
    rounds = Rounds(replace(BLENDED, adapt=False, epsilon=0.5), FirstGuess(-1.0))
    for _ in range(30):
        rounds()
    draft, model = rounds.search._blend.skills
    assert draft.accuracy < 0.3 < 0.7 < model.accuracy
    assert share_of_model(draft, model) == 1


def test_a_draft_that_says_nothing_has_no_share_in_verifying():
    rounds = Rounds(BLENDED, Learned())
    for _ in range(2):
        found, _, _ = rounds()
    assert len(found) >= 8
    assert rounds.search._opinion(rounds.space, rounds.history, rounds.scorer) is rounds.scorer


@pytest.mark.parametrize("count", [3, 200, 500])
def test_a_batch_is_full_however_many_are_considered(count, monkeypatch):
    monkeypatch.setattr("mschedx.search.corrected._CONSIDERED", 64)
    config = DraftVerifyConfig(population=800, drafts=300, parents=100)
    rounds = Rounds(config, space=SketchSet([ToySketch(m=64, n=96), ToySketch(m=64, n=96)]))
    rounds(20)
    found, _, _ = rounds(count)
    assert len(found) >= count
    assert len({*found.codes()}) == len(found)


def test_as_published_a_tenth_of_the_population_is_rounded_down():
    assert DraftThenVerify(FirstGuess(), PUBLISHED)._most_measured == 153


def test_as_published_the_learned_model_alone_verifies():
    rounds = Rounds(PUBLISHED)
    rounds()
    rounds()
    assert rounds.search._opinion(rounds.space, rounds.history, rounds.scorer) is rounds.scorer


def test_niches_keep_both_sketches_among_the_drafts():
    class Biased(FirstGuess):
        def score(self, task, asked):
            own = super().score(task, asked)
            first = np.concatenate([np.full(len(c), s.key == keys[0]) for s, c in asked])
            return own + 1000.0 * first

    space = SketchSet([ToySketch(), ToySketch()])
    keys = [sketch.key for sketch in space.sketches]
    shares = {}
    for share in (0.5, 1.0):
        config = DraftVerifyConfig(population=200, drafts=40, parents=50, niche_share=share)
        rounds = Rounds(config, Biased(), space=space)
        rounds()
        shares[share] = (rounds.search._drafts.points.sketch == 0).mean()
    assert shares == {0.5: 0.5, 1.0: 1.0}


def test_the_fastest_are_fed_back_into_drafting():
    """With no generations, what is drafted is what it starts from."""
    starts = {}
    for seeded in (True, False):
        config = DraftVerifyConfig(
            population=50, drafts=50, draft_generations=0, refresh=1, seeded=seeded, adapt=False
        )
        rounds = Rounds(config)
        rounds()
        _, passes, _ = rounds()
        starts[seeded] = passes[0]
    assert starts[True] > 50 >= starts[False]


@pytest.mark.parametrize(("sign", "given_up"), [(-1.0, True), (1.0, False)])
def test_a_draft_that_ranks_badly_is_given_up_and_the_log_says_so(sign, given_up, caplog):
    caplog.set_level(logging.INFO, logger="tvm.s_tir.meta_schedule.mschedx")
    rounds = Rounds(SMALL, FirstGuess(sign))
    with listening() as heard:
        for _ in range(9):
            rounds()
    assert (rounds.search._quota == 0) is given_up
    assert heard == [r.getMessage() for r in caplog.records]
    assert len(heard) == given_up
    if given_up:
        expected = "task main: the draft is given up, the search samples instead: over 40 trials"
        assert heard[0].startswith(expected)
        assert len(rounds.search._drafts) == 0
    found, _, _ = rounds()
    assert len(found) >= 10


def test_a_draft_may_be_unready_and_is_said_to_be(caplog):
    rounds = Rounds(SMALL, Learned())
    found, passes, _ = rounds()
    assert passes == []
    assert len(found) >= 10
    assert "Learned has nothing to say before it is measured" in caplog.text


def test_what_cannot_be_built_does_not_end_a_round_of_the_drafts():
    draft = FirstGuess()
    space = SketchSet([ToySketch(broken=30)])
    search = DraftThenVerify(draft, SMALL)
    scorer = ArrayScorer(Learned(), space)
    task = TaskSearch(
        space,
        search,
        scorer,
        Materializer(space, lambda mod: hash(mod)),
        trials=24,
        batch=8,
        rng=np.random.default_rng(0),
    )
    rounds = 0
    while batch := task.next_batch():
        assert search._round == rounds
        rounds += 1
        task.tell(np.full(len(batch), 1e-3))
    assert rounds == 3
    assert task.materialize.failures["toy"] > 0


def test_a_space_of_one_point_ends_after_it():
    rounds = Rounds(SMALL)
    only = rounds.space.sample(1, np.random.default_rng(0))

    class One(SketchSet):
        def sample(self, count, rng):
            return only.take(np.zeros(count, dtype=np.int64))

        def recombine(self, first, second, keys, rng):
            return first

    rounds.space = One(rounds.space.sketches)
    assert len(rounds()[0]) == 1
    assert len(rounds()[0]) == 0


def test_mutation_frees_one_gene_of_most_children():
    space = SketchSet([ToySketch()])
    rng = np.random.default_rng(0)
    parents = space.sample(2000, rng)
    children = Mutation(0.85)(space, parents, parents, None, rng)
    assert space.is_valid(children).all()
    changed = children.configs != parents.configs
    touched = np.column_stack([changed[:, columns].any(axis=1) for columns in space.genes[0]])
    assert touched.sum(axis=1).max() == 1
    # A gene may be drawn as it was.
    assert 0.3 < touched.any(axis=1).mean() < 0.85


def test_the_same_generator_gives_the_same_proposals():
    space = SketchSet([ToySketch(), ToySketch()])
    runs = []
    for seed in (3, 3, 4):
        rounds = Rounds(SMALL, seed=seed, space=space)
        rounds()
        runs.append(rounds()[0].codes())
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drafts": 0}, "drafts >= 1, got 0"),
        ({"draft_generations": -1}, "draft_generations >= 0"),
        ({"epsilon": 1.5}, "epsilon in"),
        ({"niche_share": 0}, r"niche_share in \(0, 1\]"),
        ({"least_trials": 0}, "least_trials >= 1"),
    ],
)
def test_parameters_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        DraftVerify(FirstGuess(), **change)


def test_what_is_no_model_cannot_draft():
    with pytest.raises(TypeError, match="expected a cost model with the methods"):
        DraftVerify(object())


def test_a_draft_is_judged_by_trials_before_it_learns_from_them():
    asked = []

    class Cribbing(FirstGuess):
        def score(self, task, asked_for):
            asked.append((sum(len(configs) for _, configs in asked_for), self.learnt[-1:]))
            return super().score(task, asked_for)

    rounds = Rounds(SMALL, Cribbing())
    for _ in range(3):
        rounds()
    assert (20, [0]) in asked


def test_by_default_the_analyzer_drafts():
    from mschedx.cost.psa import PSAModel

    assert isinstance(DraftVerify().draft, PSAModel)
