"""Faults planted in the sources of our own schedules are all found; without them, none is."""

import re
from dataclasses import replace

import numpy as np
import pytest
import tvm
from cuda_gemm import tensor_core_gemm
from cuda_workloads import product
from tvm.target import Target

from mschedx.emulator import ExecutionOptions, Kind
from mschedx.emulator.build import build
from mschedx.emulator.check import reference
from mschedx.emulator.execute import run
from mschedx.emulator.source import generate
from mschedx.emulator.translate import translate
from mschedx.intrinsics.cuda import INTRINSICS
from mschedx.measure.tolerance import compare
from mschedx.space import sketches

A100 = Target("nvidia/nvidia-a100")
BARRIER = "__syncthreads();"


def mma_gemm():
    intrinsic = next(
        one
        for one in INTRINSICS
        if one.kind == "mma" and one.in_dtype == "float16" and not one.b_transposed
    )
    return tensor_core_gemm(64, 64, 128, intrinsic)


@pytest.fixture(scope="module")
def kernels():
    """Programs with what they must compute: a plain GEMM, and a pipeline of asynchronous copies."""
    found = {}
    mod = tvm.IRModule({"main": product(64, 64, 128, "float16")})
    expected = reference(mod, np.random.default_rng(0))
    found["plain"] = generate(mma_gemm().mod, A100), expected
    rng = np.random.default_rng(0)
    for sketch in sketches(mod, A100):
        for schedule in sketch.schedules(sketch.sample(16, rng)):
            program = generate(schedule.mod, A100)
            waits = re.findall(r"wait_group (\d+);", program.source)
            if "mma.sync" in program.source and waits:
                found.setdefault("pipelined", (program, expected))
    return found


def outcome(program, expected, folder, seeds=4):
    """Kinds of the faults found, and whether the numbers were wrong, under every seed."""
    library = build(program, folder)
    results = []
    for seed in range(seeds):
        done = run(library, expected.before, ExecutionOptions(seed=seed))
        wrong = any(
            compare(a, b, expected.relative_tolerance).reason
            for a, b in zip(done.arrays, expected.after, strict=True)
        )
        results.append(({fault.kind for fault in done.faults}, wrong))
    return results


def without(source, text, number):
    """Remove the n-th occurrence."""
    parts = source.split(text)
    return text.join(parts[: number + 1]) + ";" + text.join(parts[number + 1 :])


@pytest.mark.parametrize("name", ["plain", "pipelined"])
def test_nothing_is_found_where_nothing_was_planted(kernels, name, tmp_path):
    program, expected = kernels[name]
    assert outcome(program, expected, tmp_path) == [(set(), False)] * 4


@pytest.mark.parametrize("name", ["plain", "pipelined"])
def test_every_barrier_is_missed(kernels, name, tmp_path):
    program, expected = kernels[name]
    count = program.source.count(BARRIER)
    assert count > 0
    for number in range(count):
        source = without(program.source, BARRIER, number)
        for kinds, _ in outcome(replace(program, source=source), expected, tmp_path):
            assert Kind.RACE in kinds, number


def test_a_wait_one_group_short(kernels, tmp_path):
    program, expected = kernels["pipelined"]
    waits = sorted(set(re.findall(r"wait_group (\d+);", program.source)))
    assert waits
    for groups in waits:
        source = program.source.replace(f"wait_group {groups};", f"wait_group {int(groups) + 1};")
        for kinds, _ in outcome(replace(program, source=source), expected, tmp_path):
            assert Kind.RACE in kinds, groups


@pytest.mark.parametrize("name", ["plain", "pipelined"])
def test_a_transposed_fragment(kernels, name, tmp_path):
    program, expected = kernels[name]
    source = program.source.replace(".x4.trans.", ".x4.")
    assert source != program.source
    for _, wrong in outcome(replace(program, source=source), expected, tmp_path):
        assert wrong


def test_a_pitch_one_vector_short_where_it_is_read(kernels, tmp_path):
    # Rows of A are read 8 elements early, each by one more: other numbers, all of them staged.
    program, expected = kernels["plain"]
    source = re.sub(r"& 15\) \* (\d+)\)", lambda m: f"& 15) * {int(m[1]) - 8})", program.source)
    assert source != program.source
    for kinds, wrong in outcome(replace(program, source=source), expected, tmp_path):
        assert wrong or kinds


def test_a_copy_one_row_beyond(kernels, tmp_path):
    # The copies of A start a row later: the last one reads beyond the array.
    program, expected = kernels["plain"]
    source = program.source.replace("*(uint4*)(A_ptr + (", "*(uint4*)(A_ptr + 128 + (")
    assert source != program.source
    for kinds, wrong in outcome(replace(program, source=source), expected, tmp_path):
        assert Kind.OUT_OF_BOUNDS in kinds
        assert wrong


def test_shared_memory_one_row_too_small(kernels, tmp_path):
    program, expected = kernels["plain"]
    (launch,) = program.launches
    small = replace(launch, dynamic_shared_bytes=launch.dynamic_shared_bytes - 256)
    for kinds, _ in outcome(replace(program, launches=(small,)), expected, tmp_path):
        assert Kind.OUT_OF_BOUNDS in kinds


@pytest.mark.parametrize("name", ["plain", "pipelined"])
def test_the_source_is_left_as_it_is(kernels, name):
    program, _ = kernels[name]
    lines, translated = program.source.splitlines(), translate(program.source).splitlines()
    assert len(translated) > len(lines), "what calls the kernels comes behind"
    within = False  # an asm statement
    for before, after in zip(lines, translated):
        begins = re.match(r"[\s{]*(__)?asm(__)?\b", before) is not None
        if begins:
            assert "emulator::ptx::" in after, before
        elif within:
            assert after.strip() in ("", ";"), before
        elif "__shared__" in before:
            assert "emulator::" in after, before
        else:
            assert after == before
        within = (within or begins) and ");" not in before
