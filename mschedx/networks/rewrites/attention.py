"""Attention as two products around a softmax, each of which has rules of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from ..contractions import product, stored, sums_in
from .graph import Rewriter, op_name, rewrite_main, shape_of


def split_attention(mod: tvm.IRModule) -> tvm.IRModule:
    """Write ``attention(q, k, v)`` of "main", [N, length, heads, size] each, as its products.

    The scale goes into the query, which is smaller than the scores; of half precision, whose scores
    are float32 until their softmax is, into the scores. Attention in windows stays.
    """
    return rewrite_main(mod, _SplitAttention(mod))


@mutator
class _SplitAttention(Rewriter):
    def rewrite(self, call: Any) -> Any:
        name = op_name(call)
        if name not in ("relax.nn.attention", "relax.nn.attention_bias"):
            return call
        shapes = [shape for arg in call.args if (shape := shape_of(arg)) is not None]
        if call.attrs.window_size is not None or len(shapes) < len(call.args):
            return call
        heads_first = [self._heads_first(arg) for arg in call.args[:3]]
        query, key, value = heads_first
        dtype, size = str(query.ty.dtype), shapes[0][-1]
        summed = sums_in(dtype)
        given = call.attrs.scale
        scale = relax.const(1 / math.sqrt(size) if given is None else float(given), summed)
        if summed == dtype:
            query = self.emit(relax.op.multiply(query, scale))
        turned = self.emit(relax.op.permute_dims(key, [0, 1, 3, 2]))
        scores = product(query, turned, self.emit)
        if summed != dtype:
            scores = self.emit(relax.op.multiply(scores, scale))
        if name.endswith("bias"):
            scores = self.emit(relax.op.add(scores, stored(call.args[3], summed, self.emit)))
        if call.attrs.causal_mask is not None:
            mask = _causal(shapes[0][1], shapes[1][1], str(call.attrs.causal_mask), summed)
            scores = self.emit(relax.op.add(scores, mask))
        weights = stored(self.emit(relax.op.nn.softmax(scores, axis=-1)), dtype, self.emit)
        mixed = stored(product(weights, value, self.emit), dtype, self.emit)
        return relax.op.permute_dims(mixed, [0, 2, 1, 3])

    def _heads_first(self, expr: Any) -> Any:
        """[N, heads, length, size]; where that was turned around before, what it was."""
        before = self.value(expr)
        if op_name(before) == "relax.permute_dims" and _axes(before) == [0, 2, 1, 3]:
            return before.args[0]
        return self.emit(relax.op.permute_dims(expr, [0, 2, 1, 3]))


def _axes(call: Any) -> list[int]:
    return [] if call.attrs.axes is None else [int(axis) for axis in call.attrs.axes]


def _causal(queries: int, keys: int, kind: str, dtype: str) -> Any:
    """0 where a query may look at a key, and −∞ where it may not: [queries, keys]."""
    offset = keys - queries if kind == "BottomRight" else 0
    hidden = np.triu(np.ones((queries, keys), dtype=bool), offset + 1)
    return relax.const(np.where(hidden, -np.inf, 0.0).astype(dtype), dtype)
