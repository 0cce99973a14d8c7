"""Whatever a rule raises costs that rule on that block."""

import logging

import pytest
import tvm
from spaces import CUDA, LLVM, module
from tvm import te
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule

from mschedx.space import sketches
from mschedx.space.rules.unless_it_fails import UnlessItFails


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
    with caplog.at_level(logging.WARNING, "tvm.s_tir.meta_schedule.mschedx.space"):
        left = UnlessItFails(Raises(error), "Raises").clone().apply(schedule, block)
    assert [one.mod.script() for one in left] == [before]
    assert "Raises does not fit block" in caplog.text
    assert "Index out of range" in caplog.text


def test_ctrl_c_in_a_rule_is_no_failure_of_the_rule():
    schedule = Schedule(doubled())
    (block,) = schedule.get_child_blocks(schedule.get_sblock("root"))
    with pytest.raises(KeyboardInterrupt):
        UnlessItFails(Raises(KeyboardInterrupt), "Raises").apply(schedule, block)


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
