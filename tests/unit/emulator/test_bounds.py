"""Accesses that no array has, memory that nobody wrote, threads that never meet."""

from dataclasses import replace

import numpy as np
import pytest
from cuda_kernels import execute_kernel, execute_program, kernel, poisoned, program

from mschedx.emulator import Kind

STATIC = "__shared__ alignas(64) float s[64];"
DYNAMIC = "extern __shared__ __align__(64) uchar buf_dyn_shmem_ptr[];"


def executed(body, shared="", **launch):
    source = "#define uchar unsigned char\n" + kernel(
        f"int t = threadIdx.x;\n{body}", "float* A, float* D", shared
    )
    arrays = [np.arange(64, dtype="float32"), poisoned(64, "float32")]
    return execute_kernel(source, arrays, **{"block": (64, 1, 1), **launch})


@pytest.mark.parametrize(
    ("body", "array", "offset"),
    [
        ("D[t] = A[t + (t == 7)* 57];", "arg0", 256),
        ("D[t] = A[t - (t == 0)];", "arg0", -4),
        ("D[t == 9 ? 64 : t] = A[t];", "arg1", 256),
        ("if (t == 9) *(float4*)(D + 64) = *(float4*)(A);", "arg1", 256),
        ("s[t == 3 ? 64 : t] = A[t];", "shared", 256),
        ("((float*)s)[t == 3 ? -1 : t] = A[t];", "shared", -4),
    ],
)
def test_just_outside(body, array, offset):
    done = executed(body, STATIC)
    (fault,) = [f for f in done.faults if f.kind is Kind.OUT_OF_BOUNDS]
    assert (fault.array, fault.offset_bytes) == (array, offset)
    assert fault.line.text == body
    assert f"of {array} at byte {offset}, line" in str(fault)


@pytest.mark.parametrize("index", [2_000_000_000, -2_000_000_000])
@pytest.mark.parametrize("access", ["D[t] = A[{0} + t];", "s[t + {0}] = A[t];"])
def test_far_outside_is_given_up_not_a_crash(access, index):
    body = access.format(f"(int)(A[1] * {index}.0f)")
    done = executed(body, STATIC)
    assert not done.finished
    assert {f.kind for f in done.faults} == {Kind.OUT_OF_BOUNDS}
    # The machine is as good as new afterwards.
    assert executed("D[t] = A[t];").faults == ()


def test_dynamic_memory_is_as_large_as_the_launch_says():
    body = "((float*)buf_dyn_shmem_ptr)[t] = A[t];"
    assert executed(body, DYNAMIC, dynamic=256).faults == ()
    (fault,) = executed(body, DYNAMIC, dynamic=252).faults
    assert (fault.kind, fault.offset_bytes) == (Kind.OUT_OF_BOUNDS, 252)


def test_more_shared_memory_than_the_target_has():
    both = f"{STATIC}\n{DYNAMIC}"
    body = "((float*)buf_dyn_shmem_ptr)[t] = A[t]; s[t] = 1;"
    assert executed(body, both, dynamic=256, limit=512).finished
    done = executed(body, both, dynamic=256, limit=511)
    assert not done.finished
    assert "512 bytes of shared memory, more than the 511" in str(done.faults[0])


def test_shared_memory_that_nobody_wrote():
    done = executed("if (t != 5) s[t] = A[t]; __syncthreads(); D[t] = s[t];", STATIC)
    (fault,) = done.faults
    assert (fault.kind, fault.offset_bytes, fault.thread) == (Kind.UNINITIALISED, 20, 5)
    assert np.isnan(done.arrays[1][5])


def test_a_block_does_not_see_what_another_left():
    body = (
        "if (blockIdx.x == {0}) s[t] = A[t]; __syncthreads(); if (blockIdx.x != {0}) D[t] = s[t];"
    )
    for first in (0, 1):
        done = executed(body.format(first), STATIC, grid=(2, 1, 1))
        assert {f.kind for f in done.faults} == {Kind.UNINITIALISED}


def test_misaligned_vectors():
    done = executed("if (t < 4) *(float4*)(D + 4 * t) = *(float4*)(A + 4 * t + 1);")
    (fault,) = done.faults
    assert (fault.kind, fault.array, fault.size_bytes) == (Kind.MISALIGNED, "arg0", 16)
    assert not done.finished


def test_threads_that_never_meet():
    # Lane 8 of the second warp waits for lanes that wait for the whole block.
    done = executed("if (t == 40) __shfl_sync(~0u, t, 0, 32);\n__syncthreads();\nD[t] = 1;")
    assert not done.finished
    (fault,) = done.faults
    assert fault.kind is Kind.DIVERGENCE
    assert "they never meet" in str(fault)


def test_a_fault_is_told_once_with_how_often():
    done = executed("for (int i = 0; i < 3; ++i) D[64 + i] = A[t];", block=(1, 1, 1))
    (fault,) = done.faults
    assert fault.count == 3


@pytest.mark.parametrize(
    "launch",
    [
        {"block": (2048, 1, 1)},
        {"block": (32, 33, 1)},
        {"block": (1, 1, 128)},
        {"grid": (1, 65536, 1)},
        {"grid": (1, 1, 65536)},
    ],
)
def test_a_launch_that_cuda_refuses_is_refused(launch):
    with pytest.raises(ValueError, match=r"at most 1024 threads a block.*at most .*65535.* blocks"):
        executed("if (blockIdx.y + blockIdx.z == 0) D[t % 64] = 1;", **launch)


def test_as_many_threads_and_blocks_as_cuda_takes():
    assert executed("D[t % 64] = A[t % 64];", block=(1024, 1, 1)).finished
    body = "if (blockIdx.x == 69999) D[t] = A[t];"
    assert executed(body, block=(1, 1, 1), grid=(70000, 1, 1)).faults == ()


def test_a_target_may_take_fewer_threads():
    arrays = [np.zeros(64, "float32")]
    source = kernel("A[threadIdx.x] = 1;", "float* A")
    few = replace(program(source, arrays, block=(64, 1, 1)), thread_limit=32)
    with pytest.raises(ValueError, match="at most 32 threads a block"):
        execute_program(few, arrays)


def test_places_beyond_those_kept_are_counted():
    lines = "\n".join(f"D[{64 + 2 * i}] = A[t];" for i in range(70))
    done = executed(f"for (int i = 0; i < 3; ++i) {{\n{lines}\n}}", block=(1, 1, 1))
    assert {fault.kind for fault in done.faults} == {Kind.OUT_OF_BOUNDS}
    assert len(done.faults) == 64
    assert done.more_faults == (70 - 64) * 3
    assert executed("D[t] = A[t];").more_faults == 0
