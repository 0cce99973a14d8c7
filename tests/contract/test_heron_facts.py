"""Acceptance facts of Heron's paper and code that speak of real programs: heron.md, section 9.

Facts 1 to 3, 9 and 11 are in tests/unit/space/sampling/test_sampler.py; 5 to 7 in
tests/unit/space/rules/test_tensor_core_tile.py; 8, 10, 14 and half of 15 in tests/unit/search and
test_strategies.py beside this file. Fact 6 asks for programs that run, which the emulator and a GPU
say (docs/benchmarks/gpus.md), and fact 15 for measured latencies (docs/benchmarks/heron.md).
Heron's own labels, the first half of fact 6, are of its space and tested nowhere.
"""

import re

import numpy as np
import pytest
import tvm
from dummy import target
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target
from tvm.target.codegen import target_has_features
from unoptimised import run_once

from mschedx.bench.vendor import inputs, torch_call
from mschedx.hardware import host_target
from mschedx.inputs import normalize_mod
from mschedx.record.schedules import replay
from mschedx.space import for_target, sketches
from mschedx.space.analysis.exactness import check
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
