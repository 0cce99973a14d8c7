"""Acceptance facts of Heron's paper and code: heron.md, section 9.

Those about sampling are of Heron's own spaces (`heron_spaces`), the others of real programs. Of
these 5 and 6 are in tests/unit/space/rules/test_tensor_core_tile.py; 7 in test_shared_memory.py in
tests/unit/space/analysis/mirror; 10, 14 and half of 15 in tests/unit/search and test_strategies.py
beside this file. Fact 6 asks for programs that run, which the emulator and a GPU say
(docs/benchmarks/gpus.md), and fact 15 for measured latencies (docs/benchmarks/heron.md).
Heron's own labels, the first half of fact 6, are of its space and tested nowhere.
"""

import re
import time

import numpy as np
import pytest
import tvm
from dummy import target
from heron_spaces import Builder, tensor_core_gemm, vnni_gemm
from scipy import stats
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target
from tvm.target.codegen import target_has_features
from unoptimised import run_once

from mschedx.bench.vendor import inputs, torch_call
from mschedx.hardware import host_target
from mschedx.inputs import normalize_mod
from mschedx.record.schedules import replay
from mschedx.space import for_target, sketches
from mschedx.space.algebra.constraints import equal
from mschedx.space.algebra.expression import column, constant
from mschedx.space.analysis.exactness import check
from mschedx.space.trace.factors import factorizations
from mschedx.workloads import Workload, make

VNNI = Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})
LANES, WORD = 16, 4
needs_vnni = pytest.mark.skipif(
    not target_has_features(["avx512vnni", "avx512vl"], host_target()),
    reason="the host has no AVX-512 VNNI",
)


def opened(func, on):
    return sketches(normalize_mod(func), on, for_target(on))


def tiles(sketch):
    """Columns of every tile by its axis: {name: [outermost, ..., innermost]}."""
    found = {}
    for decision in sketch.decisions:
        axis, _, place = decision.name.rpartition(".")
        if axis:
            found.setdefault(axis, []).append((int(place), decision.column))
    return {axis: [column for _, column in sorted(columns)] for axis, columns in found.items()}


