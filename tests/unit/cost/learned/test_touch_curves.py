"""One-Shot Tuner's columns, against counting level by level."""

import numpy as np
import pytest
from spaces import LLVM, matmul

from mschedx.cost.learned.touch_curves import (
    ACCESSES,
    DECISIONS,
    NAMES,
    RELATIONS,
    SAMPLES,
    SIZES,
    TouchCurves,
    curve,
)
from mschedx.space import sketches


@pytest.fixture(scope="module")
def sketch():
    return sketches(matmul(128, 96, 64), LLVM)[0]


def test_748_columns():
    assert len(NAMES) == 748
    assert ACCESSES * len(RELATIONS) * SAMPLES == 720


def test_a_curve_is_the_greatest_value_below_each_threshold():
    rng = np.random.default_rng(0)
    x, y = rng.integers(1, 5000, (6, 20)), rng.integers(1, 900, (6, 20))
    found = curve(x.astype(float), y.astype(float))
    assert found.shape == (20, SAMPLES)
    for n in range(20):
        for t in range(SAMPLES):
            below = [b for a, b in zip(x[:, n], y[:, n]) if a <= 2**t]
            assert found[n, t] == pytest.approx(np.log2(1 + max(below, default=0)))
    assert (np.diff(found, axis=1) >= 0).all()


def test_columns_are_those_of_the_statements(sketch):
    configs = sketch.sample(5, np.random.default_rng(3))
    rows = TouchCurves.of(sketch)(configs).statements[:, 0]
    last = sketch.statements[-1]
    access, depth = last.accesses[-1], len(last.loops)
    size = np.stack([access.bytes_at(level)(configs) for level in range(depth + 1)])
    run = np.stack([last.trips(level, depth)(configs) for level in range(depth + 1)])
    curves = rows[:, :720].reshape(5, ACCESSES, len(RELATIONS), SAMPLES)
    np.testing.assert_allclose(curves[:, -1, 0], curve(size, run), rtol=1e-6)
    np.testing.assert_allclose(curves[:, -1, 1], curve(size, run / size), rtol=1e-6)
    np.testing.assert_allclose(curves[:, -1, 2], curve(run, size), rtol=1e-6)
    known = min(DECISIONS, configs.shape[1])
    np.testing.assert_allclose(rows[:, 720 : 720 + known], np.log2(1 + configs[:, :known]))
    assert not rows[:, 720 + known : 720 + DECISIONS].any()
    sizes = [128, 64, 64, 96, 128, 96]
    np.testing.assert_allclose(rows[:, -SIZES:], [[*np.log2(1.0 + np.array(sizes)), 0, 0]] * 5)


def test_of_no_configs_there_are_no_rows(sketch):
    assert TouchCurves.of(sketch)(sketch.sample(0, np.random.default_rng(0))).statements.shape == (
        0,
        1,
        len(NAMES),
    )
