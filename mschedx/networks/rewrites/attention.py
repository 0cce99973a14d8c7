"""Attention as two products around a softmax: three functions, or one that does it in chunks.

One function of float32 has a rule of its own (:mod:`mschedx.space.rules.attention_tile`), by which
the scores of some queries stay in a core's caches. It divides by the sums of the softmax in the
end: once for every element of the output instead of once for every score.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, topi
from tvm.relax.expr_functor import mutator

from ..contractions import product, stored, sums_in
from .graph import OPAQUE, Rewriter, op_name, rewrite_main, shape_of

_LANES = 8
"""Keys and columns are a multiple of it in one function: half a vector of 512 bits."""


def split_attention(mod: tvm.IRModule, *, chunked: bool = False) -> tvm.IRModule:
    """Write ``attention(q, k, v)`` of "main", [N, length, heads, size] each, as its products.

    Keys and values may have fewer heads, each for as many neighbouring ones of the queries. The
    scale goes into the query, which is smaller than the scores; of half precision, whose scores are
    float32 until their softmax is, into the scores. Attention in windows stays.

    Parameters
    ----------
    mod : IRModule
    chunked : bool
        Write that of float32 as one function, where its vectors are whole.
    """
    return rewrite_main(mod, _SplitAttention(mod, chunked))


def attention_function(
    batch: int, heads: int, queries: int, keys: int, size: int, mask: tuple[int, ...] | None
) -> Any:
    """``softmax(q k + mask) v`` of float32 in one function, divided by the sums in the end.

    Returns
    -------
    PrimFunc
        Of q [N, heads, queries, size], k [N, heads, size, keys], v [N, heads, keys, size], the mask
        if there is one, and the result [N, queries, heads, size].
    """

    def tensor(name: str, *shape: int) -> Any:
        return te.placeholder(shape, "float32", name)

    q = tensor("q", batch, heads, queries, size)
    k = tensor("k", batch, heads, size, keys)
    v = tensor("v", batch, heads, keys, size)
    inputs = [q, k, v]
    r, j, t, m = (
        te.reduce_axis((0, extent), name) for name, extent in zip("rjtm", (size, keys, keys, keys))
    )
    whole = (batch, heads, queries, keys)
    scores: Any = te.compute(
        whole, lambda n, h, i, x: te.sum(q[n, h, i, r] * k[n, h, r, x], axis=r), "scores"
    )
    if mask is not None:
        inputs.append(tensor("mask", *mask))
        scores = topi.add(scores, inputs[-1])
    top: Any = te.compute(whole[:3], lambda n, h, i: te.max(scores[n, h, i, j], axis=j), "top")
    weights: Any = te.compute(
        whole, lambda n, h, i, x: te.exp(scores[n, h, i, x] - top[n, h, i]), "weights"
    )
    total: Any = te.compute(whole[:3], lambda n, h, i: te.sum(weights[n, h, i, t], axis=t), "total")
    output = (batch, queries, heads, size)
    mixed: Any = te.compute(
        output, lambda n, i, h, c: te.sum(weights[n, h, i, m] * v[n, h, m, c], axis=m), "mixed"
    )
    result: Any = te.compute(
        output, lambda n, i, h, c: mixed[n, i, h, c] / total[n, h, i], "result"
    )
    func = te.create_prim_func([*inputs, result], index_dtype_override="int64")
    return func.with_attr("op_pattern", OPAQUE)


@mutator
class _SplitAttention(Rewriter):
    def __init__(self, mod: tvm.IRModule, chunked: bool) -> None:
        super().__init__(mod)
        self.chunked = chunked

    def rewrite(self, call: Any) -> Any:
        name = op_name(call)
        if name not in ("relax.nn.attention", "relax.nn.attention_bias"):
            return call
        shapes = [shape for arg in call.args if (shape := shape_of(arg)) is not None]
        if call.attrs.window_size is not None or len(shapes) < len(call.args):
            return call
        query, *others = (self._heads_first(arg) for arg in call.args[:3])
        key, value = (self._of_heads(shapes[0][2], one) for one in others)
        dtype, size = str(query.ty.dtype), shapes[0][-1]
        summed = sums_in(dtype)
        given = call.attrs.scale
        scale = relax.const(1 / math.sqrt(size) if given is None else float(given), summed)
        if summed == dtype:
            query = self.emit(relax.op.multiply(query, scale))
        turned = self.emit(relax.op.permute_dims(key, [0, 1, 3, 2]))
        masks: list[Any] = []
        if name.endswith("bias"):
            masks.append(stored(call.args[3], summed, self.emit))
        if call.attrs.causal_mask is not None:
            kind = str(call.attrs.causal_mask)
            masks.append(_causal(shapes[0][1], shapes[1][1], kind, summed))
        if self.chunked and dtype == "float32":
            found = self._in_chunks(query, turned, value, masks)
            if found is not None:
                return found
        scores = product(query, turned, self.emit)
        if summed != dtype:
            scores = self.emit(relax.op.multiply(scores, scale))
        for mask in masks:
            scores = self.emit(relax.op.add(scores, mask))
        weights = stored(self.emit(relax.op.nn.softmax(scores, axis=-1)), dtype, self.emit)
        mixed = stored(product(weights, value, self.emit), dtype, self.emit)
        return relax.op.permute_dims(mixed, [0, 2, 1, 3])

    def _in_chunks(self, query: Any, key: Any, value: Any, masks: list[Any]) -> Any | None:
        """As one function; None where its vectors would not be whole."""
        (batch, heads, queries, size), keys = _known(query), _known(key)[3]
        alike = _known(key) == (batch, heads, size, keys)
        alike = alike and _known(value) == (batch, heads, keys, size)
        if not alike or queries == 1 or keys % _LANES or size % _LANES:
            return None
        if len(masks) > 1:
            masks = [self.emit(relax.op.add(*masks))]
        shape = _known(masks[0]) if masks else None
        func = attention_function(batch, heads, queries, keys, size, shape)
        return self.call_tir(func, "attention", query, key, value, *masks)

    def _heads_first(self, expr: Any) -> Any:
        """[N, heads, length, size]; where that was turned around before, what it was."""
        before = self.value(expr)
        if op_name(before) == "relax.permute_dims" and _axes(before) == [0, 2, 1, 3]:
            return before.args[0]
        return self.emit(relax.op.permute_dims(expr, [0, 2, 1, 3]))

    def _of_heads(self, heads: int, expr: Any) -> Any:
        """Keys or values [N, groups, length, size], each for the heads next to each other."""
        groups = _known(expr)[1]
        if groups == heads:
            return expr
        return self.emit(relax.op.repeat(expr, heads // groups, axis=1))


def _known(expr: Any) -> tuple[int, ...]:
    shape = shape_of(expr)
    assert shape is not None  # as those of the arguments are
    return shape


def _axes(call: Any) -> list[int]:
    return [] if call.attrs.axes is None else [int(axis) for axis in call.attrs.axes]


def _causal(queries: int, keys: int, kind: str, dtype: str) -> Any:
    """0 where a query may look at a key, and −∞ where it may not: [queries, keys]."""
    offset = keys - queries if kind == "BottomRight" else 0
    hidden = np.triu(np.ones((queries, keys), dtype=bool), offset + 1)
    return relax.const(np.where(hidden, -np.inf, 0.0).astype(dtype), dtype)
