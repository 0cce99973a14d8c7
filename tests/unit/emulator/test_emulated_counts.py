"""Requests, passes through the banks and sectors of known access patterns."""

import numpy as np
import pytest
from cuda_kernels import execute_kernel, kernel, poisoned

from mschedx.emulator import ExecutionOptions

SHARED = "__shared__ alignas(128) float s[2048];"
FILL = "for (int i = t; i < 2048; i += 32) s[i] = A[i];\n__syncthreads();\n"


def counted(body, shared=SHARED, **launch):
    source = kernel(f"int t = threadIdx.x;\n{body}", "float* A, float* D", shared)
    arrays = [np.arange(2048, dtype="float32"), poisoned(2048, "float32")]
    return execute_kernel(source, arrays, ExecutionOptions(count=True), **launch).counts


@pytest.mark.parametrize(
    ("read", "transfers", "least"),
    [
        ("s[t]", 1, 1),
        ("s[t * 2]", 2, 1),
        ("s[t * 3]", 1, 1),
        ("s[t * 32]", 32, 1),
        ("s[t * 33]", 1, 1),
        ("s[0]", 1, 1),
        ("((float2*)s)[t].x", 2, 2),
        ("((float4*)s)[t].x", 4, 4),
        ("((float4*)s)[t * 2].x", 8, 4),
        ("(float)((half*)s)[t]", 1, 1),
    ],
)
def test_passes_through_shared_memory(read, transfers, least):
    # A whole vector is read, though one element of it is used.
    counts = counted(FILL + f"D[t] = {read};" if ".x" not in read else FILL + vector(read))
    (one,) = [r for r in counts.requests if r.shared and not r.write]
    assert (one.requests, one.transfers, one.least) == (1, transfers, least)
    assert one.conflicts == transfers - least


def vector(read):
    width = read[read.index("float") + 5]
    return f"float{width} v = {read.removesuffix('.x')}; D[t] = v.x + v.y;"


@pytest.mark.parametrize(
    ("index", "sectors"), [("t", 4), ("t + 1", 5), ("t * 2", 8), ("t * 8", 32), ("0", 1)]
)
def test_sectors_of_global_memory(index, sectors):
    counts = counted(f"D[t] = A[{index}];", "")
    assert counts.total("transfers", shared=False, write=False) == sectors
    assert counts.total("transfers", shared=False, write=True) == 4
    assert counts.total("requests", shared=False) == 2


def test_lanes_that_skip_an_access_take_no_part():
    counts = counted("if (t < 4) D[t * 8] = 1; D[1024 + t] = 2;", "")
    assert sorted(r.transfers for r in counts.requests) == [4, 4]
    assert sum(r.size_bytes for r in counts.requests) == 4 * 4 + 32 * 4


def test_instructions_by_kind():
    body = "__syncthreads(); int x = __shfl_sync(~0u, t, 0, 32); __syncthreads(); D[t] = x;"
    counts = counted(body, "", block=(64, 1, 1), grid=(3, 1, 1))
    assert counts.instructions == {"barrier": 2 * 64 * 3, "shfl": 2 * 3}


def test_only_if_asked():
    source = kernel("D[threadIdx.x] = 1;", "float* D")
    assert execute_kernel(source, [poisoned(32, "float32")]).counts is None
