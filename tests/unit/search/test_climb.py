"""Climbing from several points at once."""

import numpy as np
from toy import ToySketch

from mschedx.search.climb import climb
from mschedx.search.points import SketchSet
from mschedx.search.pool import Scored


class Told:
    """Scores points by a function of sketches and configs."""

    def __init__(self, says):
        self.says = says

    def score(self, points):
        return self.says(points.sketch, points.configs)


def greedy(scored, count):
    return scored.best(count)


def one_a_sketch(scored, count):
    best = scored.best(len(scored))
    first = np.unique(best.points.sketch, return_index=True)[1]
    return best.take(np.sort(first)[:count])


def setting():
    """Two sketches; in both the first factor should be large, in the first by far more so."""
    space = SketchSet([ToySketch(), ToySketch()])
    scorer = Told(lambda sketch, configs: configs[:, 0] * (100.0 - 99 * sketch))
    starts = [space.lift(s, np.array([[1, 16, 1, 48, 1, 1, 0, 1]])) for s in (0, 1)]
    start = Scored.by(scorer, type(starts[0]).concatenate(starts))
    return space, scorer, start


def around(space):
    def near(points):
        found = [space.empty()]
        for s, _, configs in space.groups(points):
            moved = configs.copy()
            moved[:, 0] *= 2
            moved[:, 1] //= 2
            stayed = configs.copy()
            stayed[:, 6] = 16
            found += [space.lift(s, moved), space.lift(s, stayed)]
        every = type(points).concatenate(found)
        return every.take(space.is_valid(every))

    return near


def test_it_goes_on_while_something_is_better_and_gives_all_it_scored():
    space, scorer, start = setting()
    seen = climb(start, space, scorer, around(space), greedy, 8)
    assert seen.scores.max() == 1600
    assert set(start.points.codes()) <= set(seen.points.codes())
    assert np.array_equal(seen.scores, scorer.score(seen.points))
    assert len(seen.points.distinct()) == len(seen)
    assert climb(start, space, scorer, around(space), greedy, 1).scores.max() == 200
    assert len(climb(start, space, scorer, around(space), greedy, 0)) == len(start)
    assert len(climb(start.take(np.arange(0)), space, scorer, around(space), greedy, 8)) == 0


def test_a_front_of_several_kinds_climbs_in_all_of_them():
    space, scorer, start = setting()

    def reached(front):
        seen = climb(start, space, scorer, around(space), front, 8)
        return [seen.scores[seen.points.sketch == s].max() for s in (0, 1)]

    assert reached(one_a_sketch) == [1600, 16]
    # The best of all are soon those of one kind.
    assert reached(greedy)[1] < 16
