"""A transposed convolution with channels last as one contraction over the phases of its output.

With stride s, padding ``p = s · p₁ + p₀`` and T taps a phase, output ``o = s · q + r`` of an axis
reads input ``q + a(r) + t − left`` through tap ``t`` of the kernel of phase r, where
``a(r) = ⌊(r + p₀) / s⌋`` and ``left = T − 1 − p₁``:

    y[n, q, r, …, c] = Σ_{t, …, i} x[n, q + a(r) + t − left, …, i] · w[r, …, t, …, i, c]

The left side is the output itself in another shape: nothing has to be put together afterwards, and
no place is computed that is cut off again. As one convolution with ``s ** axes`` times the channels
(:mod:`.transposed`) the phases lie apart, and where p₀ is not 0 each is computed over one place too
many along every axis: 25 for 16 of an image of 4 × 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from .graph import FUSABLE


@dataclass(frozen=True, slots=True)
class PhasedAxis:
    """An axis of a transposed convolution, see the module header.

    Attributes
    ----------
    before : int
        Extent of the input.
    stride : int
        Phases.
    places : int
        Outputs of a phase.
    taps : int
        T.
    first : int
        p₀: phase r of the output is phase ``(r + p₀) mod stride`` of the kernel.
    left, right : int
        Zeros before and after the input.
    """

    before: int
    stride: int
    places: int
    taps: int
    first: int
    left: int
    right: int

    @staticmethod
    def of(before: int, after: int, kernel: int, stride: int, padding: int) -> PhasedAxis | None:
        """Read an axis; None where it is none of these.

        The places have to be as many for every phase. What is left of the padding must be 0, or 1
        of a stride of 2: ``a(r)`` is 0 or r then, an index like any other.
        """
        taps = -(-kernel // stride)
        whole, first = divmod(padding, stride)
        left = taps - 1 - whole
        if after % stride or left < 0 or (first and stride != 2):
            return None
        places = after // stride
        right = max(0, places + first + taps - 1 - left - before)
        return PhasedAxis(before, stride, places, taps, first, left, right)


def kernels_by_phase(weight: np.ndarray, axes: Sequence[PhasedAxis]) -> np.ndarray:
    """Weights [I, O, K, …] as [s, …, T, …, I, O], zero where a phase has no tap."""
    wanted = [axis.stride * axis.taps for axis in axes]
    margins = [(0, 0), (0, 0), *((0, w - k) for w, k in zip(wanted, weight.shape[2:]))]
    found = np.pad(weight, margins)
    for position, axis in enumerate(axes):
        phase = (np.arange(axis.stride) + axis.first) % axis.stride
        tap = axis.stride * np.arange(axis.taps)[::-1]
        found = np.take(found, phase[:, None] + tap, axis=2 + 2 * position)
    phases = range(2, found.ndim, 2)
    taps = range(3, found.ndim, 2)
    return np.ascontiguousarray(found.transpose(*phases, *taps, 0, 1))


def phased_convolution(batch: int, inputs: int, outputs: int, axes: Sequence[PhasedAxis]) -> Any:
    """The contraction of the module header, of float32.

    Returns
    -------
    PrimFunc
        Of an image [N, H, …, I], kernels [s, …, T, …, I, O] and the result [N, q, s, …, O].
    """
    image: Any = te.placeholder((batch, *(a.before for a in axes), inputs), "float32", "image")
    strides, extents = [a.stride for a in axes], [a.taps for a in axes]
    kernels: Any = te.placeholder((*strides, *extents, inputs, outputs), "float32", "kernels")
    padded = _padded(image, axes)
    taps = [te.reduce_axis((0, extent), f"t{d}") for d, extent in enumerate(extents)]
    channel = te.reduce_axis((0, inputs), "i")

    def sum_of(*index: Any) -> Any:
        n, *places, c = index
        phases = places[1::2]
        # a(r) is r where anything of the padding is left.
        windows = [
            place + phase * axis.first + tap
            for place, phase, axis, tap in zip(places[::2], phases, axes, taps)
        ]
        term = padded[(n, *windows, channel)] * kernels[(*phases, *taps, channel, c)]
        return te.sum(term, axis=[*taps, channel])

    shape = (batch, *(extent for a in axes for extent in (a.places, a.stride)), outputs)
    found: Any = te.compute(shape, sum_of, "phases")
    func = te.create_prim_func([image, kernels, found], index_dtype_override="int64")
    return func.with_attr("op_pattern", FUSABLE)


def _padded(image: Any, axes: Sequence[PhasedAxis]) -> Any:
    if not any(axis.left or axis.right for axis in axes):
        return image

    def inside(*index: Any) -> Any:
        n, *places, c = index
        sources = [place - axis.left for place, axis in zip(places, axes)]
        within = [
            bound
            for place, axis in zip(places, axes)
            for bound in (place >= axis.left, place < axis.left + axis.before)
        ]
        zero = tirx.const(0, "float32")
        return tirx.if_then_else(tirx.all(*within), image[(n, *sources, c)], zero)

    extents = (axis.left + axis.before + axis.right for axis in axes)
    return te.compute((image.shape[0], *extents, image.shape[-1]), inside, "margin")
