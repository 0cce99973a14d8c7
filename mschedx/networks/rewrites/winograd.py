r"""Winograd's minimal filtering for 3 × 3 convolutions of stride 1, channels last.

F(m) computes m × m pixels of a channel from a tile of :math:`\alpha = m + 2` by
:math:`\alpha` with :math:`\alpha^2` products instead of :math:`9 m^2`,

.. math:: Y = A^T \bigl[ (G g G^T) \odot (B^T d B) \bigr] A

and sums over the input channels between the transforms, so that a convolution becomes
:math:`\alpha^2` matrix products [tiles, I] · [I, O]: 2.25 times fewer products for F(2), 4 times
for F(4). Weights are transformed here, in float64, and rounded once.

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
        Output [N, H, W, O].
    weight : tuple of int
        [3, 3, I, O].
    """
    _, height, width, outputs = shape
    if min(weight[2], outputs) < _FEWEST_CHANNELS:
        return None
    for tile in (4, 2):
        tiles = shape[0] * (height // tile) * (width // tile)
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
    """``G g Gᵀ`` for weights [3, 3, I, O]: [α², I, O] in their dtype."""
    _, g, _ = matrices(tile)
    whole = np.einsum("ay,yxio,bx->abio", g, weight.astype(np.float64), g)
    return whole.reshape(-1, *weight.shape[2:]).astype(weight.dtype)


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
        if op_name(call) != "relax.nn.conv2d" or shape is None or not _is_plain(call):
            return call
        weight, before = constant(call.args[1]), shape_of(call.args[0])
        assert weight is not None
        tile = tile_of(shape, weight.shape)
        if tile is None or before is None:
            return call
        padding = tuple(int(pad) for pad in call.attrs.padding)
        entering = transform_input(before, tile, padding)
        spread = self.call_tir(entering, "winograd_input", call.args[0])
        extents = shape_of(spread)
        assert extents is not None
        tiles = extents[2] * extents[3] * extents[4]
        flat = self.emit(reshaped(spread, (extents[0] ** 2, tiles, extents[5])))
        kernels = constant_of(transformed_weights(weight, tile), "float32")
        products = self.emit(relax.op.matmul(flat, kernels))
        apart = (*extents[:5], shape[3])
        joined = self.emit(reshaped(products, apart))
        # What follows is fused with it, as with a convolution.
        leaving = transform_output(apart, tile).with_attr("op_pattern", FUSABLE)
        return reshaped(self.call_tir(leaving, "winograd_output", joined), shape)


def _is_plain(call: Any) -> bool:
    weight, attrs = constant(call.args[1]), call.attrs
    return (
        weight is not None
        and weight.dtype == np.float32
        and weight.shape[:2] == (3, 3)
        and str(attrs.data_layout) == "NHWC"
        and str(attrs.out_layout or "NHWC") == "NHWC"
        and str(attrs.kernel_layout) == "HWIO"
        and all(int(one) == 1 for one in (*attrs.strides, *attrs.dilation, attrs.groups))
    )
