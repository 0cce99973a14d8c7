"""Whether a schedule computes what its unscheduled program does, executed without a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm.target import Target

from mschedx.measure.argument_bounds import argument_bounds
from mschedx.measure.reference import precision
from mschedx.measure.timing import Bounds, numpy_dtype
from mschedx.measure.tolerance import compare

from .build import build
from .execute import Execution, ExecutionOptions, run
from .source import generate


@dataclass(frozen=True, slots=True)
class Reference:
    """Arguments of a program before and after, and how exact a schedule must be.

    Attributes
    ----------
    before, after : tuple[numpy.ndarray, ...]
    relative_tolerance : float
        See :mod:`mschedx.measure.tolerance`.
    """

    before: tuple[np.ndarray, ...]
    after: tuple[np.ndarray, ...]
    relative_tolerance: float


@dataclass(frozen=True, slots=True)
class Checked:
    """What an execution says of a schedule.

    Attributes
    ----------
    wrong : str
        How the numbers differ; empty if they agree.
    execution : Execution
        With the faults.
    """

    wrong: str
    execution: Execution

    @property
    def ok(self) -> bool:
        """Whether numbers agree and nothing is at fault."""
        return not self.wrong and not self.execution.faults


def reference(mod: tvm.IRModule, rng: np.random.Generator) -> Reference:
    """Run the unscheduled program on the CPU.

    Floats are whole numbers from -2 to 2, so that sums of products have no rounding in any type as
    long as they stay below the type's significand. Integers of 8 bits are any, of 16 from -2 to 2;
    those of 32 and 64 bits, which may be indices, from 0 to 2 and below every extent above 1 of an
    argument; all within what the program can be given (`measure.argument_bounds`). Arguments that
    the program writes start with all bits set.
    """
    (function,) = mod.functions.values()
    extents = [int(extent) for buffer in function.params for extent in buffer.shape]
    rows = min((extent for extent in extents if extent > 1), default=1)
    before = [
        _argument(buffer, rows, rng, own)
        for buffer, own in zip(function.params, argument_bounds(function), strict=True)
    ]
    built = tvm.compile(mod, target=Target("llvm"))
    tensors = [tvm.runtime.tensor(array) for array in before]
    built(*tensors)
    after = tuple(_as(tensor.numpy(), like) for tensor, like in zip(tensors, before, strict=True))
    poisoned = tuple(
        array if np.array_equal(_bits(array), _bits(done)) else _poison(array)
        for array, done in zip(before, after, strict=True)
    )
    return Reference(poisoned, after, precision(mod).relative_tolerance())


def check(
    mod: tvm.IRModule,
    target: Target,
    expected: Reference,
    folder: Path,
    options: ExecutionOptions | None = None,
) -> Checked:
    """Execute a scheduled module on the reference's arguments.

    Parameters
    ----------
    mod : IRModule
    target : Target
        Of kind cuda.
    expected : Reference
    folder : Path
        Where the compiled kernels go while they are needed.
    options : ExecutionOptions or None

    Raises
    ------
    ValueError, UnsupportedSource, CompilationError
        As :func:`mschedx.emulator.execute` does.
    """
    library = build(generate(mod, target), folder)
    try:
        execution = run(library, expected.before, options)
    finally:
        library.path.unlink()
    if not execution.finished:
        return Checked("given up", execution)
    wrong = _difference(execution.arrays, expected)
    return Checked(wrong, execution)


def _difference(arrays: Sequence[np.ndarray], expected: Reference) -> str:
    for found, wanted in zip(arrays, expected.after, strict=True):
        difference = compare(found, wanted, expected.relative_tolerance)
        if difference.reason and difference.shown:
            return difference.reason
    return ""


def _argument(
    buffer: tvm.tirx.Buffer, rows: int, rng: np.random.Generator, bounds: Bounds
) -> np.ndarray:
    dtype = numpy_dtype(str(buffer.dtype))
    shape = tuple(int(extent) for extent in buffer.shape)
    least, most = -2, 2
    if dtype.kind in "iu" and dtype.itemsize == 1:
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    elif dtype.kind in "iu" and dtype.itemsize >= 4:
        least, most = 0, min(3, rows) - 1
    elif dtype.kind == "u":
        least = 0
    least = least if bounds[0] is None else max(least, bounds[0])
    most = max(least, most if bounds[1] is None else min(most, bounds[1]))
    return rng.integers(least, most + 1, shape).astype(dtype)


def _bits(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(array.tobytes(), np.uint8)


def _as(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    """TVM gives back bfloat16 as its bits."""
    return array if array.dtype == like.dtype else array.view(like.dtype)


def _poison(array: np.ndarray) -> np.ndarray:
    return np.full(array.nbytes, 0xFF, np.uint8).view(array.dtype).reshape(array.shape)
