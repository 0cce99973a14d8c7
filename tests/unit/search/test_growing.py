"""Sketches opened a few at a time: one of each design space first, all in the end."""

import itertools

import numpy as np
import pytest
from toy import ToySketch, latency

from mschedx.search.base import Materializer, TaskSearch
from mschedx.search.constrained_random import RandomSearch
from mschedx.search.growing import GrowingSet, sampled_part, searchable
from mschedx.search.notes import listening
from mschedx.search.points import Points
from mschedx.search.scoring import NoScorer
from mschedx.space.errors import EmptySpace, SparseSpace, UnsupportedTrace
from mschedx.space.sampling import join

SPACES = [0, 0, 0, 1, 1]


def growing(refuses=(), seed=0, sketches=None):
    """A set of five sketches, and the numbers of those it has asked for, in order."""
    sketches = sketches or [ToySketch() for _ in SPACES]
    asked = []

    def narrowed(sketch):
        number = sketches.index(sketch)
        asked.append(number)
        if number in refuses:
            raise (EmptySpace, UnsupportedTrace)[number % 2](f"no {number}")
        return sketch

    rng = np.random.default_rng(seed)
    return GrowingSet(sketches, SPACES, sketches[0].task, rng, narrowed), asked


def test_sketches_without_a_config_are_left_out_and_all_their_reasons_said():
    sketches = [ToySketch() for _ in range(3)]

    def narrowed(sketch):
        if sketch is not kept:
            raise (EmptySpace, UnsupportedTrace)[sketch is sketches[2]](
                f"no {sketches.index(sketch)}"
            )
        return found

    kept, found = sketches[1], ToySketch()
    assert searchable(sketches, narrowed) == [found]
    kept = None
    with pytest.raises(EmptySpace, match="none of 3 sketches has a valid config: no 0; no 1; no 2"):
        searchable(sketches, narrowed)


def test_every_design_space_begins_with_one_sketch_and_ends_with_all():
    space, asked = growing()
    assert space.opened == ()
    opened = []
    while space.grow():
        opened.append([sum(s < 3 for s in space.opened), sum(s >= 3 for s in space.opened)])
    assert opened == [[1, 1], [2, 2], [3, 2]]
    assert sorted(asked) == [0, 1, 2, 3, 4]


def test_only_open_sketches_are_sampled_from_and_design_spaces_alike():
    space, _ = growing()
    space.grow()
    points = space.sample(40, np.random.default_rng(0))
    assert set(points.sketch) == set(space.opened)
    assert np.bincount(points.sketch)[list(space.opened)].tolist() == [20, 20]


def test_nothing_is_asked_of_sketches_that_are_not_open():
    space, asked = growing()
    space.grow()
    space.sample(40, np.random.default_rng(0))
    assert sorted(asked) == sorted(space.opened)


def test_the_order_is_the_seeds():
    orders = []
    for seed in (0, 0, 1, 2, 3, 4):
        space, asked = growing(seed=seed)
        while space.grow():
            pass
        orders.append(tuple(asked))
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1


def test_large_sketches_tend_to_come_first():
    small, large = ToySketch(m=2, n=2), ToySketch()
    first = []
    for seed in range(40):
        space, _ = growing(seed=seed, sketches=[small, large, ToySketch(m=2, n=2), small, large])
        space.grow()
        first.append(space.opened[0])
    assert first.count(1) > 30


def test_a_lone_sketch_draws_nothing():
    rng = np.random.default_rng(5)
    GrowingSet([ToySketch(), ToySketch()], None, None, rng, lambda sketch: sketch)
    assert rng.integers(1 << 60) == np.random.default_rng(5).integers(1 << 60)


def test_what_is_refused_costs_itself_and_the_next_takes_its_place():
    space, _ = growing(refuses=(0, 1, 4))
    space.grow()
    assert space.opened == (2, 3)
    assert set(space.refused) <= {0, 1, 4}
    while space.grow():
        pass
    assert space.refused == {0: "no 0", 1: "no 1", 4: "no 4"}


def test_a_design_space_without_any_leaves_the_others():
    space, _ = growing(refuses=(3, 4))
    assert space.grow()
    assert all(s < 3 for s in space.opened)
    assert len(space.sample(9, np.random.default_rng(0))) == 9


@pytest.mark.parametrize("refuses", [(), (0, 1, 2), (3, 4)])
def test_a_draft_begins_with_one_sketch_of_one_design_space_and_gets_to_all(refuses):
    space, _ = growing(refuses=refuses)
    space.begin(np.random.default_rng(1))
    assert len(space.opened) == space.begun == 1
    assert len(space.sample(9, np.random.default_rng(0))) == 9
    space.grow()
    assert space.begun == (1 if refuses else 2)
    while space.grow():
        pass
    assert {*space.opened} == {0, 1, 2, 3, 4} - {*refuses}


def test_any_design_space_may_be_the_draft_s_first():
    def first(seed):
        space, _ = growing()
        space.begin(np.random.default_rng(seed))
        return SPACES[space.opened[0]]

    assert {first(seed) for seed in range(9)} == {0, 1}
    assert first(3) == first(3)


