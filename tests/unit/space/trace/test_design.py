"""Opening traced design spaces up into decisions, and back."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from spaces import LLVM, design_spaces, matmul, module, schedule_of
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.testing import te_workload

from mschedx.search.opening import searched
from mschedx.space import sketches
from mschedx.space.errors import EmptySpace, InvalidSchedule, UnsupportedTrace
from mschedx.space.sampling.sampler import Sampler
from mschedx.space.sketch import sketches_from
from mschedx.space.trace import instructions as traces
from mschedx.space.trace.design import DecisionKind, Design
from mschedx.space.trace.factors import (
    count_factorizations,
    factorizations,
    partitioned_tiles,
    perfect_tiles,
)


def sampler_of(design: Design) -> Sampler:
    return Sampler(design.tables, design.constraints, len(design.decisions))


class TestFactorizations:
    @pytest.mark.parametrize(
        ("extent", "parts"), [(1, 4), (7, 3), (12, 3), (64, 4), (30, 2), (5, 1)]
    )
    def test_equal_brute_force(self, extent, parts):
        grid = np.indices((extent,) * parts).reshape(parts, -1).T + 1 if extent < 31 else None
        rows = factorizations(extent, parts)
        assert len(rows) == count_factorizations(extent, parts)
        assert (rows.prod(axis=1) == extent).all()
        assert (np.unique(rows, axis=0) == rows).all()
        if grid is not None:
            assert np.array_equal(rows, grid[grid.prod(axis=1) == extent])

    def test_sizes_that_are_documented(self):
        assert len(factorizations(4096, 4)) == 455
        assert len(factorizations(2**20, 5)) == 10_626
        assert len(factorizations(720720, 5)) == 656_250

    def test_too_many_rows(self):
        with pytest.raises(UnsupportedTrace, match="pad it"):
            factorizations(720720, 8)

    def test_side_conditions(self):
        assert perfect_tiles(128, 4, 16)[:, -1].max() == 16
        assert len(perfect_tiles(13, 4, 5)) == 3
        inner = partitioned_tiles(64, 4, 2, 16)
        assert (inner[:, 2:].prod(axis=1) % 16 == 0).all()
        assert len(partitioned_tiles(10, 3, 1, 16)) == 0

    def test_bad_extent(self):
        with pytest.raises(ValueError, match="extent >= 1"):
            factorizations(0, 2)


class TestGemm:
    @pytest.fixture(scope="class")
    @classmethod
    def design(cls):
        mod = matmul(64, 128, 32)
        return Design.from_schedule(design_spaces(mod, LLVM)[-1], mod, LLVM)

    def test_decisions(self, design):
        assert design.names[:4] == ("C.i.0", "C.i.1", "C.i.2", "C.i.3")
        assert design.names[-1] == "unroll"
        kinds = [decision.kind for decision in design.decisions]
        assert kinds == [DecisionKind.TILE] * 10 + [DecisionKind.CATEGORICAL]
        assert design.decisions[-1].domain == (0, 16, 64, 512)
        assert [d.column for d in design.decisions] == list(range(11))
        assert design.decisions[0].domain == (1, 2, 4, 8, 16, 32, 64)

    def test_tables_hold_what_tvm_draws(self, design):
        assert [len(table.rows) for table in design.tables] == [84, 119, 6, 4]
        rows = set(map(tuple, design.tables[0].rows.tolist()))
        for seed in range(40):
            drawn = Schedule(design.mod, seed=traces.seed_of(seed))
            traces.with_decisions(design.trace, {}).apply_to_schedule(drawn, True)
            raw = traces.decision_of(drawn.trace, design.tables[0].instruction)
            assert raw in rows

    def test_round_trip(self, design):
        for config in sampler_of(design).sample(30, np.random.default_rng(0)):
            schedule = design.materialize(config)
            assert np.array_equal(design.config_of(schedule.trace), config)

    def test_round_trip_through_a_database_record(self, design, tmp_path):
        config = sampler_of(design).sample(1, np.random.default_rng(1))[0]
        database = ms.database.JSONDatabase(work_dir=str(tmp_path))
        workload = database.commit_workload(design.mod)
        trace = design.materialize(config).trace
        database.commit_tuning_record(ms.database.TuningRecord(trace, workload, [1.0], LLVM, None))
        (record,) = ms.database.JSONDatabase(work_dir=str(tmp_path)).get_all_tuning_records()
        assert np.array_equal(design.config_of(record.trace), config)

    def test_traces_of_other_structures(self, design):
        other = design_spaces(design.mod, LLVM)[0]
        assert design.config_of(other.trace) is None

    def test_decisions_outside_the_tables(self, design):
        raw = design._raw(design.base)
        wide = traces.with_decisions(
            design.trace, {**raw, design.tables[1].instruction: (1, 1, 1, 128)}
        )
        assert design.config_of(wide) is None

    def test_silent_repair_is_refused(self, design):
        config = design.default_config()
        config[:4] = [1, 1, 1, 24]
        with pytest.raises(InvalidSchedule, match="TVM made") as error:
            design.replay(config)
        assert error.value.reason == "repaired"

    def test_values_that_are_no_candidates(self, design):
        config = design.default_config()
        config[-1] = 17
        with pytest.raises(ValueError, match="unroll must be one of"):
            design.replay(config)
        with pytest.raises(ValueError, match="expected a config of 11 values"):
            design.replay(config[:3])

    def test_postprocs_that_reject_are_named(self):
        target = tvm.target.Target("nvidia/nvidia-a100")
        mod = matmul(256, 256, 256)
        design = Design.from_schedule(design_spaces(mod, target)[0], mod, target)
        config = design.default_config()
        config[:13] = [1, 1, 1, 256, 1, 1, 1, 1, 256, 1, 1, 256, 1]
        with pytest.raises(InvalidSchedule) as error:
            design.materialize(config)
        assert error.value.reason == "VerifyGPUCode"


class TestTraces:
    """Small traces, one instruction kind at a time."""

    def test_partitioned_tile(self):
        mod = matmul(64, 64, 64)

        def build(sch):
            loop = sch.get_loops(sch.get_sblock("C"))[0]
            factors = sch.sample_partitioned_tile(loop, n=3, partition_pos=1, innerpart_factor=16)
            sch.split(loop, factors)

        design = Design.from_schedule(schedule_of(mod, build), mod, LLVM)
        assert {d.kind for d in design.decisions} == {DecisionKind.PARTITIONED}
        assert np.array_equal(design.tables[0].rows, partitioned_tiles(64, 3, 1, 16))
        for row in design.tables[0].rows:
            assert np.array_equal(design.config_of(design.replay(row).trace), row)

    def test_partitioned_tile_that_does_not_divide(self):
        mod = matmul(10, 64, 64)

        def build(sch):
            loop = sch.get_loops(sch.get_sblock("C"))[0]
            sch.sample_partitioned_tile(loop, n=3, partition_pos=1, innerpart_factor=16)
            factors = sch.sample_partitioned_tile(loop, n=3, partition_pos=1, innerpart_factor=16)
            sch.annotate(loop, "factor", factors[1])

        with pytest.raises(EmptySpace, match="pad the loop"):
            Design.from_schedule(schedule_of(mod, build), mod, LLVM)

    def test_duplicate_and_impossible_candidates(self):
        mod = matmul(16, 16, 16)

        def build(sch):
            block = sch.get_sblock("C")
            probs = [0.25, 0.25, 0.5, 0.0]
            choice = sch.sample_categorical([8, 4, 8, 2], probs, decision=1)
            sch.annotate(block, "mschedx.width", choice)

        design = Design.from_schedule(schedule_of(mod, build), mod, LLVM)
        assert design.names == ("C.width",)
        assert design.decisions[0].domain == (4, 8)
        for value in (4, 8):
            schedule = design.replay(np.array([value]))
            annotation = schedule.get(schedule.get_sblock("C")).annotations["mschedx.width"]
            assert int(annotation) == value
            assert design.config_of(schedule.trace).tolist() == [value]

    def test_a_tile_of_a_tile(self):
        mod = matmul(48, 16, 16)

        def build(sch):
            loop = sch.get_loops(sch.get_sblock("C"))[0]
            outer = sch.sample_perfect_tile(loop, n=2, max_innermost_factor=16)
            inner = sch.split(loop, outer)[0]
            sch.split(inner, sch.sample_perfect_tile(inner, n=2, max_innermost_factor=8))

        design = Design.from_schedule(schedule_of(mod, build), mod, LLVM)
        assert len(design.constraints) == 1
        assert "==" in str(design.constraints[0])
        sampler = sampler_of(design)
        expected = {
            (48 // a, a, 48 // a // b, b)
            for a in (1, 2, 3, 4, 6, 8, 12, 16)
            for b in range(1, 9)
            if 48 // a % b == 0
        }
        assert sampler.count() == len(expected)
        support = np.concatenate(list(sampler.every()))
        assert set(map(tuple, support.tolist())) == expected
        for config in support:
            assert np.array_equal(design.config_of(design.replay(config).trace), config)

    def test_primes_and_ones(self):
        mod = matmul(13, 1, 7)
        design = Design.from_schedule(design_spaces(mod, LLVM)[-1], mod, LLVM)
        assert [len(table.rows) for table in design.tables] == [4, 1, 2, 4]
        for config in np.concatenate(list(sampler_of(design).every())):
            design.materialize(config)

    def test_no_sampling_instructions(self):
        mod = matmul(16, 16, 16)
        schedule = schedule_of(mod, lambda sch: sch.parallel(sch.get_loops(sch.get_sblock("C"))[0]))
        design = Design.from_schedule(schedule, mod, LLVM)
        assert design.decisions == ()
        assert sampler_of(design).count() == 1
        assert design.config_of(design.materialize(np.empty(0, dtype=np.int64)).trace).shape == (0,)

    def test_dynamic_shapes(self):
        n = te.var("n")
        a = te.placeholder((n, 16), name="A")
        b = te.compute((n, 16), lambda i, j: a[i, j] + 1.0, name="B")
        mod = module([a, b])

        def build(sch):
            loop = sch.get_loops(sch.get_sblock("B"))[0]
            sch.split(loop, sch.sample_perfect_tile(loop, n=2))

        with pytest.raises(UnsupportedTrace, match="shapes must be static"):
            Design.from_schedule(schedule_of(mod, build), mod, LLVM)

    def test_unknown_sampling_instruction(self, monkeypatch):
        mod = matmul(16, 16, 16)
        space = design_spaces(mod, LLVM)[-1]
        monkeypatch.setattr(traces, "SAMPLERS", traces.TILES)
        with pytest.raises(UnsupportedTrace, match="SampleCategorical, makes a decision"):
            Design.from_schedule(space, mod, LLVM)

    def test_untraced_schedule(self):
        mod = matmul(16, 16, 16)
        with pytest.raises(UnsupportedTrace, match="without a trace"):
            Design.from_schedule(None, mod, LLVM)


class TestLocations:
    @pytest.fixture(scope="class")
    @classmethod
    def mod(cls):
        return module(te_workload.conv2d_nhwc(1, 7, 7, 8, 8, 3, 1, 1))

    @pytest.fixture(scope="class")
    @classmethod
    def designs(cls, mod):
        return Design.split(design_spaces(mod, LLVM)[-1], mod, LLVM, limit=64)

    def test_one_design_per_location(self, designs):
        codes = [design.locations["PadInput.location"] for design in designs]
        assert codes[:2] == [-2, -1]
        assert len(set(codes)) == len(codes) > 10
        assert all(len({d.instruction for d in design.decisions}) == 9 for design in designs)

    def test_every_sample_keeps_its_location(self, designs):
        for design in designs:
            for config in sampler_of(design).sample(12, np.random.default_rng(0)):
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
                and sampler_of(design).is_valid(config[None])[0]
            ]
            assert len(found) == 1

    def test_the_limit_is_kept_and_told(self, mod):
        designs = Design.split(design_spaces(mod, LLVM)[-1], mod, LLVM, limit=3)
        assert len(designs) == 3
        assert all("there are more" in design.notes[-1] for design in designs)

    def test_several_locations(self):
        mod = module(te_workload.softmax_mn(16, 16))
        space = max(design_spaces(mod, LLVM), key=lambda s: len(s.trace.insts))
        designs = Design.split(space, mod, LLVM, limit=6)
        assert len({tuple(d.locations.values()) for d in designs}) == len(designs) == 6
        for design in designs:
            for config in sampler_of(design).sample(4, np.random.default_rng(0)):
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

    designs = Design.split(schedule_of(mod, build), mod, LLVM)
    assert {"sums.location": -1} in [design.locations for design in designs]
    assert {"sums.location": 0} not in [design.locations for design in designs]
    for design in designs:
        design.materialize(design.default_config())


def test_the_tiles_of_primes_vary_before_anything_is_concluded():
    """Of eight primes, three draws show some in one tile only, and what depends on it as fixed."""
    primes = (11, 13, 17, 19, 23, 29, 31, 37)
    x = te.placeholder(primes, name="x")
    mod = module([x, te.compute(primes, lambda *i: x(*i) + 1.0, name="y")])

    def build(sch):
        for loop in sch.get_loops(sch.get_sblock("y")):
            _, inner = sch.split(loop, sch.sample_perfect_tile(loop, 2, max_innermost_factor=-1))
            sch.split(inner, sch.sample_perfect_tile(inner, 2, max_innermost_factor=-1))

    design = Design.from_schedule(schedule_of(mod, build), mod, LLVM)
    assert len(design.constraints) == len(primes)
    assert sampler_of(design).count() == 3 ** len(primes)


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
        for design in Design.split(space, mod, LLVM):
            if design.refused_somewhere() is not None:
                assert design.doubtful
                refused += 1
                continue
            for config in sampler_of(design).sample(8, np.random.default_rng(0)):
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
