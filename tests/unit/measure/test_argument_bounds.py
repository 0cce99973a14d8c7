"""What integers a program can be given, read off the program."""

import pytest
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.script import tirx as T

from mschedx import compat
from mschedx.measure.argument_bounds import OPEN, argument_bounds


def looked_up(place, dtype, rows=10):
    """Rows of a table at what `place` makes of each element of an argument."""
    x = te.placeholder((16,), dtype, name="x")
    table = te.placeholder((rows, 4), "float32", name="table")
    found = te.compute((16, 4), lambda i, j: table[place(x[i].astype("int32")), j], name="rows")
    return te.create_prim_func([x, table, found])


def elementwise(value, dtype="int32"):
    """A program of two arguments, and what `value` makes of each of their elements."""
    a, b = (te.placeholder((16,), dtype, name=name) for name in "ab")
    return te.create_prim_func([a, b, te.compute((16,), lambda i: value(a[i], b[i]), name="c")])


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (lambda x: x, (0, 9)),
        (lambda x: x + 3, (-3, 6)),
        (lambda x: 3 + x, (-3, 6)),
        (lambda x: x - 1, (1, 10)),
        (lambda x: 9 - x, (0, 9)),
        (lambda x: x * 2, (0, 4)),
        (lambda x: x * 2 + 1, (0, 4)),
        (lambda x: tirx.floordiv(x, 4), (0, 39)),
        (lambda x: tirx.Select(x < 0, x + 10, x), (0, 9)),
        (lambda x: tirx.if_then_else(x < 0, x + 10, x), (0, 9)),
        (lambda x: tirx.max(tirx.min(x, 9), 0), OPEN),
        (lambda x: tirx.min(tirx.max(x, 0), 9), OPEN),
        (lambda x: tirx.max(x, 0), (None, 9)),
        (lambda x: tirx.floormod(x, 10), OPEN),
        (lambda x: x * x, OPEN),
    ],
)
def test_an_index_is_within_its_buffer(dtype, place, expected):
    assert argument_bounds(looked_up(place, dtype)) == (expected, OPEN, OPEN)


def test_bounds_that_a_type_has_by_itself_are_none():
    assert argument_bounds(looked_up(lambda x: x, "uint8"))[0] == (None, 9)
    assert argument_bounds(looked_up(lambda x: x, "uint8", rows=256))[0] == OPEN
    assert argument_bounds(looked_up(lambda x: x + 128, "int8", rows=256))[0] == OPEN


def test_what_loops_sweep_is_added():
    x = te.placeholder((16,), "int16", name="x")
    table = te.placeholder((40,), "float32", name="table")
    rows = te.compute((16, 4), lambda i, j: table[x[i].astype("int32") * 4 + j], name="rows")
    assert argument_bounds(te.create_prim_func([x, table, rows]))[0] == (0, 9)


def test_the_smaller_of_two_tables_counts():
    x = te.placeholder((16,), "int32", name="x")
    first, second = (te.placeholder((rows,), "float32", name=f"t{rows}") for rows in (30, 20))
    total = te.compute((16,), lambda i: first[x[i]] + second[x[i]], name="total")
    assert argument_bounds(te.create_prim_func([x, first, second, total]))[0] == (0, 19)


def copied_first():
    x = te.placeholder((16,), "uint8", name="x")
    table = te.placeholder((10, 4), "float32", name="table")
    wide = te.compute((16,), lambda i: x[i].astype("int32"), name="wide")
    rows = te.compute((16, 4), lambda i, j: table[wide[i], j], name="rows")
    return te.create_prim_func([x, table, rows])


def cached():
    sch = Schedule(looked_up(lambda x: x, "uint8"))
    block = sch.get_sblock("rows")
    sch.cache_read(block, 0, "local")
    i, j = sch.get_loops(block)
    outer, inner = sch.split(i, [None, 4])
    sch.reorder(outer, j, inner)
    sch.vectorize(inner)
    return sch.mod["main"]


@pytest.mark.parametrize("make", [copied_first, cached])
def test_an_index_is_followed_through_copies(make):
    assert argument_bounds(make())[0] == (None, 9)


with compat.fast_script():

    @T.prim_func(s_tir=True)
    def scattered(
        x: T.Buffer((16,), "float32"), at: T.Buffer((16,), "int16"), y: T.Buffer((32,), "float32")
    ):
        for i in range(16):
            with T.sblock("y"):
                vi = T.axis.spatial(16, i)
                y[T.cast(at[vi], "int32")] = x[vi]

    @T.prim_func(s_tir=True)
    def counted(at: T.Buffer((16,), "int32"), table: T.Buffer((8,), "int32")):
        count = T.sblock_alloc_buffer((1,), "int32")
        for i in range(16):
            with T.sblock("count"):
                vi = T.axis.reduce(16, i)
                with T.init():
                    count[0] = 0
                count[0] = count[0] + 1
                table[count[0]] = at[vi]


def test_a_place_to_store_at_is_an_index_too():
    assert argument_bounds(scattered) == (OPEN, (0, 31), OPEN)


def test_a_buffer_that_feeds_itself_bounds_nothing():
    assert argument_bounds(counted) == (OPEN, OPEN)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (tirx.floordiv, (1, None)),
        (tirx.floormod, (1, None)),
        (tirx.truncdiv, (1, None)),
        (tirx.truncmod, (1, None)),
        (lambda a, b: tirx.floordiv(a, b + 1), (0, None)),
        (lambda a, b: tirx.floordiv(a, tirx.max(b, 1)), OPEN),
        (lambda a, b: tirx.floordiv(a, tirx.Select(b < 1, 1, b)), OPEN),
        (lambda a, b: tirx.floordiv(a, 3) + b, OPEN),
        (lambda a, b: a << b, (0, 31)),
        (lambda a, b: a >> b, (0, 31)),
        (lambda a, b: a * b, OPEN),
    ],
)
def test_divisors_are_not_0_and_shifts_not_too_wide(value, expected):
    assert argument_bounds(elementwise(value)) == (OPEN, expected, OPEN)


def test_floats_are_not_bounded():
    assert argument_bounds(elementwise(lambda a, b: a / b, "float32")) == (OPEN,) * 3
