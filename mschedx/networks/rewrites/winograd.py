r"""Winograd's minimal filtering for convolutions of 3 × 3 pixels and stride 1, channels last.

F(m) computes m × m pixels of a channel from a tile of :math:`\alpha = m + 2` by
:math:`\alpha` with :math:`\alpha^2` products instead of :math:`9 m^2`,

.. math:: Y = A^T \bigl[ (G g G^T) \odot (B^T d B) \bigr] A

and sums over the input channels between the transforms, so that a convolution becomes
:math:`\alpha^2` matrix products [tiles, I] · [I, O]: 2.25 times fewer products for F(2), 4 times
for F(4). Weights are transformed here, in float64, and rounded once.

A convolution over frames as well, of D × 3 × 3, is transformed within its frames; what is left
between the transforms is a convolution along D, with :math:`\alpha^2` sets of weights.

The transforms round, but there are fewer products to sum. The largest error over 256 channels of
normal numbers, in units of the largest result and with sums taken one after the other, is 1.6e-6
for the direct form, 6e-7 for F(2) and 3e-6 for F(4). The points of F(4) are chosen for that: ±1 and
±2, which Lavin and Gray take, are off by four times as much. F(6) would be worse, and is not
offered. Tests hold both to `ERROR`.

References
----------
Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4. Matrices
from their points (Cook-Toom): Blahut, "Fast Algorithms for Signal Processing", section 5.2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.relax.expr_functor import mutator

from .graph import (
    FUSABLE,
    Rewriter,
    constant,
    constant_of,
    op_name,
    reshaped,
    rewrite_main,
    shape_of,
)

_POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}
"""Where polynomials are evaluated, beside infinity, by pixels of a tile's edge."""

ERROR = {2: 1e-6, 4: 5e-6}
"""Largest error of a convolution of 64 to 256 channels, in units of its largest result."""

# A transformed weight is read once and used for every tile: for fewer, fetching it from memory
# takes longer than using it (233 GFLOP/s and 20 GB/s of a Zen 4 meet at 24).
_FEWEST_TILES = 32
_FEWEST_CHANNELS = 64
"""In and out: what is transformed once serves all channels of the other side. By hand."""

_CONVOLUTIONS = {"relax.nn.conv2d", "relax.nn.conv3d"}


def use_winograd(mod: tvm.IRModule) -> tvm.IRModule:
    """Write convolutions of "main" as transforms around matrix products, where that should pay.

    Parameters
    ----------
    mod : IRModule
        Convolutions of float32 with channels last and constant weights are rewritten as
        `tile_of` says; others stay.
    """
    rewritten = rewrite_main(mod, _UseWinograd(mod))
    return relax.transform.CanonicalizeBindings()(rewritten)


