"""The Sketch as users and searches see it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tvm
from spaces import CUDA, LLVM, design_spaces, matmul, module, schedule_of
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.testing import te_workload
from tvm.script import tirx as T

import mschedx.space as space
from mschedx import compat
from mschedx.space import EmptySpace, InvalidSchedule, Sketch, sketches, sketches_from
from mschedx.space.algebra.constraints import at_least, at_most
from mschedx.space.algebra.expression import column
from mschedx.space.analysis import analyse
from mschedx.space.analysis.read.probe import random_configs, replayed_or_not
from mschedx.space.trace.design import Design


@pytest.fixture(scope="module")
def gemm() -> list[Sketch]:
    return sketches(matmul(64, 128, 32), LLVM, "post-order-apply")


@pytest.fixture(scope="module")
def cuda() -> Sketch:
    return sketches(matmul(128, 128, 128), CUDA, "post-order-apply")[0]


def two_way_split(mod):
    def build(sch):
        loop = sch.get_loops(sch.get_sblock("C"))[0]
        sch.split(loop, sch.sample_perfect_tile(loop, n=2))

    return schedule_of(mod, build)


class TestSpaces:
    """Whatever names a space."""

    def test_one_sketch_per_design_space(self, gemm):
        assert len(gemm) == 3
        assert gemm[-1].names[0] == "C.i.0"

    def test_our_own_space(self):
        found = sketches(matmul(64, 64, 64), LLVM)
        assert found
        config = found[0].sample(1, np.random.default_rng(0))[0]
        assert isinstance(found[0].schedule(config), Schedule)

    def test_generator_function_and_list(self):
        mod = matmul(16, 16, 16)

        def build(sch):
            loop = sch.get_loops(sch.get_sblock("C"))[0]
            sch.split(loop, sch.sample_perfect_tile(loop, n=2))

        generator = ms.space_generator.ScheduleFn(build)
        for named in (generator, build, [two_way_split(mod)], two_way_split(mod)):
            (sketch,) = sketches(mod, LLVM, named)
            assert sketch.names == ("C.i.0", "C.i.1")
            assert sketch.count() == 5

    def test_what_a_strategy_hands_over(self):
        mod = matmul(16, 16, 16)
        with compat.only_intrinsics(LLVM):
            context = ms.TuneContext(mod, target=LLVM, space_generator="post-order-apply")
        found = sketches_from(
            context.generate_design_space(), mod, LLVM, context.space_generator.postprocs
        )
        config = found[0].sample(1, np.random.default_rng(0))[0]
        assert np.array_equal(found[0].config_of(found[0].schedule(config).trace), config)

    def test_a_function_instead_of_a_module(self):
        mod = matmul(16, 16, 16)
        assert len(sketches(mod["main"], LLVM, "post-order-apply")) == 3

    def test_without_sampling_instructions(self):
        mod = matmul(16, 16, 16)
        schedule = schedule_of(mod, lambda sch: sch.parallel(sch.get_loops(sch.get_sblock("C"))[0]))
        (sketch,) = sketches(mod, LLVM, [schedule])
        assert sketch.count() == 1
        configs = sketch.sample(2, np.random.default_rng(0))
        assert configs.shape == (2, 0)
        assert sketch.is_valid(configs).all()
        assert isinstance(sketch.schedule(configs[0]), Schedule)
        assert "0 decisions, 1 configs" in sketch.describe()


class TestConfigs:
    def test_all_samples_become_schedules(self, gemm, cuda):
        for sketch in (*gemm, cuda):
            outcomes = sketch.schedules(sketch.sample(30, np.random.default_rng(0)))
            assert all(isinstance(outcome, Schedule) for outcome in outcomes)
            assert not sketch.failures

    def test_rejected_by_tvm_is_excluded_and_the_rest_is_not(self, cuda):
        """Configs drawn without constraints: the constraints tell TVM's verdict on each."""
        free = Sketch(cuda.design, analyse(cuda.design))
        rng = np.random.default_rng(3)
        configs = np.empty((60, len(free.decisions)), dtype=np.int64)
        for table in free.design.tables:
            picks = rng.integers(len(table.rows), size=len(configs))
            configs[:, list(table.columns)] = table.rows[picks]
        accepted = [isinstance(outcome, Schedule) for outcome in free.schedules(configs)]
        assert np.array_equal(cuda.is_valid(configs), accepted)
        assert 0 < sum(accepted) < len(accepted)

    def test_order_of_bulk_schedules(self, gemm):
        configs = gemm[0].sample(12, np.random.default_rng(1))
        for config, schedule in zip(configs, gemm[0].schedules(configs, threads=2)):
            assert np.array_equal(gemm[0].config_of(schedule.trace), config)

    def test_failures_are_counted_and_defects_logged(self, caplog):
        mod = matmul(512, 512, 512)
        (sketch, *_) = sketches(mod, CUDA, "post-order-apply")
        bare = Sketch(sketch.design, _without_constraints(sketch))
        configs = bare.sample(20, np.random.default_rng(0))
        with caplog.at_level(logging.WARNING):
            outcomes = bare.schedules(configs)
        failed = [o for o in outcomes if isinstance(o, InvalidSchedule)]
        assert failed
        assert bare.failures["VerifyGPUCode"] == len(failed)
        assert "the constraints allow what is refused" in caplog.text
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            sketch.schedules(configs)
        assert "the constraints allow" not in caplog.text
        index = next(i for i, o in enumerate(outcomes) if isinstance(o, InvalidSchedule))
        with pytest.raises(InvalidSchedule):
            bare.schedule(configs[index])

    def test_same_seed_same_configs(self, gemm):
        draw = [gemm[0].sample(100, np.random.default_rng(5)) for _ in range(2)]
        again = sketches(matmul(64, 128, 32), LLVM, "post-order-apply")[0]
        assert np.array_equal(*draw)
        assert np.array_equal(again.sample(100, np.random.default_rng(5)), draw[0])

    def test_recombination_inherits(self, cuda):
        rng = np.random.default_rng(0)
        parents = cuda.sample(400, rng).reshape(200, 2, -1)
        keys = rng.random((200, len(cuda.decisions))) < 0.4
        children = cuda.recombine(parents, keys, rng)
        assert cuda.is_valid(children).all()
        assert ((children[:, None] == parents).any(axis=1) | ~keys).all()

    def test_counting_agrees_with_enumeration(self):
        sketch = sketches(matmul(4, 8, 2), CUDA, "post-order-apply")[0]
        tables = sketch.design.tables
        picks = np.indices([len(table.rows) for table in tables]).reshape(len(tables), -1)
        configs = np.empty((picks.shape[1], len(sketch.decisions)), dtype=np.int64)
        for table, rows in zip(tables, picks):
            configs[:, list(table.columns)] = table.rows[rows]
        for constraint in sketch.constraints:
            configs = configs[constraint.holds(configs)]
        assert sketch.count() == len(configs) > 0
        assert sketch.is_valid(configs).all()


