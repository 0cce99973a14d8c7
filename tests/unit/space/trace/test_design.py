"""Opening traced design spaces up into decisions, and back."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from spaces import LLVM, design_spaces, matmul, module, schedule_of
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from mschedx.space.errors import EmptySpace, InvalidSchedule, UnsupportedTrace
from mschedx.space.trace import instructions as traces
from mschedx.space.trace.design import DecisionKind, Design
from mschedx.space.trace.factors import partitioned_tiles


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
        for config in design.sampler().sample(30, np.random.default_rng(0)):
            schedule = design.materialize(config)
            assert np.array_equal(design.config_of(schedule.trace), config)

    def test_round_trip_through_a_database_record(self, design, tmp_path):
        config = design.sampler().sample(1, np.random.default_rng(1))[0]
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
        raw = design.raw(design.base)
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
        sampler = design.sampler()
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
        for config in np.concatenate(list(design.sampler().every())):
            design.materialize(config)

    def test_no_sampling_instructions(self):
        mod = matmul(16, 16, 16)
        schedule = schedule_of(mod, lambda sch: sch.parallel(sch.get_loops(sch.get_sblock("C"))[0]))
        design = Design.from_schedule(schedule, mod, LLVM)
        assert design.decisions == ()
        assert design.sampler().count() == 1
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
    assert design.sampler().count() == 3 ** len(primes)
