"""Design spaces with compute locations, as a design per combination."""

from __future__ import annotations

import numpy as np
import pytest
from spaces import LLVM, design_spaces, module, schedule_of
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.testing import te_workload

from mschedx.search.growing import searched
from mschedx.space import sketches
from mschedx.space.errors import EmptySpace
from mschedx.space.opening import sketches_from
from mschedx.space.trace import instructions as traces
from mschedx.space.trace.splitting import refused_somewhere, split


class TestLocations:
    @pytest.fixture(scope="class")
    @classmethod
    def mod(cls):
        return module(te_workload.conv2d_nhwc(1, 7, 7, 8, 8, 3, 1, 1))

    @pytest.fixture(scope="class")
    @classmethod
    def designs(cls, mod):
        return split(design_spaces(mod, LLVM)[-1], mod, LLVM, limit=64)

    def test_one_design_per_location(self, designs):
        codes = [design.locations["PadInput.location"] for design in designs]
        assert codes[:2] == [-2, -1]
        assert len(set(codes)) == len(codes) > 10
        assert all(len({d.instruction for d in design.decisions}) == 9 for design in designs)

    def test_every_sample_keeps_its_location(self, designs):
        for design in designs:
            for config in design.sampler().sample(12, np.random.default_rng(0)):
                schedule = design.replay(config)
                assert np.array_equal(design.config_of(schedule.trace), config)

    def test_no_location_of_tvm_is_excluded(self, mod, designs):
        trace = traces.with_decisions(designs[0].trace, {})
        for seed in range(150):
            drawn = traces.replay(mod, trace, seed=traces.seed_of(1000 + seed))
            found = [
                design
                for design in designs
                if (config := design.config_of(drawn.trace)) is not None
                and design.sampler().is_valid(config[None])[0]
            ]
            assert len(found) == 1

    def test_the_limit_is_kept_and_told(self, mod):
        designs = split(design_spaces(mod, LLVM)[-1], mod, LLVM, limit=3)
        assert len(designs) == 3
        assert all("there are more" in design.notes[-1] for design in designs)

    def test_several_locations(self):
        mod = module(te_workload.softmax_mn(16, 16))
        space = max(design_spaces(mod, LLVM), key=lambda s: len(s.trace.insts))
        designs = split(space, mod, LLVM, limit=6)
        assert len({tuple(d.locations.values()) for d in designs}) == len(designs) == 6
        for design in designs:
            for config in design.sampler().sample(4, np.random.default_rng(0)):
                design.replay(config)


def test_locations_at_which_every_config_is_refused_are_left_out():
    x = te.placeholder((6, 64), name="x")
    k = te.reduce_axis((0, 64), name="k")
    sums = te.compute((6,), lambda i: te.sum(x[i, k], k), name="sums")
    backwards = te.compute((6,), lambda i: sums[5 - i] * sums[5 - i], name="backwards")
    mod = module([x, backwards])
    found = sketches(mod, LLVM, "post-order-apply")
    locations = [sketch.design.locations for sketch in found]
    assert {"sums.location": -1} in locations
    assert {"sums.location": 0} not in locations, "bound to 5 - i below a parallel loop"
    for sketch in found:
        sketch.design.materialize(sketch.design.default_config())


def test_locations_that_leave_only_loops_of_varying_extent_are_left_out():
    """Rows of a reshape, four at a time, begin and end in the middle of a row of 11."""
    x = te.placeholder((7, 3, 11), name="x")
    k = te.reduce_axis((0, 3), name="k")
    sums = te.compute((7, 11), lambda i, j: te.sum(x[i, k, j], k), name="sums")
    flat = te.compute((77,), lambda i: te.sigmoid(sums[i // 11, i % 11]), name="flat")
    schedule = Schedule(module([x, flat]))
    loop = schedule.get_loops(schedule.get_sblock("flat"))[0]
    schedule.split(loop, [None, 4])
    mod = schedule.mod

    def build(sch):
        block = sch.get_sblock("sums")
        sch.split(sch.get_loops(block)[-1], sch.sample_perfect_tile(sch.get_loops(block)[-1], 2))
        sch.compute_at(block, sch.sample_compute_location(block), preserve_unit_loops=True)

    designs = split(schedule_of(mod, build), mod, LLVM)
    assert {"sums.location": -1} in [design.locations for design in designs]
    assert {"sums.location": 0} not in [design.locations for design in designs]
    for design in designs:
        design.materialize(design.default_config())


def smallest_of_sums():
    """The minimum's loops are fused and cut into threes: row ``3 * o // 2`` of the sums."""
    x = te.placeholder((9, 2, 4), name="x")
    k = te.reduce_axis((0, 4), name="k")
    rows, columns = te.reduce_axis((0, 9), name="rows"), te.reduce_axis((0, 2), name="columns")
    sums = te.compute((9, 2), lambda i, j: te.sum(x[i, j, k], k), name="sums")
    least = te.compute((), lambda: te.min(sums[rows, columns], [rows, columns]), name="least")
    return module([x, least])


def test_locations_at_which_some_configs_are_refused_unexplained_are_found():
    mod = smallest_of_sums()
    accepted, refused = 0, 0
    for space in design_spaces(mod, LLVM):
        for design in split(space, mod, LLVM):
            if refused_somewhere(design) is not None:
                assert design.doubtful
                refused += 1
                continue
            for config in design.sampler().sample(8, np.random.default_rng(0)):
                design.materialize(config)
                accepted += 1
    assert refused
    assert accepted >= 16


def test_they_are_no_sketches_and_none_is_searched():
    mod = smallest_of_sums()
    designs = design_spaces(mod, LLVM)
    every = sketches_from(designs, mod, LLVM)
    kept = {sketch.key for sketch in sketches(mod, LLVM, designs)}
    assert 0 < len(kept) < len(every)
    for sketch in every:
        if sketch.key in kept:
            assert len(searched(sketch).sample(1, np.random.default_rng(0)))
        else:
            with pytest.raises(EmptySpace, match="nothing says which"):
                searched(sketch)