def _without_constraints(sketch: Sketch):
    class Bare:
        quantities = sketch.quantities
        constraints = ()
        canonical = ()
        preferences = ()
        unresolved = {}  # noqa: RUF012

    return Bare()


class TestKnowledge:
    def test_constraints_read_like_formulas(self, cuda):
        text = [str(constraint) for constraint in cuda.constraints]
        assert any("C.i.2·C.j.2 <= 1024" in line for line in text)
        assert all("[" in line for line in text)

    def test_extents(self, gemm):
        sketch = gemm[-1]
        configs = sketch.sample(50, np.random.default_rng(0))
        extents = sketch.extents(configs)
        assert set(extents) == set(sketch.quantities)
        for name, values in extents.items():
            assert values.shape == (50,), name
            assert np.array_equal(values, sketch.quantities[name](configs))

    def test_sampling_on_a_cpu_needs_no_analysis(self):
        sketch = sketches(matmul(16, 16, 16), LLVM, "post-order-apply")[0]
        sketch.sample(10, np.random.default_rng(0))
        assert "analysis" not in vars(sketch)
        assert sketch.analysis.constraints == ()
        assert sketch.constraints == sketch.design.constraints

    def test_features(self, gemm):
        sketch = gemm[-1]
        configs = sketch.sample(64, np.random.default_rng(0))
        features = sketch.features(configs)
        assert (
            features.shape == (64, len(sketch.feature_names)) == (64, len(sketch.feature_columns))
        )
        assert features.dtype == np.float64
        assert np.isfinite(features).all()
        position = sketch.feature_names.index("C.i.0")
        assert np.allclose(features[:, position], np.log2(1 + configs[:, 0]))
        assert sketch.feature_columns[position] == {0}
        assert len(set(sketch.feature_names)) == len(sketch.feature_names)

    def test_features_of_one_valued_decisions_are_left_out(self):
        (sketch, *_) = sketches(matmul(1, 64, 64), LLVM, "post-order-apply")
        single = {d.column for d in sketch.decisions if len(d.domain) == 1}
        assert single
        assert not any(columns <= single for columns in sketch.feature_columns)

    def test_describe(self, cuda):
        text = cuda.describe()
        assert f"{cuda.count()} configs" in text
        assert "A_shared.fetch in {1, 2, 3, 4}" in text
        assert "threads per block" in text

    def test_narrowed(self, gemm):
        sketch = gemm[-1]
        own = Sketch(sketch.design, sketch.analysis, [at_most(column(0), 4, "mine")])
        assert own.count() < sketch.count()
        assert any("mine" in str(c) for c in own.narrowed().constraints)
        assert sketch.narrowed(canonical=True).count() <= sketch.count()

    def test_empty_space_says_why(self, gemm):
        sketch = gemm[-1]
        none = Sketch(sketch.design, sketch.analysis, [at_least(column(0), 1000, "too much")])
        assert none.count() == 0
        with pytest.raises(space.EmptySpace, match=r"C\.i\.0 >= 1000    \[too much\]"):
            none.sample(1, np.random.default_rng(0))


