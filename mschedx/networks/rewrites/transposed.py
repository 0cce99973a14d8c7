"""Transposed convolutions without the zeros: as convolutions by phase, interleaved.

With stride s and padding p, output o reads input i through tap k where ``i · s + k − p = o``. With
``o + p = q · s + r`` these are the taps ``k = r + s · t`` at ``i = q − t``: for each of the s
phases r of an axis a convolution with ``T = ⌈K / s⌉`` taps,

    z_r[q] = Σ_t x[q − t] · w[r + s · t],        y[q · s + r − p] = z_r[q]

All phases are one convolution with ``s ** axes`` times the channels, which takes every element of
its input once, where a convolution over the input spread out with zeros takes ``s ** axes`` times
the products. With channels last they are one contraction that writes the output in place
(:mod:`.phases`). An input of a single element per channel makes it a matrix product. Sums are of
the dtype that they were of, which in half precision is not that of the operands.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from .channels_last import FEWEST_CHANNELS, to_first, to_last
from .graph import Rewriter, constant, constant_of, op_name, reshaped, rewrite_main, shape_of
from .phases import PhasedAxis, kernels_by_phase, phased_convolution

_CONVOLUTIONS = {
    "relax.nn.conv1d_transpose": relax.op.nn.conv1d,
    "relax.nn.conv2d_transpose": relax.op.nn.conv2d,
}


def split_phases(mod: tvm.IRModule, *, channels_last: bool = False) -> tvm.IRModule:
    """Write the transposed convolutions of "main" by their phases.

    Those with groups, dilation, layouts other than [N, C, ...], or weights that are no constants
    stay as they are.

    Parameters
    ----------
    mod : IRModule
    channels_last : bool
        Write those of float32 with a multiple of 8 output channels with channels last, where
        `PhasedAxis` knows their axes.
    """
    return rewrite_main(mod, _SplitPhases(mod, channels_last))


@mutator
class _SplitPhases(Rewriter):
    def __init__(self, mod: tvm.IRModule, channels_last: bool) -> None:
        super().__init__(mod)
        self.channels_last = channels_last

    def rewrite(self, call: Any) -> Any:
        name = op_name(call)
        if name not in _CONVOLUTIONS:
            return call
        weight, before, after = constant(call.args[1]), shape_of(call.args[0]), shape_of(call)
        if weight is None or before is None or after is None or not _is_plain(call):
            return call
        if math.prod(before[2:]) == 1 and not any(map(int, call.attrs.padding)):
            return self._product(call, weight, after)
        placed = self._in_place(call, weight, before, after) if self.channels_last else None
        return self._phases(call, weight, before, after) if placed is None else placed

    def _in_place(
        self, call: Any, weight: np.ndarray, before: tuple[int, ...], after: tuple[int, ...]
    ) -> Any | None:
        """Every phase where it belongs in the output, with channels last."""
        strides = [int(stride) for stride in call.attrs.strides]
        pads = [int(pad) for pad in call.attrs.padding[: len(strides)]]
        described = zip(before[2:], after[2:], weight.shape[2:], strides, pads)
        axes = [PhasedAxis.of(*axis) for axis in described]
        single = str(weight.dtype) == str(call.ty.dtype) == "float32"
        if max(strides) == 1 or None in axes or not single or after[1] % FEWEST_CHANNELS:
            return None
        known = [axis for axis in axes if axis is not None]
        source = self.emit(relax.op.permute_dims(call.args[0], to_last(len(before))))
        kernels = constant_of(kernels_by_phase(weight, known), "float32")
        func = phased_convolution(before[0], before[1], after[1], known)
        found = self.call_tir(func, "phases", source, kernels)
        whole = self.emit(reshaped(found, (after[0], *after[2:], after[1])))
        return relax.op.permute_dims(whole, to_first(len(after)))

    def _product(self, call: Any, weight: np.ndarray, after: tuple[int, ...]) -> Any:
        """``y[n, o, k] = Σ_i x[n, i] · w[i, o, k]``, for inputs [N, I, 1, ...]."""
        if after[2:] != weight.shape[2:]:
            return call
        matrix = constant_of(weight.reshape(weight.shape[0], -1), str(weight.dtype))
        rows = self.emit(reshaped(call.args[0], (after[0], weight.shape[0])))
        product = relax.op.matmul(rows, matrix, out_dtype=str(call.ty.dtype))
        return reshaped(self.emit(product), after)

    def _phases(
        self, call: Any, weight: np.ndarray, before: tuple[int, ...], after: tuple[int, ...]
    ) -> Any:
        strides = [int(stride) for stride in call.attrs.strides]
        axes = len(strides)
        begins = [int(pad) for pad in call.attrs.padding[:axes]]
        taps = [-(-extent // stride) for extent, stride in zip(weight.shape[2:], strides)]
        first = [begin // stride for begin, stride in zip(begins, strides)]
        last = [
            (extent - 1 + begin) // stride
            for extent, begin, stride in zip(after[2:], begins, strides)
        ]
        left = [tap - 1 - q for tap, q in zip(taps, first)]
        right = [q - (extent - 1) for q, extent in zip(last, before[2:])]
        if min(*left, *right) < 0:  # outputs that read nothing of the margin
            return call
        kernel = _by_phase(weight, strides, taps)
        convolution = _CONVOLUTIONS[op_name(call)]
        product = self.emit(
            convolution(
                call.args[0],
                constant_of(kernel, str(weight.dtype)),
                strides=[1] * axes,
                padding=[*left, *right],
                out_dtype=str(call.ty.dtype),
            )
        )
        places = [q - p + 1 for q, p in zip(last, first)]
        joined = self._interleaved(product, after, strides, places)
        cut = [begin - q * stride for begin, q, stride in zip(begins, first, strides)]
        ends = [start + extent for start, extent in zip(cut, after[2:])]
        if tuple(ends) == (shape_of(joined) or ())[2:] and not any(cut):
            return joined
        cuts: list[Any] = [list(range(2, 2 + axes)), cut, ends]
        return relax.op.strided_slice(joined, *cuts)

    def _interleaved(
        self, product: Any, after: tuple[int, ...], strides: list[int], places: list[int]
    ) -> Any:
        """[N, O · phases, places] with the phases of every place side by side."""
        axes = len(strides)
        if all(stride == 1 for stride in strides):
            return product
        apart = self.emit(reshaped(product, (after[0], after[1], *strides, *places)))
        order = [0, 1, *(d for axis in range(axes) for d in (2 + axes + axis, 2 + axis))]
        turned = self.emit(relax.op.permute_dims(apart, order))
        whole = [place * stride for place, stride in zip(places, strides)]
        return self.emit(reshaped(turned, (after[0], after[1], *whole)))


def _is_plain(call: Any) -> bool:
    attrs = call.attrs
    axes = len(attrs.strides)
    spatial = {1: "W", 2: "HW"}[axes]
    return (
        int(attrs.groups) == 1
        and all(int(extent) == 1 for extent in attrs.dilation)
        and str(attrs.data_layout) == f"NC{spatial}"
        and str(attrs.out_layout or attrs.data_layout) == f"NC{spatial}"
        and str(attrs.kernel_layout) == f"IO{spatial}"
    )


def _by_phase(weight: np.ndarray, strides: list[int], taps: list[int]) -> np.ndarray:
    """Weights [I, O, K, ...] as kernels [O · phases, I, T, ...] of a convolution."""
    axes = len(strides)
    wanted = [stride * tap for stride, tap in zip(strides, taps)]
    margins = [(0, 0), (0, 0), *((0, w - k) for w, k in zip(wanted, weight.shape[2:]))]
    filled = np.pad(weight, margins)
    split = [extent for stride, tap in zip(strides, taps) for extent in (tap, stride)]
    apart = filled.reshape(*weight.shape[:2], *split)
    phases = [3 + 2 * axis for axis in range(axes)]
    positions = [2 + 2 * axis for axis in range(axes)]
    ordered = apart.transpose(1, *phases, 0, *positions)  # O, phases, I, taps
    flipped = np.flip(ordered, axis=tuple(range(ordered.ndim - axes, ordered.ndim)))
    return np.ascontiguousarray(flipped.reshape(-1, weight.shape[0], *taps))
