"""What rounding may change of a program's results, read off the program."""

import pytest
from tvm import te, tirx
from tvm.script import tirx as T

from mschedx import compat
from mschedx.measure.provenance import Provenance, provenances

EXACT, COMPUTED, ROUNDED, DECIDED = Provenance


def elementwise(value, dtype="float32"):
    """A program of one argument and what `value` makes of each of its elements."""
    x = te.placeholder((16,), dtype, name="x")
    return te.create_prim_func([x, te.compute((16,), lambda i: value(x[i]), name="y")])


def rounded(x):
    return tirx.round(x * 3.5).astype("int32")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda x: x, EXACT),
        (lambda x: x * 2.5, COMPUTED),
        (lambda x: tirx.exp(x), COMPUTED),
        (lambda x: x.astype("int32"), EXACT),
        (lambda x: x > 0, EXACT),
        (lambda x: x * 2.5 > 0, DECIDED),
        (rounded, ROUNDED),
        (lambda x: (x * 2.5).astype("uint8"), ROUNDED),
        (lambda x: tirx.round(x * 3.5), ROUNDED),
        (lambda x: rounded(x) + 3, ROUNDED),
        (lambda x: te.max(te.min(rounded(x), 127), -128).astype("int8"), ROUNDED),
        (lambda x: rounded(x) * 3, DECIDED),
        (lambda x: rounded(x) + rounded(x), DECIDED),
        (lambda x: rounded(x).astype("float32"), DECIDED),
        (lambda x: tirx.Select(x * 2.5 > 1, x * 2.5, x * 0.5), COMPUTED),
        (lambda x: tirx.Select(x * 2.5 > 1, T.float32(1), T.float32(0)), DECIDED),
        (lambda x: tirx.Select(x * 2.5 > 1, T.int32(1), T.int32(0)), DECIDED),
        (lambda x: tirx.if_then_else(rounded(x) > 1, x * 2.5, x * 0.5), DECIDED),
    ],
)
def test_an_element_of_a_float(value, expected):
    assert provenances(elementwise(value)) == (EXACT, expected)


def test_integers_are_exact():
    product = elementwise(lambda x: x * x // 3 + 1, "int32")
    assert provenances(product) == (EXACT, EXACT)
    assert provenances(product, (ROUNDED,)) == (ROUNDED, DECIDED)


def test_what_a_sum_is_rounded_to():
    a, b = (te.placeholder((16, 16), "float32", name=name) for name in "ab")
    k = te.reduce_axis((0, 16), "k")
    c = te.compute((16, 16), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    q = te.compute((16, 16), lambda i, j: tirx.round(c[i, j] * 9.0).astype("int8"), name="q")
    assert provenances(te.create_prim_func([a, b, q])) == (EXACT, EXACT, ROUNDED)
    assert provenances(te.create_prim_func([a, b, c, q]))[2:] == (COMPUTED, ROUNDED)


with compat.fast_script():

    @T.prim_func(s_tir=True)
    def chosen(
        x: T.Buffer((4, 8), "float32"), best: T.Buffer((4,), "float32"), at: T.Buffer((4,), "int32")
    ):
        for i, j in T.grid(4, 8):
            with T.sblock("argmax"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    best[vi] = T.float32(-1e9)
                    at[vi] = 0
                at[vi] = T.Select(x[vi, vj] * T.float32(3) > best[vi], vj, at[vi])
                best[vi] = T.max(best[vi], x[vi, vj] * T.float32(3))


def test_the_place_of_the_largest_is_decided_by_floats_that_are_computed():
    assert provenances(chosen) == (EXACT, COMPUTED, DECIDED)


def test_what_lies_at_a_place_that_floats_decided_is_decided_too():
    table = te.placeholder((4, 8), "float32", name="table")
    at = te.placeholder((16,), "int32", name="at")
    rows = te.compute((16, 8), lambda i, j: table[at[i], j], name="rows")
    function = te.create_prim_func([table, at, rows])
    assert provenances(function)[2] is EXACT
    assert provenances(function, (EXACT, DECIDED))[2] is DECIDED