def test_a_location_is_one_sketch_each():
    mod = module(te_workload.conv2d_nhwc(1, 8, 8, 8, 8, 3, 1, 1))
    spaces = design_spaces(mod, LLVM)
    found = sketches_from(spaces[-1:], mod, LLVM)
    assert len({tuple(s.design.locations.values()) for s in found}) == len(found) > 8
    sketch = found[-1]
    outcomes = sketch.schedules(sketch.sample(10, np.random.default_rng(0)))
    assert all(isinstance(outcome, Schedule) for outcome in outcomes)
    other = found[0].config_of(outcomes[0].trace)
    assert other is None
    assert isinstance(sketch.design, Design)


def two_spaces(extents):
    """Tiles of two loops, of a triangle; that of a loop whose extent varies cannot be opened."""
    with compat.fast_script():

        @T.prim_func(s_tir=True)
        def main(A: T.Buffer((32, 32), "float32")):
            for i in range(32):
                for j in range(i + 1):
                    with T.sblock("A"):
                        v, w = T.axis.remap("SS", [i, j])
                        A[v, w] = T.float32(1)

    schedules = []
    for place in extents:
        schedule = Schedule(tvm.IRModule({"main": main}))
        loop = schedule.get_loops(schedule.get_sblock("A"))[place]
        schedule.split(loop, schedule.sample_perfect_tile(loop, 2, 32))
        schedules.append(schedule)
    return tvm.IRModule({"main": main}), schedules


def test_a_design_space_that_cannot_be_opened_costs_no_other(caplog):
    mod, (good, bad) = two_spaces([0, 1])
    with caplog.at_level(logging.WARNING, "tvm.s_tir.meta_schedule.mschedx.space"):
        found = sketches(mod, LLVM, [bad, good])
    assert [sketch.design.signature for sketch in found] == [
        sketch.design.signature for sketch in sketches(mod, LLVM, [good])
    ]
    assert "design space 0 is left out: " in caplog.text
    with pytest.raises(space.UnsupportedTrace):
        sketches(mod, LLVM, [bad, bad])


def test_loops_of_varying_extent_are_ruled_out_on_a_cpu():
    mod = module(te_workload.conv2d_transpose_nhwc(1, 4, 4, 8, 8, 4, 2, 1))
    found = sketches(mod, LLVM, "post-order-apply")
    sketch = next(s for s in found if s.constraints != (*s.design.constraints,))
    assert all("DisallowDynamicLoop" in c.origin for c in sketch.constraints[-1:])
    configs = sketch.sample(24, np.random.default_rng(0))
    refused = replayed_or_not(sketch.design, configs).refused
    assert "DisallowDynamicLoop" not in [reason for _, reason in refused]
    anything = random_configs(sketch.design, 200, np.random.default_rng(1))
    assert not sketch.is_valid(anything).all()


@pytest.fixture(scope="module")
def all_configs(gemm) -> np.ndarray:
    return np.unique(gemm[-1].sample(20_000, np.random.default_rng(0)), axis=0)


