"""Questions about a block."""

import pytest
from spaces import module
from tvm import te, tirx
from tvm.s_tir import Schedule

from mschedx.space.rules.blocks import (
    choice_of,
    constant_extent,
    count_readers,
    is_at,
    is_copy,
    is_parameter,
    is_root,
    is_tiled,
    moves_by_one,
    positions,
    producer_of,
    ranges,
    reads_in_place,
    root_block,
    root_blocks,
    runs_never,
)


def scheduled(*tensors):
    return Schedule(module(tensors))


def placeholder(*shape, name="x"):
    return te.placeholder(shape, "float32", name)


def chain():
    """x → a → b and c; c also reads x."""
    x = placeholder(8)
    a = te.compute((8,), lambda i: x[i] * 2.0, name="a")
    b = te.compute((8,), lambda i: a[7 - i], name="b")
    return scheduled(x, b, te.compute((8,), lambda i: a[i] + x[i], name="c"))


def test_an_extent_is_a_number_or_none():
    assert constant_extent(tirx.IntImm("int64", 7)) == 7
    assert constant_extent(tirx.Var("n", "int64")) is None


def test_axes_have_positions_and_ranges():
    x = placeholder(4, 6)
    k = te.reduce_axis((0, 6), "k")
    sums = te.compute((4,), lambda i: te.sum(x[i, k], k), name="sums")
    sch = scheduled(x, sums)
    body = sch.get(sch.get_sblock("sums"))
    i, k = (axis.var for axis in body.iter_vars)
    assert positions(body) == {i: 0, k: 1}
    bounds = ranges(body).const_int_bound(i * 6 + k)
    assert (bounds.min_value, bounds.max_value) == (0, 23)


def test_the_root_holds_the_others():
    sch = chain()
    assert [sch.get(block).name_hint for block in root_blocks(sch)] == ["a", "b", "c"]
    assert is_root(sch, root_block(sch))
    assert not is_root(sch, sch.get_sblock("a"))


def test_a_function_with_a_parallel_loop_is_tiled():
    sch = chain()
    assert not is_tiled(sch)
    sch.parallel(sch.get_loops(sch.get_sblock("b"))[0])
    assert is_tiled(sch)


def test_who_makes_and_who_reads_a_buffer():
    sch = chain()
    a, b, c = root_blocks(sch)
    (read,), (written,) = sch.get(a).reads, sch.get(a).writes
    assert is_parameter(sch, read.source)
    assert not is_parameter(sch, written.source)
    assert (count_readers(sch, read.source), count_readers(sch, written.source)) == (2, 2)
    assert producer_of(sch, b, 0) is None  # c reads a, too
    assert producer_of(sch, a, 0) is None
    assert not reads_in_place(sch, b, written.source)
    assert reads_in_place(sch, c, written.source)


def test_what_is_made_for_one_block_alone():
    x = placeholder(8)
    a = te.compute((8,), lambda i: x[i] * 2.0, name="a")
    sch = scheduled(x, te.compute((8,), lambda i: a[i] + 1.0, name="b"))
    found = producer_of(sch, sch.get_sblock("b"), 0)
    assert found is not None
    assert sch.get(found).name_hint == "a"


def test_an_axis_of_one_point_may_be_its_constant():
    sch = scheduled(x := placeholder(1, 8), te.compute((1, 8), lambda i, j: x[i, j], name="y"))
    one, eight = sch.get(sch.get_sblock("y")).iter_vars
    zero = tirx.IntImm("int64", 0)
    assert is_at(one.var, one)
    assert is_at(zero, one)
    assert not is_at(tirx.IntImm("int64", 3), one)
    assert not is_at(zero, eight)
    assert not is_at(one.var, eight)


def test_an_axis_without_points_never_runs():
    x = placeholder(8)
    none = scheduled(x, te.compute((8, 0), lambda i, j: x[i], name="y"))
    some = scheduled(x, te.compute((8, 1), lambda i, j: x[i], name="y"))
    assert runs_never(none.get(none.get_sblock("y")))
    assert not runs_never(some.get(some.get_sblock("y")))


@pytest.mark.parametrize(
    ("element", "copies"),
    [
        (lambda x, i, j: x[j, i], True),
        (lambda x, i, j: x[i, j].astype("float16"), True),
        (lambda x, i, j: tirx.if_then_else(i < 4, x[i, j], 0.0), True),
        (lambda x, i, j: x[i, j] + 1.0, False),
    ],
)
def test_a_copy_computes_nothing(element, copies):
    x = placeholder(8, 8)
    sch = scheduled(x, te.compute((8, 8), lambda i, j: element(x, i, j), name="y"))
    assert is_copy(sch.get(sch.get_sblock("y"))) == copies


def test_an_expression_chooses_by_its_condition():
    i, one, two = tirx.Var("i", "int32"), tirx.const(1.0, "float32"), tirx.const(2.0, "float32")
    condition, *values = choice_of(tirx.if_then_else(i < 4, one, two))
    assert str(condition) == str(i < 4)
    assert [float(value.value) for value in values] == [1.0, 2.0]
    assert choice_of(tirx.exp(one)) is None
    assert choice_of(i + 1) is None
    assert choice_of(None) is None


@pytest.mark.parametrize(
    ("element", "moves"),
    [
        (lambda x, i, j: x[i, j], (False, True)),
        (lambda x, i, j: x[j, i], (True, False)),
        (lambda x, i, j: x[i, j // 2], (False, False)),
        (lambda x, i, j: x[j // 4, j % 4], (True, False)),
        (lambda x, i, j: x[j // 8, j % 8], (True, True)),
        (lambda x, i, j: tirx.if_then_else(j < 4, x[i, j], 0.0), (False, False)),
        (lambda x, i, j: tirx.if_then_else(i < 4, x[i, j], 0.0), (False, True)),
    ],
)
def test_which_steps_move_operands_by_one_element(element, moves):
    """Along i and j of an array [8, 8], whose rows lie 8 elements apart."""
    x = placeholder(8, 8)
    sch = scheduled(x, te.compute((8, 8), lambda i, j: element(x, i, j), name="y"))
    block = sch.get_sblock("y")
    assert tuple(moves_by_one(sch, block, axis) for axis in (0, 1)) == moves
