"""The head of a trace, applied once: the programs are those of the whole trace."""

from __future__ import annotations

import os

import numpy as np
import pytest
from spaces import CUDA, LLVM, matmul, module, schedule_of
from tvm.s_tir.meta_schedule.testing import te_workload
from tvm_ffi import structural_equal

from mschedx import compat
from mschedx.compat import threads
from mschedx.space import sketches
from mschedx.space.analysis.read.probe import corner_configs, random_configs
from mschedx.space.errors import InvalidSchedule
from mschedx.space.trace.design import Design
from mschedx.space.trace.instructions import (
    decision_of,
    inspect,
    seed_of,
    with_decisions,
)
from mschedx.space.trace.instructions import (
    replay as replay_trace,
)
from mschedx.space.trace.materialize import useful_threads
from mschedx.space.trace.prefix import tail
from mschedx.space.trace.tables import replayed_tables

HALF = {"in_dtype": "float16", "out_dtype": "float32"}
CASES = {
    "tvm-conv-bn-relu": (
        lambda: module(te_workload.conv2d_nhwc_bn_relu(1, 14, 14, 8, 16, 3, 1, 1)),
        LLVM,
        "post-order-apply",
    ),
    "tvm-softmax": (
        lambda: module(te_workload.softmax_mn(16, 64)),
        LLVM,
        "post-order-apply",
    ),
    "packed-gemm": (lambda: matmul(60, 64, 32), LLVM, None),
    "tensor-core-gemm": (lambda: matmul(60, 96, 64, **HALF), CUDA, None),
    "tensor-core-conv": (
        lambda: module(te_workload.conv2d_nhwc(1, 10, 10, 32, 32, 3, 1, 1, **HALF)),
        CUDA,
        None,
    ),
}


def outcome(replay, config):
    try:
        return replay(config)
    except InvalidSchedule as refused:
        return refused.reason


@pytest.mark.parametrize("name", CASES)
def test_programs_are_those_of_the_whole_trace(name):
    make, target, space = CASES[name]
    found = sketches(make(), target, space)
    rng, programs = np.random.default_rng(0), 0
    for sketch in (found[0], found[-1]):
        design = sketch.design
        for config in (*random_configs(design, 6, rng), *corner_configs(design)[:6]):
            whole = outcome(design.replay, config)
            short = outcome(design.replayed_mod, config)
            assert structural_equal(getattr(whole, "mod", whole), short)
            programs += not isinstance(short, str)
    assert programs >= 4, "equal refusals alone show nothing"


def test_head_is_left_out():
    make, target, space = CASES["tensor-core-conv"]
    design = sketches(make(), target, space)[0].design
    shorter = tail(design.mod, design.trace)
    kinds = [inst.kind.name for inst in shorter.trace.insts]
    shifts = {before - after for before, after in shorter.places.items()}
    assert min(shifts) > 5
    assert not {"ReIndex", "TransformLayout", "ComputeInline"} & set(kinds)
    assert shifts == {len(design.trace.insts) - len(kinds)}


def _tile_first_loop(schedule):
    block = schedule.get_sblock("C")
    loop, *_ = schedule.get_loops(block)
    schedule.split(loop, schedule.sample_perfect_tile(loop, 2))


def _fuse_then_tile(schedule):
    _, *loops = schedule.get_loops(schedule.get_sblock("C"))
    fused = schedule.fuse(*loops)
    schedule.split(fused, schedule.sample_perfect_tile(fused, 2))


@pytest.mark.parametrize("build", [_tile_first_loop, _fuse_then_tile])
def test_loops_that_are_needed_later_stay_in_the_tail(build):
    mod = matmul(8, 12, 4)
    design = Design.from_schedule(schedule_of(mod, build), mod, LLVM)
    shorter = tail(design.mod, design.trace)
    assert [inst.kind.name for inst in shorter.trace.insts][:2] == ["GetSBlock", "GetLoops"]
    config = corner_configs(design)[-1]
    assert structural_equal(design.replayed_mod(config), design.replay(config).mod)
    other = design.replayed_mod(corner_configs(design)[0])
    assert not structural_equal(other, design.replay(config).mod)


def test_trace_that_samples_nothing_is_its_own_tail():
    mod = matmul(8, 8, 8)
    schedule = schedule_of(mod, lambda sch: sch.fuse(*sch.get_loops(sch.get_sblock("C"))[:2]))
    shorter = tail(mod, schedule.trace)
    assert shorter.places == {}
    assert shorter.start.mod.same_as(mod)


def test_invalid_decisions_are_refused_alike():
    mod = matmul(8, 12, 4)
    design = Design.from_schedule(schedule_of(mod, _tile_first_loop), mod, LLVM)
    wrong = np.array([3, 2])
    for replay in (design.replay, design.replayed_mod):
        with pytest.raises(InvalidSchedule) as refused:
            replay(wrong)
        assert refused.value.reason == "repaired"


@pytest.mark.parametrize("name", CASES)
def test_the_tail_draws_what_the_whole_trace_draws(name):
    make, target, space = CASES[name]
    design = sketches(make(), target, space)[0].design
    sampled = inspect(design.mod, design.trace)
    fixed = {
        item.instruction: decision_of(design.trace, item.instruction)
        for item in sampled
        if item.kind == "SampleComputeLocation"
    }
    whole, expected = with_decisions(design.trace, fixed), []
    for number in range(16):
        try:
            done = replay_trace(design.mod, whole, seed=seed_of(number)).trace
        except InvalidSchedule:
            continue
        draw = {item.instruction: decision_of(done, item.instruction) for item in sampled}
        if all(draw[at] == raw for at, raw in fixed.items()):
            expected.append(draw)
    assert expected
    found = replayed_tables(design.mod, design.trace, sampled, len(expected))
    assert found == expected
    assert len({tuple(draw.items()) for draw in found}) > 1


@pytest.fixture
def six_cores(monkeypatch):
    """Nothing was said of how many of them to use."""
    monkeypatch.setattr("mschedx.compat.available_cores", lambda: 6)
    monkeypatch.setattr(threads, "_count", threads._Count())
    monkeypatch.setenv("TVM_BIND_THREADS", "0")
    monkeypatch.setenv("TVM_NUM_THREADS", "")


@pytest.mark.usefixtures("six_cores")
@pytest.mark.parametrize(("told", "expected"), [("1", 1), ("2", 6), (None, 6)])
def test_a_process_that_shares_its_cores_replays_in_one_thread(monkeypatch, told, expected):
    if told is not None:
        monkeypatch.setenv("TVM_NUM_THREADS", told)
    assert useful_threads() == expected


@pytest.mark.usefixtures("six_cores")
def test_a_network_on_one_core_does_not_slow_down_later_replays():
    compat.on_cores(1, lambda: None)
    assert os.environ["TVM_NUM_THREADS"] == "1"
    assert useful_threads() == 6
