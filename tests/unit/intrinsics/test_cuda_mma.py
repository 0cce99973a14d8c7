"""Loads and stores put every element where the PTX ISA says that ``mma`` expects it."""

import ctypes
import itertools
import shutil
import subprocess

import numpy as np
import pytest
from ptx_isa import isa_a, isa_b, isa_c

from mschedx.intrinsics import cuda_mma
from mschedx.intrinsics.cuda_sources import SOURCES

PITCH = 48
NUMPY = {"float16": np.uint16, "bfloat16": np.uint16, "float32": np.uint32, "int8": np.uint8}


def expected(operand, lane, i):
    """Element (row, column) of a whole tile, whose two instructions split B and C in two."""
    if operand.name == "a":
        return isa_a(operand.k, operand.dtype, lane, i)
    half, within = divmod(i, operand.size // 2)
    row, column = isa_b(operand.k, operand.dtype, lane, within)
    return row, column + 8 * half


def ldmatrix(operand, lane, i):
    """Offset in memory of the element that ``ldmatrix`` puts into ``lane``'s register element i."""
    matrix, e = divmod(i, operand.width)
    if operand.rows_along_k:
        source, along = matrix * 8 + lane // 4, lane % 4 * operand.width + e
    else:
        source, along = matrix * 8 + lane % 4 * 2 + e, lane // 4
    return cuda_mma._row_offset(operand, source, PITCH) + along


def offset(operand, row, column):
    return column * PITCH + row if operand.transposed else row * PITCH + column


TYPES = [
    ("float16", 16),
    ("float16", 8),
    ("bfloat16", 16),
    ("bfloat16", 8),
    ("float32", 8),
    ("int8", 32),
    ("int8", 16),
]
OPERANDS = [
    cuda_mma.Operand(name, k, dtype, transposed)
    for dtype, k in TYPES
    for name, transposed in (("a", False), ("b", False), ("b", True))
]
BY_LDMATRIX = [one for one in OPERANDS if one.rows_along_k or one.width == 2]
BY_ELEMENT = [one for one in OPERANDS if one not in BY_LDMATRIX]


@pytest.mark.parametrize("operand", BY_LDMATRIX, ids=str)
def test_ldmatrix_fills_the_registers_that_mma_reads(operand):
    for lane, i in itertools.product(range(32), range(operand.size)):
        assert ldmatrix(operand, lane, i) == offset(operand, *expected(operand, lane, i))


@pytest.fixture(scope="module")
def host_library(tmp_path_factory):
    """The device functions, compiled for the host and run for one thread after the other."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler for the host is installed")
    functions = "".join(source for source in SOURCES.values() if "asm" not in source)
    wrappers = "".join(
        f"""
extern "C" void gather_{one.width}x{one.chunks}({ctype}* to, const {ctype}* from, int pitch) {{
  for (threadIdx.x = 0; threadIdx.x < 32; ++threadIdx.x)
    mschedx_mma_gather_{one.width}x{one.chunks}(to + threadIdx.x * {one.size}, from, pitch);
}}
"""
        for one, ctype in ((one, "unsigned" if one.width == 1 else "char") for one in BY_ELEMENT)
    )
    folder = tmp_path_factory.mktemp("device_functions")
    (folder / "host.cc").write_text(
        f"""
#define __device__
#define __forceinline__ inline
static struct {{ int x; }} threadIdx;
{functions}{wrappers}
extern "C" void store(float* to, int pitch, const float* from) {{
  for (threadIdx.x = 0; threadIdx.x < 32; ++threadIdx.x)
    mschedx_mma_store(to, pitch, from + threadIdx.x * 8);
}}
"""
    )
    library = folder / "host.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, folder / "host.cc"]
    subprocess.run(command, check=True, capture_output=True)
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize("operand", BY_ELEMENT, ids=str)
def test_gather_fills_the_registers_that_mma_reads(host_library, operand):
    rng = np.random.default_rng(0)
    memory = rng.integers(0, 1 << 8 * (4 // operand.width), (operand.k, PITCH))
    memory = memory.astype(NUMPY[operand.dtype])
    registers = np.zeros((32, operand.size), memory.dtype)
    gather = getattr(host_library, f"gather_{operand.width}x{operand.chunks}")
    gather(registers.ctypes.data_as(ctypes.c_void_p), memory.ctypes.data_as(ctypes.c_void_p), PITCH)
    for lane, i in itertools.product(range(32), range(operand.size)):
        assert registers[lane, i] == memory[expected(operand, lane, i)]


@pytest.mark.parametrize("pitch", [16, 48, 33])
def test_store_puts_every_result_in_its_place(host_library, pitch):
    registers = np.arange(32 * 8, dtype="float32").reshape(32, 8)
    memory = np.full((16, pitch), -1, "float32")
    host_library.store(
        memory.ctypes.data_as(ctypes.c_void_p), pitch, registers.ctypes.data_as(ctypes.c_void_p)
    )
    for lane, i in itertools.product(range(32), range(8)):
        row, column = isa_c(lane, i % 4)
        assert memory[row, column + i // 4 * 8] == registers[lane, i]
    assert (memory[:, 16:] == -1).all()


def test_staged_store_puts_every_result_in_its_place():
    for lane, i in itertools.product(range(32), range(8)):
        row, column = isa_c(lane, i % 4)
        assert cuda_mma._result_place(lane, i) == (row, column + i // 4 * 8)
