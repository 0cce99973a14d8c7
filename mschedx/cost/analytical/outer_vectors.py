"""Loops around unrolled code that LLVM makes vectors of, though their iterations are far apart.

LLVM's loop vectoriser comes before the pass that joins neighbouring statements (SLP), and looks at
the innermost loop that is still one. Where TVM has unrolled all that is inside, that is the next
loop around it, whatever its strides: with AVX-512 a gather is estimated at two loads more than its
lanes (``getGatherOverhead`` and ``getScatterOverhead`` of ``X86TargetTransformInfo``), so that a
body with enough arithmetic is vectorised all the same; a sum only where the order does not matter,
of integers. The neighbours inside, which would have made whole vectors, are then gathered and
scattered one by one: five times slower, or more. Iterations a few elements apart are loaded whole
and shuffled instead, which is left alone here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .gathers import NEAR
from .view import AccessView, FloatArray, StatementView

BoolArray = NDArray[np.bool_]

AVX512_BYTES = 64

_OVERHEAD = 2.0
"""Loads' worth that LLVM adds to the lanes of a gather."""

_TAKEN_APART = 4.0
"""Steps a lane where there is no gather, as for bytes: an address, a load, an insertion, and the
extraction of the address from a vector of them."""

_SHORT = 16.0
"""Iterations below which LLVM makes vectors only if nothing is left over."""

_FEWEST = 4
"""Lanes of the shortest vectors that were seen."""


def takes_outer(
    view: StatementView, position: int, unrolled: FloatArray, lanes: float
) -> BoolArray:
    """Whether LLVM makes vectors of a loop around unrolled code, by its own estimate: bool [n].

    Parameters
    ----------
    view : StatementView
    position : int
        The loop's; all inside of it is unrolled.
    unrolled : float64 array [n]
        Iterations inside of it.
    lanes : float
        Of a register, > 0.
    """
    loop, extent = view.statement.loops[position], view.extents[position]
    widest = max((a.access.element_bytes for a in view.accesses), default=4)
    sums = loop.role == "reduction"
    floats = any("float" in access.access.dtype for access in view.writes)
    if lanes * widest < AVX512_BYTES or loop.kind != "serial" or (sums and floats):
        return np.zeros(len(extent), dtype=np.bool_)
    whole = np.where(extent < _SHORT, _power_of_two(extent), lanes)
    far = np.zeros(len(extent), dtype=np.bool_)
    scalar = unrolled * _operations(view)
    vector, taken = scalar / whole, whole >= _FEWEST
    own = {access.access.buffer for access in view.writes} if sums else set()
    for access in view.accesses:
        if access.access.buffer in own:
            continue  # stays in registers
        stride, many = access.strides[position], access.elements[position + 1]
        taken &= ~np.isnan(stride)
        far |= np.abs(stride) > NEAR
        scalar = scalar + many
        vector = vector + many * _each(access, stride, whole)
    return taken & far & (vector < scalar)


def _each(access: AccessView, stride: FloatArray, lanes: FloatArray) -> FloatArray:
    """Steps of a lane for one element: the same for all, neighbours, or far apart."""
    gathered = 1 + _OVERHEAD / lanes if access.access.element_bytes >= 4 else _TAKEN_APART
    return np.where(stride == 0, 1.0, np.where(np.abs(stride) == 1, 1 / lanes, gathered))


def _operations(view: StatementView) -> int:
    """Of one instance; conversions are of what is loaded, not of every instance."""
    counts = view.statement.operations
    return sum(count for kind, count in counts.items() if kind != "cast")


def _power_of_two(extent: FloatArray) -> FloatArray:
    """The largest that divides whole numbers [n], or relaxed ones rounded."""
    whole = np.maximum(np.rint(extent), 1).astype(np.int64)
    return (whole & -whole).astype(np.float64)
