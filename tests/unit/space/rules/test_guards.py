"""Where a rule is applied, what of its work stays, and that what it raises costs it alone."""

import logging

import pytest
import tvm
from spaces import CUDA, LLVM, module
from tvm import te, tirx
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule

from mschedx.space import sketches
from mschedx.space.annotation_keys import UNROLL_IMPLICIT
from mschedx.space.rules.blocks import is_tiled, root_block, root_blocks
from mschedx.space.rules.guards import Guarded, keeps_whole_blocks, not_bound, not_tiled
from mschedx.told import listening


@derived_object
class Raises(PyScheduleRule):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def _initialize_with_tune_context(self, context):
        del context

    def apply(self, sch, block):
        raise self.error("Index out of range")

    def clone(self):
        return Raises(self.error)


def doubled():
    a = te.placeholder((8,), "float32", name="A")
    return tvm.IRModule({"main": te.create_prim_func([a, te.compute((8,), lambda i: a[i] * 2)])})


@pytest.mark.parametrize("error", [IndexError, ValueError, TypeError, RuntimeError, KeyError])
def test_the_block_is_left_to_the_next_rule_and_the_reason_logged(error, caplog):
    schedule = Schedule(doubled())
    before = schedule.mod.script()
    (block,) = schedule.get_child_blocks(schedule.get_sblock("root"))
    with (
        caplog.at_level(logging.WARNING, "tvm.s_tir.meta_schedule.mschedx.space"),
        listening() as heard,
    ):
        left = Guarded(Raises(error), "Raises").clone().apply(schedule, block)
    assert [one.mod.script() for one in left] == [before]
    assert "Raises does not fit block" in caplog.text
    assert "Index out of range" in caplog.text
    assert heard == [record.getMessage() for record in caplog.records]


def test_ctrl_c_in_a_rule_is_no_failure_of_the_rule():
    schedule = Schedule(doubled())
    (block,) = schedule.get_child_blocks(schedule.get_sblock("root"))
    with pytest.raises(KeyboardInterrupt):
        Guarded(Raises(KeyboardInterrupt), "Raises").apply(schedule, block)


@derived_object
class Parallelises(PyScheduleRule):
    """Makes two of a block: one with its first loop parallel, one as it was before."""

    def _initialize_with_tune_context(self, context):
        del context

    def apply(self, sch, block):
        before = sch.copy()
        sch.parallel(sch.get_loops(block)[0])
        return [sch, before]

    def clone(self):
        return Parallelises()


def applied(**guards):
    """What a guarded rule makes of a block, and whether what it was given is as it was."""
    schedule = Schedule(doubled())
    (block,) = root_blocks(schedule)
    rule = Guarded(Parallelises(), "Parallelises", **guards).clone()
    return [is_tiled(one) for one in rule.apply(schedule, block)], not is_tiled(schedule)


def test_a_rule_is_not_applied_where_it_may_not_be():
    assert applied(applies=lambda sch, block: False) == ([False], True)
    assert applied(applies=lambda sch, block: True) == ([True, False], False)


def test_what_a_rule_spoils_is_left_out():
    assert applied(keeps=[lambda before: is_tiled]) == ([True], True)
    assert applied(keeps=[lambda before: lambda after: not is_tiled(after)]) == ([False], True)


def test_a_block_that_a_rule_spoils_altogether_stays_as_it_is():
    assert applied(keeps=[lambda before: lambda after: False]) == ([False], True)


def test_what_is_kept_is_what_all_that_look_on_allow():
    tiled, serial = is_tiled, lambda after: not is_tiled(after)
    assert applied(keeps=[lambda before: None, lambda before: tiled]) == ([True], True)
    assert applied(keeps=[lambda before: tiled, lambda before: serial]) == ([False], True)


def test_where_nothing_is_to_be_kept_all_stays():
    assert applied(keeps=[lambda before: None]) == ([True, False], False)


def test_a_predicate_that_raises_costs_the_rule(caplog):
    def keeps(before):
        raise ValueError("no idea")

    with caplog.at_level(logging.WARNING, "tvm.s_tir.meta_schedule.mschedx.space"):
        assert applied(keeps=[keeps]) == ([False], True)
    assert "Parallelises does not fit block compute" in caplog.text


def test_bound_blocks_and_decided_roots_are_done():
    schedule = Schedule(doubled())
    root, (block,) = root_block(schedule), root_blocks(schedule)
    assert not_bound(schedule, root)
    assert not_bound(schedule, block)
    schedule.annotate(root, UNROLL_IMPLICIT, 16)
    schedule.bind(schedule.get_loops(block)[0], "threadIdx.x")
    assert not not_bound(schedule, root)
    assert not not_bound(schedule, block)


def test_functions_are_tiled_once():
    schedule = Schedule(doubled())
    root, (block,) = root_block(schedule), root_blocks(schedule)
    assert not_tiled(schedule, root)
    assert not_tiled(schedule, block)
    schedule.parallel(schedule.get_loops(block)[0])
    assert not not_tiled(schedule, root)
    assert not not_tiled(schedule, block)


def test_a_consumer_keeps_its_points():
    x = te.placeholder((8,), "float32", name="x")
    t = te.compute((8,), lambda i: x[i] * 2, name="t")
    y = te.compute((12,), lambda i: tirx.if_then_else(i < 8, t[i], 7.0), name="y")
    schedule = Schedule(module([x, y]))
    is_kept = keeps_whole_blocks(schedule)
    fused = schedule.copy()
    fused.reverse_compute_at(fused.get_sblock("y"), fused.get_loops(fused.get_sblock("t"))[0])
    assert is_kept(schedule)
    assert not is_kept(fused)


@pytest.mark.parametrize("target", [LLVM, CUDA])
def test_a_reduction_of_constants_has_sketches(target):
    """``InlineConstantScalars`` takes it for a constant, which it cannot inline."""
    x, k = te.placeholder((8,), name="x"), te.reduce_axis((0, 7), name="k")
    seven = te.compute((), lambda: te.sum(1.0 + 0.0 * k, k), name="seven")
    y = te.compute((8,), lambda i: x[i] * seven(), name="y")
    assert sketches(module([x, y]), target)


def test_a_product_beside_one_of_nothing_has_sketches():
    """TVM's ``MultiLevelTiling`` raises: "not all the statements are schedulable"."""
    x0 = te.placeholder((3, 2, 31), name="x0")
    x1, x2 = te.placeholder((3, 0, 31), name="x1"), te.placeholder((31, 16), name="x2")
    k, r = te.reduce_axis((0, 31), name="k"), te.reduce_axis((0, 31), name="r")
    none = te.compute((3, 2, 0), lambda i, j, n: te.sum(x1[i, n, k] * x0[i, j, k], k), name="none")
    out = te.compute((3, 2, 0), lambda i, j, n: te.exp(none[i, j, n]), name="out")
    t = te.compute((3, 2, 16), lambda i, j, n: te.sum(x2[r, n] * x0[i, j, r], r), name="t")
    turned = te.compute((16, 2, 3), lambda n, j, i: t[i, j, n], name="turned")
    mod = module([x0, x1, x2, out, turned])
    assert sketches(mod, LLVM)
