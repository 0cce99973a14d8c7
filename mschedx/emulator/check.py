"""Whether a schedule computes what its unscheduled program does, executed without a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

_STEPS = (1, 2)
"""From what an argument holds to what it might hold. Two, for where ``x`` is ``a + 1`` the second
one shows that ``max(a, x)`` reads ``a``."""


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
    unshown : str
        Why numbers that agree show nothing; empty if they do.
    """

    wrong: str
    execution: Execution
    unshown: str = ""

    @property
    def ok(self) -> bool:
        """Whether numbers agree, as more than a few of them do, and nothing is at fault."""
        return not (self.wrong or self.unshown or self.execution.faults)


def reference(mod: tvm.IRModule, rng: np.random.Generator) -> Reference:
    """Run the unscheduled program on the CPU.

    Floats are whole numbers from -2 to 2, so that sums of products have no rounding in any type as
    long as they stay below the type's significand. Integers of 8 bits are any, of 16 from -2 to 2;
    those of 32 and 64 bits, which may be indices, from 0 to 2 and below every extent above 1 of an
    argument; all within what the program can be given (`measure.argument_bounds`). Arguments that
    the program writes start with all bits set, and keep them where it writes nothing, unless it
    reads what it writes (``a[i] = a[i] + 1``).
    """
    (function,) = mod.functions.values()
    extents = [int(extent) for buffer in function.params for extent in buffer.shape]
    rows = min((extent for extent in extents if extent > 1), default=1)
    before = [
        _argument(buffer, rows, rng, own)
        for buffer, own in zip(function.params, argument_bounds(function), strict=True)
    ]
    built = tvm.compile(mod, target=Target("llvm"))
    after = _run(built, before)
    starts, ends = _poisoned(built, before, after)
    return Reference(starts, ends, precision(mod).relative_tolerance())


def _run(built: Any, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    built(*tensors)
    return tuple(_as(tensor.numpy(), like) for tensor, like in zip(tensors, arrays, strict=True))


def _poisoned(
    built: Any, before: Sequence[np.ndarray], after: tuple[np.ndarray, ...]
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Arguments before and after with all bits set before in those that the program changes.

    Elements of these that come out the same whatever was there are written, those that stay are
    not. Where there is a third kind the program reads what it writes, and all stays as it was.
    """
    changed = [(_bits(one) != _bits(end)).any() for one, end in zip(before, after, strict=True)]
    written = [np.ones(one.shape, dtype=bool) for one in before]
    left = [np.ones(one.shape, dtype=bool) for one in before]
    for step in _STEPS:
        others = [_moved(one, step) if new else one for one, new in zip(before, changed)]
        for n, end in enumerate(_run(built, others)):
            written[n] &= _bits(end) == _bits(after[n])
            left[n] &= _bits(end) == _bits(others[n])
    stays = [_bits(one) == _bits(end) for one, end in zip(before, after)]
    if not all((one | two & three).all() for one, two, three in zip(written, left, stays)):
        return tuple(before), after
    starts = tuple(_poison(one) if new else one for one, new in zip(before, changed))
    ends = tuple(np.where(one, end, first) for one, end, first in zip(written, after, starts))
    return starts, ends


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
    wrong, unshown = _difference(execution.arrays, expected)
    return Checked(wrong, execution, unshown)


def _difference(arrays: Sequence[np.ndarray], expected: Reference) -> tuple[str, str]:
    """How results differ, and why those that do not show nothing."""
    unshown = ""
    for found, start, wanted in zip(arrays, expected.before, expected.after, strict=True):
        left = (_bits(wanted) == _bits(_poison(wanted))) & (_bits(start) == _bits(wanted))
        spoilt = int((left & (_bits(found) != _bits(wanted))).sum())
        if spoilt:
            return f"{spoilt} of {wanted.size} values are written that nobody writes", ""
        difference = compare(found[~left], wanted[~left], expected.relative_tolerance)
        if difference.reason and difference.shown:
            return difference.reason, ""
        unshown = unshown or difference.reason
    return "", unshown


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
    """Every element as a whole number, NaN too; of the same shape."""
    return np.ascontiguousarray(array).view(f"u{array.itemsize}").reshape(array.shape)


def _moved(array: np.ndarray, step: int) -> np.ndarray:
    """Another value for every element; what may be indices stays below what it was at most."""
    if array.dtype.kind == "b":
        return ~array
    whole = array.dtype.kind in "iu"
    moved = array.astype(np.int64 if whole else np.float64) + step
    if whole and array.itemsize >= 4:
        moved %= max(2, int(array.max(initial=0)) + 1)
    return moved.astype(array.dtype)


def _as(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    """TVM gives back bfloat16 as its bits."""
    return array if array.dtype == like.dtype else array.view(like.dtype)


def _poison(array: np.ndarray) -> np.ndarray:
    return np.full(array.nbytes, 0xFF, np.uint8).view(array.dtype).reshape(array.shape)
