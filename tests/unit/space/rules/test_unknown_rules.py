"""Names of rules that blocks bear: such that nobody has registered, and such that somebody has."""

import pytest
import tvm
import tvm_ffi
from spaces import CUDA, LLVM, module
from tvm import te, topi
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.stmt import SBlock

from mschedx.space import for_target


def pooled(rule=None):
    x = te.placeholder((1, 8, 16, 16), name="x")
    y = topi.nn.pool2d(x, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), "max")
    mod = module([x, y])
    if rule is None:
        return mod
    schedule = tvm.s_tir.Schedule(mod)
    block = schedule.get_sblock("pool_max")
    schedule.unannotate(block, "schedule_rule")
    schedule.annotate(block, "schedule_rule", rule)
    return schedule.mod


def spaces(mod, target):
    context = ms.TuneContext(mod, target=target, space_generator=for_target(target), rand_state=1)
    return list(context.generate_design_space())


def annotations(schedule):
    """Of all blocks that compute the pooling, whatever has been made of it."""
    found = {}

    def visit(block):
        if str(block.name_hint).startswith("pool_max"):
            found.update({str(key): value for key, value in block.annotations.items()})

    tvm_ffi.structural_walk(schedule.mod["main"].body, (SBlock, visit))
    return found


def test_topi_names_a_rule_for_its_pooling():
    """Otherwise the tests below would show nothing."""
    assert annotations(tvm.s_tir.Schedule(pooled()))["schedule_rule"] == "meta_schedule.pool_max"


@pytest.mark.parametrize("target", [LLVM, CUDA])
def test_pooling_is_scheduled_without_a_warning(target, capfd):
    found = spaces(pooled(), target)
    said = capfd.readouterr()
    assert "Unknown schedule rule" not in said.err + said.out
    assert found
    for schedule in found:
        assert "schedule_rule" not in annotations(schedule)
        assert any(inst.kind.name.startswith("Sample") for inst in schedule.trace.insts)


def test_that_a_block_is_to_be_left_alone_stays_said():
    for schedule in spaces(pooled("None"), LLVM):
        assert annotations(schedule)["schedule_rule"] == "None"


def test_a_rule_that_somebody_registered_has_the_block():
    name = "s_tir.meta_schedule.cpu.mschedx_test.pool"

    def annotated(schedule, block):
        schedule.annotate(block, "seen", 1)
        schedule.unannotate(block, "schedule_rule")
        return [schedule]

    tvm_ffi.register_global_func(name, annotated, override=True)
    try:
        found = spaces(pooled("mschedx_test.pool"), LLVM)
    finally:
        tvm_ffi.registry.remove_global_func(name)
    assert found
    assert all(int(annotations(schedule)["seen"]) == 1 for schedule in found)
