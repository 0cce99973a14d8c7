import numpy as np
import pytest
import tvm
from dummy import gemm, softmax, target
from toy import ToySketch

from mschedx.cost.base import MOST_ANALYSED
from mschedx.search.niches import Niches, cuts, spread
from mschedx.search.points import SketchSet
from mschedx.search.pool import Scored
from mschedx.space import sketches


def test_a_share_of_one_niche_at_most_while_others_have_any():
    space = SketchSet([ToySketch()])
    points = space.sample(12, np.random.default_rng(0))
    scored = Scored(points, np.arange(12.0))
    niches = np.array([0] * 2 + [1] * 3 + [2] * 7)
    taken = spread(scored, niches, 6, 1 / 3)
    assert taken.scores.tolist() == [11, 10, 4, 3, 1, 0]
    assert spread(scored, niches, 8, 1 / 4).scores.tolist() == [11, 10, 9, 8, 4, 3, 1, 0]
    assert spread(scored, niches, 3, 1.0).scores.tolist() == [11, 10, 9]
    assert len(spread(scored.take(np.arange(0)), niches[:0], 3, 0.5)) == 0
    with pytest.raises(ValueError, match="expected a share"):
        spread(scored, niches, 3, 0.0)


def test_niches_are_apart_in_how_the_work_is_cut():
    space = SketchSet(sketches(gemm(), target(), "post-order-apply"))
    points = space.sample(300, np.random.default_rng(0))
    numbers = Niches(space).of(points)
    assert len(space) < len(np.unique(numbers)) < 300
    for number in np.unique(numbers):
        same = points.take(numbers == number)
        assert len(np.unique(same.sketch)) == 1
        sketch = space.sketches[same.sketch[0]]
        for cut in cuts(sketch):
            values = cut(same.configs[:, : len(sketch.decisions)])
            assert values.max() < 4 * values.min()


def test_on_a_gpu_blocks_threads_and_registers_count():
    sketch = sketches(gemm(), tvm.target.Target("nvidia/nvidia-a100"), "post-order-apply")[0]
    configs = sketch.sample(20, np.random.default_rng(0))
    grid, registers, threads = (cut(configs) for cut in cuts(sketch))
    extents = sketch.extents(configs)
    assert (threads * registers * grid >= 1).all()
    assert any(np.array_equal(threads, values) for values in extents.values())
    assert (grid * threads <= 64 * 64).all()


def test_spaces_of_many_sketches_are_not_analysed():
    space = SketchSet(sketches(softmax(), target(), "post-order-apply"))
    assert len(space) > MOST_ANALYSED
    points = space.sample(200, np.random.default_rng(0))
    numbers = Niches(space).of(points)
    assert len(np.unique(numbers)) == len(np.unique(points.sketch))
    assert "analysis" not in vars(space.sketches[0])
