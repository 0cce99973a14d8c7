"""Points that take long to compile: where that is known, and what the round does with them."""

import numpy as np
import pytest
import tvm
from toy import ToySketch

from mschedx import workloads
from mschedx.search.base import Materializer, TaskSearch
from mschedx.search.build_effort import MOST_EFFORT, BuildEffort
from mschedx.search.constrained_random import RandomSearch
from mschedx.search.points import SketchSet
from mschedx.search.scoring import NoScorer
from mschedx.space import sketches

CPU = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
GPU = tvm.target.Target("nvidia/nvidia-a100")


def space(op, shape, target, name="post-order-apply"):
    return SketchSet(sketches(workloads.make(op, shape, "float32"), target, name))


class LargeFirstTile:
    """The effort is the first factor; more than 2 is great."""

    def __init__(self, points_of):
        self.of = points_of

    def is_great(self, points):
        return self.of(points) > 2


def started(sketch, *, trials, first=None):
    points = SketchSet([sketch])
    task = TaskSearch(
        points,
        RandomSearch(),
        NoScorer(),
        Materializer(points, hash),
        trials=trials,
        batch=8,
        rng=np.random.default_rng(0),
        first=first,
    )
    task._effort = LargeFirstTile(lambda points: points.configs[:, 0].astype(float))
    return task


def run(task):
    """The first factor of every candidate, in order."""
    measured = []
    while batch := task.next_batch():
        measured += [candidate.schedule.mod[0] for candidate in batch]
        task.tell(np.full(len(batch), 1e-3))
    return measured


def test_some_random_configs_of_a_transposed_product_are_great_and_none_of_a_plain_one():
    rng = np.random.default_rng(0)
    for op, some in (("gemm_nt", True), ("gemm", False)):
        found = space(op, (256, 256, 256), CPU)
        points = found.sample(1000, rng)
        effort = BuildEffort(found)
        great = effort.is_great(points)
        assert great.any() == some
        assert great.mean() < 0.1
        assert np.array_equal(great, effort.of(points) > MOST_EFFORT)


def test_nothing_is_known_of_a_gpu_or_without_a_target():
    found = space("gemm_nt", (128, 128, 128), GPU)
    for known in (found, SketchSet([ToySketch()])):
        points = known.sample(20, np.random.default_rng(0))
        assert (BuildEffort(known).of(points) == 0).all()


def test_where_sketches_are_many_none_is_analysed_for_it():
    found = space("conv2d", (1, 16, 14, 14, 32, 3, 1, 1), CPU)
    assert len(found) > 8
    points = found.sample(50, np.random.default_rng(0))
    assert (BuildEffort(found).of(points) == 0).all()
    assert not any(sketch.is_analysed for sketch in found.sketches)


def test_they_wait_until_the_space_has_no_others():
    sketch = ToySketch(m=16, n=4, unroll=(0,), vector=(1,))
    measured = run(started(sketch, trials=10**4))
    assert len(measured) == sketch.count()
    small = [one <= 2 for one in measured]
    assert 0 < sum(small) < len(small)
    assert small == sorted(small, reverse=True)


def test_a_run_has_exactly_its_trials_and_none_of_them_while_there_are_others():
    measured = run(started(ToySketch(), trials=33))
    assert len(measured) == 33
    assert max(measured) <= 2


def test_what_the_user_gives_to_begin_with_is_measured_first_whatever_it_takes():
    sketch = ToySketch()
    rows = sketch.space
    row = rows[rows[:, 0] == 16][:1]
    first = SketchSet([sketch]).lift(0, row)
    measured = run(started(sketch, trials=9, first=first))
    assert measured[0] == 16
    assert max(measured[1:]) <= 2


def test_a_space_of_such_points_alone_is_searched_all_the_same():
    sketch = ToySketch(m=16, n=4, unroll=(0,), vector=(1,))
    task = started(sketch, trials=10)
    task._effort = LargeFirstTile(lambda points: 3.0 + points.configs[:, 0])
    assert len(run(task)) == 10


@pytest.mark.parametrize("trials", [1, 7])
def test_of_those_the_least_effort_comes_first(trials):
    task = started(ToySketch(m=16, n=4, unroll=(0,), vector=(1,)), trials=trials)
    task._effort = LargeFirstTile(lambda points: 3.0 + points.configs[:, 0])
    measured = run(task)
    assert measured[0] == min(measured)
