"""Cycles of a core against what was measured: registers."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from stand_ins import gemm
from tvm import te

from mschedx import workloads
from mschedx.cost.analytical.machine import CpuMachine
from mschedx.cost.psa import PSAModel
from mschedx.hardware import Hardware
from mschedx.space import Sketch, sketches

TVM = "post-order-apply"
CPU = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})


def test_a_window_unrolled_around_many_sums_spills():
    """128 × 56 × 56 → 96, 3 × 3: 9.7 against 3.4 ms, measured on a Zen 4.

    Both have 28 or 14 sums in registers. The first also unrolls the window along the row: what its
    four columns read is read again by the next step, and kept.
    """
    sketch = sketches(workloads.make("conv2d", (1, 128, 56, 56, 96, 3, 1, 1), "float32"), CPU)[2]
    ones = dict.fromkeys(sketch.names, 1)
    outer = {"rh.0": 3, "o_0.0": 6, "j.0": 2, "j.1": 7, "rc.0": 8, "rc.1": 16, "i.1": 8, "i.2": 7}
    spilling = {**outer, "j.2": 4, "rw.1": 3}
    same_sums = {**outer, "j.2": 4, "rw.0": 3}
    half_the_sums = {**outer, "j.2": 2, "j.1": 14, "rw.1": 3}
    configs = [
        [{**ones, **{f"conv2d.{name}": value for name, value in one.items()}}[n] for n in ones]
        for one in (spilling, same_sums, half_the_sums)
    ]
    assert sketch.is_valid(np.array(configs)).all()
    spilt, outside, fewer = PSAModel().latency_s(None, sketch, np.array(configs))
    assert spilt > 1.5 * fewer
    assert spilt > 1.5 * outside


def predicted_us(op, shape, dtype, sketch, target=CPU, **decisions):
    """Microseconds of a config in TVM's space; decisions that are not named are 1."""
    opened = sketches(workloads.make(op, shape, dtype), target, TVM)[sketch]
    block = opened.names[0].split(".")[0]
    named = {f"{block}.{n.replace('_', '.')}": value for n, value in decisions.items()}
    config = np.array([[named.get(n, decisions.get(n, 1)) for n in opened.names]])
    assert opened.is_valid(config).all()
    return float(PSAModel().latency_s(None, opened, config)[0] * 1e6)


def test_lanes_that_are_rows_apart_are_loaded_one_by_one():
    """64 × 256 × 275, B transposed: 561 and 67 µs, measured on a Zen 4."""
    wide = dict(i0_0=4, i0_1=8, i0_2=2, i1_0=4, i1_1=2, i1_3=32, k_0=5, k_1=55, unroll=512)
    short = dict(i0_0=2, i0_1=2, i0_3=16, i1_0=4, i1_2=8, i1_3=8, k_0=11, k_1=25, unroll=16)
    slow = predicted_us("gemm_nt", (64, 256, 275), "float32", 2, **wide)
    assert slow > 300
    assert slow > 1.5 * predicted_us("gemm_nt", (64, 256, 275), "float32", 2, **short)


def test_a_vectorised_loop_of_one_iteration_leaves_lanes_to_the_compiler():
    """560 × 48 × 48 of int8: 17 µs, measured on a Zen 4; a hundred times that if it were scalar."""
    sketch = sketches(workloads.make("gemm", (560, 48, 48), "int8"), CPU, TVM)[0]
    configs = sketch.sample(200, np.random.default_rng(0))
    assert PSAModel().latency_s(None, sketch, configs).min() < 100e-6


def test_a_loop_around_a_long_unrolled_body_is_vectorised_by_the_compiler():
    """48 × 28 × 28, depthwise: 9.8 µs, measured on a Zen 4; 28 columns around 36 bodies."""
    decisions = {"pad.location": 2, "o_0": 48, "i_0": 7, "i_1": 4, "j_0": 28, "rh_1": 3, "rw_0": 3}
    shape = (1, 48, 28, 28, 3, 1, 1)
    left, unrolled = (
        predicted_us("depthwise_conv2d", shape, "float32", 3, **decisions, unroll=unroll)
        for unroll in (512, 64)
    )
    assert left < 30
    assert unrolled <= 1.05 * left, "36 bodies fit either limit"
    assert predicted_us("depthwise_conv2d", shape, "float32", 3, **decisions, unroll=0) > 2 * left


def test_what_the_loop_around_a_tile_does_not_move_is_loaded_once():
    """1000³: 4.5 ms measured on a Zen 5; ten elements of A serve 200 columns, in chains of five."""
    zen5 = tvm.target.Target({"kind": "llvm", "mcpu": "znver5", "num-cores": 2})
    tiles = dict(i0_0=4, i0_2=125, i0_3=2, i1_0=5, i1_2=200, k_0=200, k_1=5)
    found = [
        predicted_us("gemm", (1000, 1000, 1000), "float32", s, target=zen5, **tiles, unroll=0)
        for s in range(2)
    ]
    assert all(4_000 < us < 8_500 for us in found)


def test_an_empty_function_costs_something_and_divides_by_nothing():
    opened = sketches(gemm(0, 8, 8), CPU)
    with np.errstate(all="raise"):
        for sketch in opened:
            configs = sketch.sample(4, np.random.default_rng(0))
            seconds = PSAModel().latency_s(None, sketch, configs)
            assert np.isfinite(seconds).all()
            assert (seconds >= 0).all()


@pytest.mark.parametrize("instruction", ["dot_16x4_vnni"])
def test_a_product_that_a_postproc_tensorises_takes_the_time_of_its_calls(instruction):
    """TVM's own space for bytes: the schedule names the instruction, which comes in afterwards."""
    target = tvm.target.Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})
    a = te.placeholder((128, 256), "uint8", name="A")
    b = te.placeholder((64, 256), "int8", name="B")
    k = te.reduce_axis((0, 256), name="k")

    def cell(i, j):
        return te.sum(a[i, k].astype("int32") * b[j, k].astype("int32"), axis=k)

    c = te.compute((128, 64), cell, name="C")
    sketch = sketches(tvm.IRModule({"main": te.create_prim_func([a, b, c])}), target, TVM)[0]
    (statement,) = [s for s in sketch.statements if s.name == "C"]
    assert statement.intrinsic == instruction
    sketch = Sketch(sketch.design, sketch.analysis)  # TVM makes no vectors of a loop around a call
    configs = sketch.sample(20, np.random.default_rng(0))
    (cost,) = [one for one in PSAModel().costs(sketch, configs).statements if one.name == "C"]
    machine = CpuMachine.of(Hardware.from_target(target))
    calls = 128 * 64 * 256 / 64
    least = calls / machine.fma_ports / machine.hz / machine.cores
    assert (cost.terms["arithmetic"] >= 0.999 * least).all()
    # A call reads four bytes of A and a register of B, and no lane by itself.
    loads = cost.terms["loads"] / cost.terms["arithmetic"] * machine.loads_per_cycle
    assert (loads <= 2 * machine.loads_per_cycle).all()
