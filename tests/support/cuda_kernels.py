"""Kernels written as CUDA in a test, executed by the emulator."""

import functools
import tempfile
from pathlib import Path

import numpy as np

from mschedx.emulator import ExecutionOptions
from mschedx.emulator.build import build
from mschedx.emulator.execute import run
from mschedx.emulator.source import Array, Launch, Program

PROLOGUE = """
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <mma.h>
"""


@functools.cache
def _folder():
    return tempfile.TemporaryDirectory(prefix="mschedx-test-kernels-")


def kernel(body, parameters, shared="", name="main_kernel"):
    """A kernel of these statements; `shared` declares shared memory. Sources may be joined."""
    return f'{PROLOGUE}extern "C" __global__ void {name}({parameters}) {{\n{shared}\n{body}\n}}\n'


def program(
    source, arrays, *, name="main_kernel", grid=(1, 1, 1), block=(32, 1, 1), dynamic=0, limit=49152
):
    """A program that launches one kernel of the source, whose arguments are `arrays`."""
    described = tuple(
        Array(f"arg{i}", array.shape, str(array.dtype), True) for i, array in enumerate(arrays)
    )
    places = tuple(range(len(arrays)))
    launch = Launch(name, places, grid, block, dynamic)
    return Program(source, described, (launch,), limit)


def execute_kernel(source, arrays, options=None, **launch):
    """Build and run; see :func:`program`."""
    return execute_program(program(source, arrays, **launch), arrays, options)


def execute_program(described, arrays, options=None):
    """Build and run a program."""
    return run(build(described, Path(_folder().name)), arrays, options or ExecutionOptions())


def poisoned(shape, dtype):
    """An array with all bits set."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.full(size, 0xFF, np.uint8).view(dtype).reshape(shape)
