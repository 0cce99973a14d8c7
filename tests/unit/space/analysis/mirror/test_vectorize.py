"""What the postproc fuses where indices have quotients and remainders."""

import numpy as np
import pytest
from spaces import module
from tvm import te, tirx

from mschedx.hardware import host_target
from mschedx.space import sketches
from mschedx.space.analysis.exactness import check


def read_at(row, column, dtype="float32"):
    """A map over 26 x 11 that reads elsewhere."""
    x = te.placeholder((26, 11), dtype, name="x")

    def value(i, j):
        read = x[row(i, j), column(i, j)]
        return tirx.Not(read) if dtype == "bool" else read * 2.0

    return module([x, te.compute((26, 11), value, name="y")])


INDICES = {
    "j // 2": (lambda i, j: i, lambda i, j: j // 2),
    "j % 2": (lambda i, j: i, lambda i, j: j % 2),
    "a quotient and a remainder": (lambda i, j: i, lambda i, j: j // 4 + j % 4),
    "quotients of both": (lambda i, j: i // 2, lambda i, j: j // 3),
    "a quotient outside": (lambda i, j: j // 2, lambda i, j: j),
    "a quotient inside": (lambda i, j: j, lambda i, j: j // 2),
    "falling columns": (lambda i, j: i, lambda i, j: 10 - j),
    "falling rows": (lambda i, j: 25 - i, lambda i, j: j),
    "rows and columns exchanged": (lambda i, j: 2 * j + i % 2, lambda i, j: i // 3),
}


@pytest.mark.parametrize("space", [None, "post-order-apply"])
@pytest.mark.parametrize(("row", "column"), INDICES.values(), ids=INDICES)
def test_quotients_and_remainders_are_seen_as_the_postproc_sees_them(row, column, space):
    for sketch in sketches(read_at(row, column), host_target(), space):
        configs = sketch.sample(8, np.random.default_rng(0))
        verdict = check(sketch.design, sketch.analysis, configs, lowering=len(configs))
        assert not verdict.wrong
        assert verdict.lowered


def test_a_row_outside_a_quotient_is_not_fused_with_it():
    """To the postproc the quotient ignores the columns, and a row is 11 elements away."""
    (sketch,) = sketches(read_at(*INDICES["j // 2"]), host_target(), "post-order-apply")
    (statement,) = sketch.statements
    config = sketch.sample(1, np.random.default_rng(0))
    assert statement.lanes(config).tolist() == [11]