def tile_of(shape: tuple[int, ...], weight: tuple[int, ...]) -> int | None:
    """Pixels along an edge of the tiles of a convolution; None where the direct form is kept.

    Parameters
    ----------
    shape : tuple of int
        Output [N, H, W, O], or [N, frames, H, W, O].
    weight : tuple of int
        [3, 3, I, O], or [D, 3, 3, I, O].
    """
    *images, height, width, outputs = shape
    if min(weight[-2], outputs) < _FEWEST_CHANNELS:
        return None
    for tile in (4, 2):
        tiles = math.prod(images) * (height // tile) * (width // tile)
        if height % tile == width % tile == 0 and tiles >= _FEWEST_TILES:
            return tile
    return None


def matrices(tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A [α, m], G [α, 3] and B [α, α] of F(m), in float64; A and B are exact in float32."""
    points = np.array(_POINTS[tile])
    alpha = len(points) + 1
    a, g, b = np.zeros((alpha, tile)), np.zeros((alpha, 3)), np.zeros((alpha, alpha))
    for row, point in enumerate(points):
        others = np.delete(points, row)
        a[row] = point ** np.arange(tile)
        g[row] = point ** np.arange(3) / np.prod(point - others)
        b[:-1, row] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[:, -1] = np.poly(points)[::-1]
    return a, g, b


def transformed_weights(weight: np.ndarray, tile: int) -> np.ndarray:
    """``G g Gᵀ`` for weights [..., 3, 3, I, O]: [α², ..., I, O] in their dtype."""
    _, g, _ = matrices(tile)
    whole = np.einsum("ay,...yxio,bx->ab...io", g, weight.astype(np.float64), g)
    return whole.reshape(-1, *whole.shape[2:]).astype(weight.dtype)


def transform_input(shape: tuple[int, ...], tile: int, padding: tuple[int, ...]) -> tirx.PrimFunc:
    """``Bᵀ d B`` of an image [N, H, W, I] with a margin: [α, α, N, rows, columns, I]."""
    alpha, (top, left, bottom, right) = tile + 2, padding
    batch, height, width, channels = shape
    tall, wide = height + top + bottom, width + left + right
    rows, columns = (tall - 2) // tile, (wide - 2) // tile
    x: Any = te.placeholder(shape, "float32", "image")

    def inside(n: Any, y: Any, z: Any, c: Any) -> Any:
        within = tirx.all(y >= top, y < top + height, z >= left, z < left + width)
        return tirx.if_then_else(within, x[n, y - top, z - left, c], tirx.const(0, "float32"))

    padded: Any = te.compute((batch, tall, wide, channels), inside, "margin")
    _, _, b = matrices(tile)
    p, q = te.reduce_axis((0, alpha), "p"), te.reduce_axis((0, alpha), "q")
    down: Any = te.compute(
        (alpha, batch, rows, wide, channels),
        lambda i, n, r, z, c: te.sum(_entry(b, p, i) * padded[n, r * tile + p, z, c], p),
        "down",
    )
    across: Any = te.compute(
        (alpha, alpha, batch, rows, columns, channels),
        lambda i, j, n, r, s, c: te.sum(_entry(b, q, j) * down[i, n, r, s * tile + q, c], q),
        "across",
    )
    return te.create_prim_func([x, across], index_dtype_override="int64")


def convolve_frames(
    shape: tuple[int, ...], weight: tuple[int, ...], padding: tuple[int, int]
) -> tirx.PrimFunc:
    """Convolve α² sets of transformed tiles [α², N, frames, tiles, I] along their frames.

    Parameters
    ----------
    shape : tuple of int
    weight : tuple of int
        [α², D, I, O].
    padding : (int, int)
        Frames of zeros before the first and behind the last.
    """
    sets, batch, frames, tiles, inputs = shape
    _, depth, _, outputs = weight
    before, behind = padding
    x: Any = te.placeholder(shape, "float32", "tiles")
    kernel: Any = te.placeholder(weight, "float32", "weight")

    def inside(e: Any, n: Any, t: Any, p: Any, c: Any) -> Any:
        within = tirx.all(t >= before, t < before + frames)
        return tirx.if_then_else(within, x[e, n, t - before, p, c], tirx.const(0, "float32"))

    longer = (sets, batch, before + frames + behind, tiles, inputs)
    padded: Any = x if longer == shape else te.compute(longer, inside, "margin")
    d, i = te.reduce_axis((0, depth), "d"), te.reduce_axis((0, inputs), "i")
    products: Any = te.compute(
        (sets, batch, before + frames + behind - depth + 1, tiles, outputs),
        lambda e, n, t, p, o: te.sum(padded[e, n, t + d, p, i] * kernel[e, d, i, o], (d, i)),
        "products",
    )
    return te.create_prim_func([x, kernel, products], index_dtype_override="int64")


def transform_output(shape: tuple[int, ...], tile: int) -> tirx.PrimFunc:
    """``Aᵀ m A`` of products [α, α, N, rows, columns, O]: [N, rows, m, columns, m, O]."""
    alpha, _, batch, rows, columns, channels = shape
    x: Any = te.placeholder(shape, "float32", "products")
    a, _, _ = matrices(tile)
    p, q = te.reduce_axis((0, alpha), "p"), te.reduce_axis((0, alpha), "q")
    down: Any = te.compute(
        (batch, rows, tile, alpha, columns, channels),
        lambda n, r, i, v, s, c: te.sum(_entry(a, p, i) * x[p, v, n, r, s, c], p),
        "down",
    )
    across: Any = te.compute(
        (batch, rows, tile, columns, tile, channels),
        lambda n, r, i, s, j, c: te.sum(_entry(a, q, j) * down[n, r, i, q, s, c], q),
        "across",
    )
    return te.create_prim_func([x, across], index_dtype_override="int64")


def _entry(matrix: np.ndarray, row: Any, column: Any) -> Any:
    """An element of a constant matrix, as a choice that unrolling decides."""
    value = tirx.const(0, "float32")
    for i, entries in enumerate(matrix):
        for j, entry in enumerate(entries):
            if entry != 0:
                here = tirx.all(row == i, column == j)
                value = tirx.Select(here, tirx.const(float(entry), "float32"), value)
    return value


@mutator
class _UseWinograd(Rewriter):
    def rewrite(self, call: Any) -> Any:
        shape = shape_of(call)
        if op_name(call) not in _CONVOLUTIONS or shape is None or not _is_plain(call):
            return call
        weight, before = constant(call.args[1]), shape_of(call.args[0])
        assert weight is not None
        tile = tile_of(shape, weight.shape)
        if tile is None or before is None:
            return call
        *images, height, width, inputs = before
        padding = [int(pad) for pad in call.attrs.padding]
        half = len(padding) // 2
        margin = tuple(padding[half - 2 : half] + padding[-2:])
        entering = transform_input((math.prod(images), height, width, inputs), tile, margin)
        image = call.args[0]
        if len(images) > 1:
            image = self.emit(reshaped(image, (math.prod(images), height, width, inputs)))
        spread = self.call_tir(entering, "winograd_input", image)
        kernels = transformed_weights(weight, tile)
        tiles = (shape[-3] // tile, shape[-2] // tile)
        if len(images) == 1:
            products = self._products(spread, kernels)
        else:
            frames = (padding[0], padding[half])
            products = self._along_frames(spread, kernels, tuple(images), frames)
        apart = (tile + 2, tile + 2, math.prod(shape[:-3]), *tiles, shape[-1])
        joined = self.emit(reshaped(products, apart))
        # What follows is fused with it, as with a convolution.
        leaving = transform_output(apart, tile).with_attr("op_pattern", FUSABLE)
        return reshaped(self.call_tir(leaving, "winograd_output", joined), shape)

    def _products(self, spread: Any, kernels: np.ndarray) -> Any:
        """``spread · kernels`` [α², tiles, O] for tiles [α, α, N, rows, columns, I]."""
        sets, inputs, _ = kernels.shape
        flat = self.emit(reshaped(spread, (sets, -1, inputs)))
        return self.emit(relax.op.matmul(flat, constant_of(kernels, "float32")))

    def _along_frames(
        self, spread: Any, kernels: np.ndarray, images: tuple[int, ...], padding: tuple[int, int]
    ) -> Any:
        """The same for D kernels a set, of which each frame [N, frames] = `images` has its own."""
        sets, _, inputs, _ = kernels.shape
        shape = shape_of(spread)
        assert shape is not None
        apart = (sets, *images, shape[3] * shape[4], inputs)
        flat = self.emit(reshaped(spread, apart))
        summed = convolve_frames(apart, kernels.shape, padding)
        weight = constant_of(kernels, "float32")
        return self.call_tir(summed, "winograd_frames", flat, weight)


def _is_plain(call: Any) -> bool:
    weight, attrs = constant(call.args[1]), call.attrs
    if weight is None or weight.dtype != np.float32:
        return False
    spatial = "DHW"[-(weight.ndim - 2) :]
    last = f"N{spatial}C"
    layouts = (str(attrs.data_layout), str(attrs.out_layout or last), str(attrs.kernel_layout))
    return (
        weight.shape[-4:-2] == (3, 3)
        and layouts == (last, last, f"{spatial}IO")
        and all(int(one) == 1 for one in (*attrs.strides, *attrs.dilation, attrs.groups))
    )