@pytest.mark.parametrize(("refuses", "chance"), [((3, 4), None), ((0, 1, 2), 1), ((3, 4), 1)])
def test_a_design_space_of_refused_sketches_says_so_once(refuses, chance, caplog):
    space, _ = growing(refuses=refuses)
    space.begin(chance and np.random.default_rng(chance))
    while space.grow():
        pass
    reason = "; ".join(f"no {s}" for s in refuses)
    assert space.refused_spaces == {SPACES[refuses[0]]: reason}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.endswith(f", design space {SPACES[refuses[0]]}: {reason}")


def test_a_design_space_that_is_refused_beside_another_is_told():
    """Where none can be searched the error says it."""
    space, _ = growing(refuses=(3, 4))
    with listening() as heard:
        space.begin()
        while space.grow():
            pass
    (line,) = heard
    assert line.endswith(", design space 1: no 3; no 4")


def test_a_design_space_that_earlier_points_show_to_be_refused_says_so_too(caplog):
    space, _ = growing(refuses=(3, 4))
    space.ensure_open([3])
    assert not caplog.records
    with listening() as heard:
        space.ensure_open([4])
    assert heard == [], "there is no other yet"
    space.ensure_open([4, 3])
    assert space.opened == ()
    assert space.refused_spaces == {1: "no 3; no 4"}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.endswith(", design space 1: no 3; no 4")


def test_sketches_are_opened_where_that_is_said_and_by_no_question():
    space, asked = growing(refuses=(4,))
    config = ToySketch().sample(1, np.random.default_rng(0))
    earlier = Points.concatenate([space.lift(2, config), space.lift(4, config)])
    assert not space.is_valid(earlier).any()
    assert asked == [], "to ask opens nothing"
    space.ensure_open([2, 4])
    assert space.is_valid(earlier).tolist() == [True, False]
    space.ensure_open([4, 2])
    assert asked == [2, 4], "once each"
    assert space.opened == (2,)
    assert space.grow()
    assert 2 not in asked[2:]


def test_configs_go_to_the_first_open_sketch_of_their_key_that_holds_them():
    sketches = [ToySketch() for _ in SPACES]
    sketches[1].key = sketches[2].key = sketches[0].key
    space, asked = growing(refuses=(0,), sketches=sketches)
    config = sketches[0].sample(1, np.random.default_rng(0))
    assert space.of_one_key(1) == [0, 1, 2]
    assert space.place(1, config).sketch.tolist() == [1], "none is open: it stays"
    space.ensure_open([2])
    assert space.place(1, config).sketch.tolist() == [2]
    assert asked == [2], "to place opens nothing"
    space.ensure_open(space.of_one_key(1))
    assert asked == [2, 0, 1]
    assert space.place(2, config).sketch.tolist() == [1], "0 is refused"


def searching(space):
    programs = itertools.count()
    return TaskSearch(
        space,
        RandomSearch(),
        NoScorer(),
        Materializer(space, lambda mod: next(programs)),
        trials=1000,
        batch=8,
        rng=np.random.default_rng(0),
    )


@pytest.mark.parametrize(("chance", "first"), [(None, 8), (1, 2)])
def test_a_lone_design_space_gets_few_of_the_trials(chance, first):
    """A task of a network may have but two rounds."""
    space, _ = growing()
    space.begin(chance and np.random.default_rng(chance))
    search = searching(space)
    batches = []
    for _ in range(2):
        batches.append(search.next_batch())
        search.tell(np.ones(len(batches[-1])))
    assert [len(batch) for batch in batches] == [first, 8]
    assert {SPACES[int(c.point.sketch[0])] for c in batches[1]} == {0, 1}


@pytest.mark.parametrize("broken", [0, 100])
def test_a_search_gets_to_every_sketch(broken):
    """Also where those that came first have no config that materialises, or none left."""
    sketches = [ToySketch(m=1, n=1, broken=broken) for _ in range(4)] + [ToySketch(m=1, n=1)]
    space, asked = growing(sketches=sketches)
    space.grow()
    search = searching(space)
    while batch := search.next_batch():
        search.tell(latency(np.array([candidate.schedule.mod for candidate in batch])))
    assert sorted(asked) == [0, 1, 2, 3, 4]


def test_a_sketch_that_can_hardly_be_drawn_from_is_refused_before_it_is_searched(monkeypatch):
    """One config is found soon; as many as a round draws are not."""
    monkeypatch.setattr(join, "MAX_PAIRS", 1)
    for name, value in (("_AT_ONCE", 100), ("_JUDGED_DRAWS", 200), ("_MOST_DRAWS", 400)):
        monkeypatch.setattr(f"mschedx.space.sampling.sampler.{name}", value)
    sketch = ToySketch()
    sketch.compilable = lambda: sketch
    sketch.narrowed = lambda preferences: sketch
    assert sketch.sampler.rejected
    assert len(sketch.sample(1, np.random.default_rng(0))) == 1
    space, _ = growing(sketches=[sketch, *(ToySketch() for _ in SPACES[1:])])
    space._narrowed = sampled_part
    with pytest.raises(SparseSpace, match="1024 configs"):
        sampled_part(sketch)
    space.ensure_open([0])
    assert "1024 configs" in space.refused[0]