class TestFix:
    """Decisions that a user makes: every config that is left has them, and none is lost."""

    def test_keeps_exactly_the_configs_with_these_values(self, gemm, all_configs):
        sketch = gemm[-1]
        name, value = sketch.names[0], int(all_configs[0, 0])
        fixed = sketch.fix({name: value})
        assert fixed.key == sketch.key
        np.testing.assert_array_equal(
            fixed.is_valid(all_configs), sketch.is_valid(all_configs) & (all_configs[:, 0] == value)
        )
        assert (fixed.sample(100, np.random.default_rng(1))[:, 0] == value).all()
        assert "fixed by the user" in fixed.describe()

    def test_fixed_again_keeps_what_was_fixed(self, gemm, all_configs):
        sketch = gemm[-1]
        first, second = sketch.names[:2]
        both = sketch.fix({first: int(all_configs[0, 0])}).fix({second: int(all_configs[0, 1])})
        drawn = both.narrowed(preferences=True).sample(50, np.random.default_rng(0))
        assert (drawn[:, :2] == all_configs[0, :2]).all()

    def test_a_whole_config_leaves_it_alone(self):
        sketch = sketches(matmul(64, 64, 64), LLVM)[0]
        for config in sketch.sample(5, np.random.default_rng(3)):
            one = sketch.fix(dict(zip(sketch.names, config.tolist())))
            assert one.count() == 1
            np.testing.assert_array_equal(
                one.narrowed().sample(1, np.random.default_rng(0))[0], config
            )

    def test_what_cannot_be_is_refused(self, gemm):
        sketch = gemm[-1]
        name = sketch.names[0]
        with pytest.raises(ValueError, match=r"expected one of the decisions .*got 'tile'"):
            sketch.fix(tile=4)
        with pytest.raises(ValueError, match=rf"expected {name} to be one of .*, got 7"):
            sketch.fix({name: 7})
        with pytest.raises(ValueError, match=r"expected a whole number for .*, got 2.5"):
            sketch.fix({name: 2.5})
        tile = [n for n in sketch.names if n.startswith("C.i.")]
        with pytest.raises(EmptySpace, match="fixed by the user"):
            sketch.fix(dict.fromkeys(tile, 64))

    def test_a_space_may_be_sketches(self, gemm):
        mod = matmul(64, 128, 32)
        assert sketches(mod, LLVM, gemm[0]) == [gemm[0]]
        assert sketches(mod, LLVM, gemm[:2]) == gemm[:2]
        with pytest.raises(ValueError, match="another workload"):
            sketches(matmul(64, 64, 64), LLVM, gemm)
        with pytest.raises(TypeError, match="list of sketches, got a Schedule"):
            sketches(mod, LLVM, [gemm[0], Schedule(module(mod))])


def test_narrow_integers_do_not_wrap_around(gemm):
    sketch = sketches(matmul(2048, 2048, 2048), LLVM)[0]
    configs = sketch.sample(4, np.random.default_rng(0))
    narrow = configs.astype(np.int32)
    assert sketch.describe(narrow[0]) == sketch.describe(configs[0])
    for name, found in sketch.extents(configs).items():
        np.testing.assert_array_equal(sketch.extents(narrow)[name], found)


def test_a_value_that_is_none_of_its_decisions_takes_its_place_in_the_list(gemm):
    sketch = gemm[0]
    configs = sketch.sample(4, np.random.default_rng(0)).astype(float)
    configs[1, sketch.names.index("unroll")] = 7
    configs[2] += 0.5
    configs[3, 0] = np.nan
    made = sketch.schedules(configs)
    assert isinstance(made[0], Schedule)
    assert [str(one).partition(":")[0] for one in made[1:]] == ["decision"] * 3
    assert sketch.failures["decision"] >= 3
    with pytest.raises(ValueError, match=r"must be a whole number.*see Sketch\.nearest"):
        sketch.schedule(configs[2])
    with pytest.raises(ValueError, match="expected configs of whole numbers"):
        sketch.extents(configs[2:3])
    whole = configs[:1].astype(np.float32)
    assert sketch.extents(whole).keys() == sketch.extents(configs[:1].astype(int)).keys()


def test_a_limit_that_no_decision_can_keep_empties_the_space():
    def too_many_threads(sch):
        (loop,) = sch.get_loops(sch.get_sblock("C"))
        outer, inner = sch.split(loop, [None, 2048])
        sch.bind(outer, "blockIdx.x")
        sch.bind(inner, "threadIdx.x")
        step = sch.sample_categorical([0, 16], [0.5, 0.5])
        sch.annotate(outer, "pragma_auto_unroll_max_step", step)

    a = te.placeholder((4096,), name="A")
    func = te.create_prim_func([a, te.compute((4096,), lambda i: a[i] + 1.0, name="C")])
    (sketch,) = sketches(func, CUDA, ms.space_generator.ScheduleFn(too_many_threads))
    assert sketch.count() == 0
    with pytest.raises(EmptySpace, match="1024"):
        sketch.sample(1, np.random.default_rng(0))
