"""How what is touched grows with the loops that run: what One-Shot Tuner reads of a program.

For each of the last accesses of a program, and each of three relations of its loop levels, a curve
is sampled at powers of two. At a level, an access touches some bytes while so many instances run;
their ratio is the reuse. A curve says how great one of them gets where another stays below a
threshold, so that programs of any depth have the same number of columns. Added are the decisions
and the sizes of the workload.

Notation
--------
n : configs; D : decisions; L : loops of a statement.

References
----------
Chen et al., "Learning to Optimize Tensor Programs", NeurIPS 2018, for relation features; Ryu et
al., "One-Shot Tuner for Deep Learning Compilers", CC 2022, for their number and the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mschedx.space.algebra.expression import Expression, constant
from mschedx.space.algebra.tape import Tape

from ..per_sketch import PerSketch
from .features import ProgramArrays, signed_log2

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SAMPLES, ACCESSES, DECISIONS, SIZES = 30, 8, 20, 8
RELATIONS = ("instances by bytes", "reuse by bytes", "bytes by instances")

NAMES = (
    *(
        f"access {a}: {r}, 2^{t}"
        for a in range(ACCESSES)
        for r in RELATIONS
        for t in range(SAMPLES)
    ),
    *(f"decision {i}, below 0 as it is" for i in range(DECISIONS)),
    *(f"size {i}" for i in range(SIZES)),
)
"""748 columns: 720 of curves, 20 decisions, 8 sizes."""

_THRESHOLDS = 2.0 ** np.arange(SAMPLES)


class TouchCurves:
    """The columns of a sketch's programs.

    Parameters
    ----------
    levels : sequence of (list of Expression, list of Expression)
        Of each access, the bytes touched and the instances run at each level, outermost first.
    sizes : sequence of int
        Of the workload's buffers.
    """

    def __init__(
        self, levels: list[tuple[list[Expression], list[Expression]]], sizes: list[int]
    ) -> None:
        # Programs differ most at their end, the write-back; missing accesses are the first.
        self._levels = levels[-ACCESSES:]
        self._sizes = np.log2(1.0 + np.array([*sizes, *[0] * SIZES][:SIZES], dtype=np.float64))
        self._tape = Tape([e for pair in self._levels for part in pair for e in part] or [_ONE])

    @staticmethod
    def of(sketch: Sketch) -> TouchCurves:
        """Return those of a sketch, made once for as long as it lives."""
        return _CURVES(sketch)

    def __call__(self, configs: IntArray) -> ProgramArrays:
        """Evaluate on configs [n, D]: one row of 748 columns each, and no accesses."""
        out = np.zeros((len(configs), 1, len(NAMES)), dtype=np.float32)
        shape = (len(configs), ACCESSES, len(RELATIONS), SAMPLES)
        curves = out[:, 0, : -DECISIONS - SIZES].reshape(shape)
        for start, values in self._tape.pieces(configs):
            self._fill(curves[start : start + values.shape[1]], values)
        decisions = signed_log2(configs[:, :DECISIONS])
        first = len(NAMES) - DECISIONS - SIZES
        out[:, 0, first : first + decisions.shape[1]] = decisions
        out[:, 0, -SIZES:] = self._sizes
        return ProgramArrays(out, np.zeros((len(configs), 0, 0), dtype=np.float32))

    def _fill(self, curves: NDArray[np.float32], values: IntArray) -> None:
        """Curves [n, accesses, relations, samples] from the values of all levels [·, n]."""
        row = 0
        for slot, (touched, _) in enumerate(self._levels, ACCESSES - len(self._levels)):
            count = len(touched)
            size = values[row : row + count].astype(np.float64)
            instances = values[row + count : row + 2 * count].astype(np.float64)
            row += 2 * count
            reuse = instances / np.maximum(size, 1)
            for number, (x, y) in enumerate(((size, instances), (size, reuse), (instances, size))):
                curves[:, slot, number] = curve(x, y)


_ONE = constant(1)
_CURVES = PerSketch(lambda sketch: TouchCurves(_levels(sketch), _sizes(sketch.design.mod)))


def curve(x: FloatArray, y: FloatArray) -> FloatArray:
    """Sample how great ``y`` gets where ``x`` is below a threshold.

    Parameters
    ----------
    x, y : float64 arrays [L + 1, n]
        At each level.

    Returns
    -------
    float64 array [n, 30]
        ``log2(1 + max y)`` over the levels with x ≤ 2^t; 0 where there is none.
    """
    below = x[:, :, None] <= _THRESHOLDS
    return np.log2(1.0 + np.where(below, y[:, :, None], 0.0).max(axis=0))


def _levels(sketch: Sketch) -> list[tuple[list[Expression], list[Expression]]]:
    """Bytes and instances of every access at the levels that have an expression."""
    found = []
    for statement in sketch.statements:
        depth = len(statement.loops)
        run = [statement.trips(level, depth) for level in range(depth + 1)]
        for access in statement.accesses:
            pairs = [(access.bytes_at(level), run[level]) for level in range(depth + 1)]
            known = [(b, r) for b, r in pairs if b is not None and r is not None]
            if known:
                found.append(([b for b, _ in known], [r for _, r in known]))
    return found


def _sizes(mod: Any) -> list[int]:
    """The dimensions of the function's buffers, in order."""
    (variable,) = mod.get_global_vars()
    func = mod[variable]
    buffers = [parameter for parameter in func.params[:] if hasattr(parameter, "shape")]
    return [int(extent) for buffer in buffers for extent in buffer.shape]
