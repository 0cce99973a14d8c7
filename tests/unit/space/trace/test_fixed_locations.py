"""Fixed compute locations named outright: the programs are those that sampling makes."""

from __future__ import annotations

import numpy as np
import pytest
from spaces import LLVM, matmul, module, schedule_of
from tvm.s_tir import Trace
from tvm.s_tir.meta_schedule.testing import te_workload
from tvm_ffi import structural_equal

from mschedx.space import sketches
from mschedx.space.trace.design import Design
from mschedx.space.trace.fixed_locations import settle

CONVOLUTION = te_workload.conv2d_nhwc(1, 14, 14, 8, 16, 3, 1, 1)


@pytest.fixture(scope="module")
def designs():
    """One design per compute location of a padded convolution, by location."""
    found = sketches(module(CONVOLUTION), LLVM, "post-order-apply")
    by_code = {}
    for sketch in found:
        by_code.setdefault(tuple(sketch.design.locations.values()), sketch)
    return {codes[0]: sketch for codes, sketch in by_code.items() if len(codes) == 1}


def kinds_of(design):
    return [inst.kind.name for inst in design._tail.trace.insts]


def test_a_loop_is_looked_up(designs):
    loops = [code for code in designs if code >= 0]
    assert len(loops) >= 4
    for code in loops:
        design = designs[code].design
        assert "SampleComputeLocation" not in kinds_of(design)
        assert "GetConsumers" in kinds_of(design)
        for config in designs[code].sample(8, np.random.default_rng(code)):
            assert structural_equal(design.replayed_mod(config), design.replay(config).mod)


def test_at_the_root_nothing_is_moved(designs):
    design = designs[-1].design
    assert not {"SampleComputeLocation", "ComputeAt"} & set(kinds_of(design))
    for config in designs[-1].sample(8, np.random.default_rng(0)):
        assert structural_equal(design.replayed_mod(config), design.replay(config).mod)


def test_inlined_stands_for_itself(designs):
    design = designs[-2].design
    assert not {"SampleComputeLocation", "ComputeAt"} & set(kinds_of(design))
    assert "ComputeInline" in kinds_of(design)
    for config in designs[-2].sample(8, np.random.default_rng(0)):
        assert structural_equal(design.replayed_mod(config), design.replay(config).mod)


def test_several_locations_in_one_trace():
    found = sketches(module(te_workload.softmax_mn(16, 64)), LLVM, "post-order-apply")
    several = [sketch for sketch in found if len(sketch.design.locations) > 1]
    assert several
    for sketch in several[:: max(1, len(several) // 6)]:
        design = sketch.design
        assert "SampleComputeLocation" not in kinds_of(design)
        for config in sketch.sample(3, np.random.default_rng(0)):
            assert structural_equal(design.replayed_mod(config), design.replay(config).mod)


def test_places_follow_the_sampling_instructions(designs):
    for sketch in designs.values():
        design = sketch.design
        whole, shorter = design.trace.insts, design._tail
        for before, after in shorter.places.items():
            assert shorter.trace.insts[after].outputs[0].same_as(whole[before].outputs[0])


def test_without_locations_nothing_changes():
    mod = matmul(8, 12, 4)
    schedule = schedule_of(mod, lambda sch: sch.sample_perfect_tile(loop_of(sch), 2))
    design = Design.from_schedule(schedule, mod, LLVM)
    settled = settle(mod, design.trace, {})
    assert [one.number for one in settled] == list(range(len(design.trace.insts)))
    again = Trace([one.instruction for one in settled], design.trace.decisions)
    assert structural_equal(again.as_json(), design.trace.as_json())


def loop_of(schedule):
    return schedule.get_loops(schedule.get_sblock("C"))[0]


def test_a_location_that_is_used_otherwise_stays_sampled():
    """Only moving a block there is understood; splitting that loop is not."""
    mod = module(te_workload.matmul_relu(8, 12, 4))

    def split_it(schedule):
        block = schedule.get_sblock("C")
        location = schedule.sample_compute_location(block, decision=0)
        schedule.split(location, schedule.sample_perfect_tile(location, 2))

    design = Design.from_schedule(schedule_of(mod, split_it), mod, LLVM)
    assert "SampleComputeLocation" in kinds_of(design)
    config = design.default_config()
    assert structural_equal(design.replayed_mod(config), design.replay(config).mod)