def test_fact_4_vnni_tiles_multiply_to_their_axes_and_hold_whole_instructions():
    m, n, k = 32, 96, 64
    rng = np.random.default_rng(0)
    for sketch in opened(make("gemm", (m, n, k), "int8"), VNNI):
        configs = sketch.sample(50, rng)
        of_axis = {
            axis: configs[:, columns].prod(axis=1) for axis, columns in tiles(sketch).items()
        }
        # What the instruction takes of an axis (16 columns, 4 of the sum) is split off before.
        assert all((products == products[0]).all() for products in of_axis.values())
        assert sorted(int(products[0]) for products in of_axis.values()) == sorted(
            [m, n // LANES, k // WORD]
        )
        for config in configs[:10]:
            script = sketch.schedule(config).mod.script()
            assert re.search(r"vpdpbusd", script)


def test_fact_4_predicted_extents_are_those_of_the_lowered_loops():
    rng = np.random.default_rng(1)
    for sketch in opened(make("gemm", (32, 96, 64), "int8"), VNNI):
        configs = sketch.sample(8, rng)
        verdict = check(sketch.design, sketch.analysis, configs, lowering=len(configs))
        assert verdict.wrong == {}
        assert verdict.lowered == len(configs)
        assert verdict.compared > 100


@needs_vnni
@pytest.mark.parametrize("k", [64])
def test_fact_12_vnni_gemm_of_an_unpacked_operand_is_exact(k):
    """B is [N, K]: Heron's own kernels load 64 bytes of one row there."""
    host, rng = host_target(), np.random.default_rng(0)
    func = make("gemm_nt", (32, 64, k), "int8")
    a = rng.integers(0, 256, (32, k), dtype=np.uint8)
    b = rng.integers(-128, 128, (64, k), dtype=np.int8)
    expected = a.astype(np.int32) @ b.astype(np.int32).T
    found = opened(func, host)
    for number in range(50):
        sketch = found[number % len(found)]
        mod = sketch.schedule(sketch.sample(1, rng)[0]).mod
        *_, out = run_once(mod, host, [a, b, np.zeros((32, 64), np.int32)])
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        ("conv3d", (1, 8, 5, 6, 7, 16, 3, 1, 1)),
        ("conv2d_transpose", (1, 8, 6, 5, 16, 4, 2, 1)),
    ],
)
def test_fact_12_conv3d_and_strided_transposed_conv_are_right(op, shape):
    """Heron indexes depth with the rows' variable, and applies the stride twice."""
    workload, host, rng = Workload(op, op, shape), host_target(), np.random.default_rng(0)
    arrays = inputs(workload)
    call = torch_call(workload, arrays)
    expected = call().numpy()
    found = opened(workload.func(), host)
    for sketch in (found * 6)[:6]:
        mod = sketch.schedule(sketch.sample(1, rng)[0]).mod
        *_, out = run_once(mod, host, [*arrays, np.zeros(expected.shape, np.float32)])
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("space", ["ours", "post-order-apply"])
@pytest.mark.parametrize(
    ("op", "shape", "dtype"),
    [
        ("gemm", (48, 80, 60), "float32"),
        ("gemm", (32, 64, 64), "int8"),
        ("conv2d", (1, 8, 9, 9, 16, 3, 2, 1), "float32"),
    ],
)
def test_fact_13_decisions_survive_the_trace_and_json(op, shape, dtype, space, tmp_path):
    on = target() if dtype == "float32" else VNNI
    mod = normalize_mod(make(op, shape, dtype))
    found = sketches(mod, on, for_target(on) if space == "ours" else space)
    rng = np.random.default_rng(0)
    written = ms.database.JSONDatabase(work_dir=str(tmp_path))
    workload = written.commit_workload(mod)
    kept = []
    for sketch in found[:: max(1, len(found) // 6)]:
        for config in sketch.sample(4, rng):
            schedule = sketch.schedule(config)
            np.testing.assert_array_equal(sketch.config_of(schedule.trace), config)
            latency_s = 1e-3 * (1 + len(kept))  # the database answers in this order
            record = ms.database.TuningRecord(schedule.trace, workload, [latency_s], on)
            written.commit_tuning_record(record)
            kept.append((sketch, config, schedule.mod))
    read = ms.database.JSONDatabase(work_dir=str(tmp_path)).get_all_tuning_records()
    read = sorted(read, key=lambda record: float(record.run_secs[0]))
    assert len(read) == len(kept) > 3
    for (sketch, config, scheduled), record in zip(kept, read):
        np.testing.assert_array_equal(sketch.config_of(record.trace), config)
        tvm.ir.assert_structural_equal(replay(record.trace, mod).mod, scheduled)


class TestSampling:
    @pytest.mark.parametrize(
        ("shape", "count"), [((64, 64, 64), 331_314_480), ((8, 16, 16), 438_120)]
    )
    def test_fact_1_count(self, shape, count):
        assert vnni_gemm(*shape).sampler().count() == count

    def test_fact_2_shares_of_the_attach_positions(self):
        ways = np.array([count_where(vnni_gemm(64, 64, 64), 2, p) for p in range(4)])
        assert ways.sum() == 331_314_480
        shares = ways / ways.sum()
        assert shares == pytest.approx([0.835, 0.153, 0.012, 0], abs=6e-4)
        assert ways[3] == 0
        drawn = vnni_gemm(64, 64, 64).sampler().sample(50_000, np.random.default_rng(0))
        hits = np.bincount(drawn[:, 2], minlength=4)
        assert hits[3] == 0
        assert stats.chisquare(hits[:3], shares[:3] * hits.sum()).pvalue > 1e-3

    def test_fact_3_tensor_core_count(self):
        sampler = tensor_core_gemm(64).sampler()
        assert sampler.count() == 153_985_536_000
        drawn = sampler.sample(50_000, np.random.default_rng(0))
        share = count_where(tensor_core_gemm(64), 6, 1) / 153_985_536_000
        assert share == pytest.approx(0.4304, abs=5e-5)
        drawn_share = (drawn[:, 6] == 1).mean()
        assert abs(drawn_share - share) < 4 * np.sqrt(share * (1 - share) / len(drawn))

    def test_fact_5_tensor_core_samples(self):
        drawn = tensor_core_gemm(64).sampler().sample(5_000, np.random.default_rng(0))
        assert (drawn[:, 0] * drawn[:, 1] == 256).all()
        assert (drawn[:, 4] * drawn[:, 9] == 32).all()
        y = drawn[:, 3] * drawn[:, 8]
        assert (32 * y <= 1024).all()
        assert (drawn[:, 12] * drawn[:, 17] == y).all()

    def test_fact_9_support_equals_enumeration(self):
        sampler = vnni_gemm(8, 16, 16).sampler()
        support = np.concatenate(list(sampler.every()))
        assert len(support) == 438_120
        assert len(np.unique(support, axis=0)) == 438_120
        expected = {
            (p, *i, *j, *ci, *cj)
            for p in range(4)
            for i in factorizations(8, 3).tolist()
            for j in factorizations(16, 3).tolist()
            for ci in _inner(8, p, i, 1)
            for cj in _inner(16, p, j, 16)
        }
        assert set(map(tuple, support[:, 2:17].tolist())) == expected

    def test_facts_8_and_10_and_11_recombination(self):
        sampler = vnni_gemm(64, 64, 64).sampler()
        rng = np.random.default_rng(0)
        parents = sampler.sample(20_000, rng).reshape(10_000, 2, -1)
        keys = rng.random((10_000, parents.shape[2])) < 0.3
        children = sampler.recombine(parents, keys, np.random.default_rng(5))
        assert sampler.is_valid(children).all()
        inherited = (children[:, None] == parents).any(axis=1)
        assert (inherited | ~keys).all()
        again = sampler.recombine(parents, keys, np.random.default_rng(5))
        assert np.array_equal(children, again)
        assert (children != parents[:, 0]).any(axis=1).mean() > 0.9

    def test_fact_8_identical_parents(self):
        sampler = vnni_gemm(64, 64, 64).sampler()
        rng = np.random.default_rng(0)
        parents = np.repeat(sampler.sample(500, rng)[:, None], 2, axis=1)
        keys = np.ones((500, parents.shape[2]), dtype=bool)
        assert np.array_equal(sampler.recombine(parents, keys, rng), parents[:, 0])
        keys[:, 0] = False
        children = sampler.recombine(parents, keys, rng)
        assert np.array_equal(children[:, 1:], parents[:, 0, 1:])
        assert len(np.unique(children[:, 0])) == 6

    @pytest.mark.performance
    def test_fact_11_speed(self):
        sampler = vnni_gemm(64, 64, 64).sampler()
        rng = np.random.default_rng(0)
        parents = sampler.sample(2 * 1248, rng).reshape(1248, 2, -1)
        keys = rng.random((1248, parents.shape[2])) < 0.3
        seconds = []
        for _ in range(3):
            start = time.process_time()
            sampler.sample(10_000, rng)
            sampler.recombine(parents, keys, rng)
            seconds.append(time.process_time() - start)
        assert min(seconds) < 1.0


def count_where(builder: Builder, where: int, value: int) -> int | None:
    """How many valid configs have this value in this column."""
    builder.constraints.append(equal(column(where), constant(value), "chosen"))
    return builder.sampler().count()


def _inner(extent: int, position: int, copy: list[int], unit: int) -> list[list[int]]:
    """Tiles of the compute stage by Heron's rule, written out."""
    left = (extent, copy[1] * copy[2], copy[2], 1)[position]
    return factorizations(left // unit, 4).tolist() if left % unit == 0 else []
