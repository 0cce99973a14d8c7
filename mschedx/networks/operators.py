"""Operators of torch that TVM's importer lacks or reads wrongly, in Relax."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.ir import PrimType

from .contractions import CONTRACTIONS
from .rewrites.graph import constant, constant_of


def _reduced(reduce: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """A reduction over ``(x, axes, keepdim)``, in the dtype that torch says."""

    def convert(node: Any, importer: Any) -> Any:
        x, *rest = importer.retrieve_args(node)
        axes = rest[0] if rest else node.kwargs.get("dim")
        keepdim = rest[1] if len(rest) > 1 else node.kwargs.get("keepdim", False)
        dtype = str(node.meta["val"].dtype).removeprefix("torch.")
        if x.ty.dtype != dtype:
            x = importer.block_builder.emit(relax.op.astype(x, dtype))
        return importer.block_builder.emit(
            reduce(x, None if axes == [] else axes, keepdims=keepdim)
        )

    return convert


def _shape(x: Any) -> list[Any]:
    """Extents as numbers, but for symbolic ones."""
    return [int(one) if isinstance(one, tirx.IntImm) else one for one in x.ty.shape]


def _with_sizes(of_tensors: Callable[..., Any], of_numbers: Callable[..., Any]) -> Any:
    """An operator of two tensors, of which one may be a size that varies: ``x * x.shape[0]``."""

    def convert(node: Any, importer: Any) -> Any:
        operands = importer.retrieve_args(node)[:2]
        emit = importer.block_builder.emit
        sized = _sized(operands, emit)
        if sized == operands:
            return importer._binary_op(of_tensors, of_numbers)(node)
        return emit(of_tensors(*sized))

    return convert


def _sized(operands: list[Any], emit: Callable[[Any], Any]) -> list[Any]:
    """Two operands, a size that varies as a tensor in the dtype of the other."""
    types = [type(getattr(one, "ty", None)) for one in operands]
    if set(types) != {relax.TensorType, PrimType}:
        return operands
    place = types.index(PrimType)
    size = emit(relax.op.shape_to_tensor(relax.ShapeExpr([operands[place]])))
    found = list(operands)
    found[place] = emit(relax.op.astype(size, str(operands[1 - place].ty.dtype)))
    return found


def _divided(node: Any, importer: Any) -> Any:
    """A rounded quotient; of integers in integers, which the importer refuses."""
    x, other = importer.retrieve_args(node)[:2]
    emit = importer.block_builder.emit
    dtype = str(node.meta["val"].dtype).removeprefix("torch.")
    if not dtype.startswith(("int", "uint")):
        return importer._div(node)
    other = other if isinstance(other, relax.Expr) else relax.const(other, dtype)
    if node.kwargs["rounding_mode"] == "floor":
        return emit(relax.op.floor_divide(x, other))
    signs = emit(relax.op.multiply(emit(relax.op.sign(x)), emit(relax.op.sign(other))))
    whole = emit(relax.op.floor_divide(emit(relax.op.abs(x)), emit(relax.op.abs(other))))
    return emit(relax.op.multiply(signs, whole))


def _arguments(node: Any, importer: Any, names: str) -> dict[str, Any]:
    """A call's arguments by name, as Relax where they are tensors."""
    given = importer.retrieve_args(node)
    found = dict(zip(names.split(), given))
    more = {name: importer.env.get(value, value) for name, value in node.kwargs.items()}
    return {**dict.fromkeys(names.split()), **found, **more}


def _filled(node: Any, importer: Any) -> Any:
    """An array of one value, not finite either, for which TVM's own operator does not compile."""
    value = node.args[1]
    if not isinstance(value, float) or math.isfinite(value):
        return importer._full(node)
    shape = importer.retrieve_args(node)[0]
    dtype = str(node.meta["val"].dtype).removeprefix("torch.")
    return importer.block_builder.emit(relax.op.broadcast_to(relax.const(value, dtype), shape))


def _indexed(node: Any, importer: Any) -> Any:
    """``x[..., i, j, ...]``: indices beside each other are taken together, from the end too.

    The importer reads in front of the array for negative indices, and combines every index with
    every other where axes before them are whole.

    Raises
    ------
    ValueError
        For masks, whose results have a shape that depends on values.
    """
    x, indices = importer.retrieve_args(node)[:2]
    emit = importer.block_builder.emit
    places = [place for place, one in enumerate(indices) if one is not None]
    shape = _shape(x)
    taken = []
    for place in places:
        index = indices[place]
        if str(index.ty.dtype) in ("bool", "uint8"):
            raise ValueError("a mask as an index: the result's shape depends on values")
        taken.append(_from_start(index, shape[place], emit))
    if len(places) == 1:
        return emit(relax.op.take(x, taken[0], axis=places[0]))
    rest = [axis for axis in range(len(shape)) if axis not in places]
    if places != list(range(len(places))):
        x = emit(relax.op.permute_dims(x, [*places, *rest]))
    found = emit(relax.op.index_tensor(x, taken))
    together = places == list(range(places[0], places[0] + len(places)))
    if not together or places[0] == 0:
        return found
    new = len(_shape(found)) - len(rest)
    axes = list(range(new, new + places[0])) + list(range(new))
    return emit(relax.op.permute_dims(found, [*axes, *range(new + places[0], new + len(rest))]))


def _from_start(index: Any, extent: Any, emit: Callable[[Any], Any]) -> Any:
    """An index with negative places counted from the end; as it is where that is not known."""
    if not isinstance(extent, int):
        return index
    dtype = str(index.ty.dtype)
    known = constant(index)
    if known is not None:
        return constant_of(np.where(known < 0, known + extent, known), dtype)
    from_end = emit(relax.op.add(index, relax.const(extent, dtype)))
    negative = emit(relax.op.less(index, relax.const(0, dtype)))
    return emit(relax.op.where(negative, from_end, index))


def _sampled(node: Any, importer: Any) -> Any:
    """An image at the points of a grid, whose coordinates are last in torch and second in Relax."""
    names = "input grid interpolation_mode padding_mode align_corners"
    given = _arguments(node, importer, names)
    emit = importer.block_builder.emit
    return emit(
        relax.op.image.grid_sample(
            given["input"],
            emit(relax.op.permute_dims(given["grid"], [0, 3, 1, 2])),
            method=("bilinear", "nearest", "bicubic")[given["interpolation_mode"] or 0],
            padding_mode=("zeros", "border", "reflection")[given["padding_mode"] or 0],
            align_corners=bool(given["align_corners"]),
        )
    )


def _attended(node: Any, importer: Any) -> Any:
    """Attention over ``[..., length, size]`` with a scale, a mask of any kind, or grouped heads.

    A masked score is the smallest finite number: a row that is masked as a whole gets a mean, where
    torch gives zeros.

    Raises
    ------
    ValueError
        For dropout, and for keys of another batch than the queries.
    """
    names = "query key value attn_mask dropout_p is_causal scale enable_gqa"
    given = _arguments(node, importer, names)
    if given["dropout_p"]:
        raise ValueError(f"attention with dropout_p={given['dropout_p']}")
    emit = importer.block_builder.emit
    shape = _shape(given["query"])
    query, key, value = (_four(given[name], emit) for name in ("query", "key", "value"))
    if given["enable_gqa"]:
        groups = _shape(query)[1] // _shape(key)[1]
        key, value = (emit(relax.op.repeat(one, groups, axis=1)) for one in (key, value))
    key, value = (_heads_of(query, one, emit) for one in (key, value))
    batches = [str(_shape(one)[:2]) for one in (query, key, value)]
    if len(set(batches)) > 1:
        raise ValueError(f"attention between batches of shapes {', '.join(batches)}")
    query, key, value = (
        emit(relax.op.permute_dims(one, [0, 2, 1, 3])) for one in (query, key, value)
    )
    mask = given["attn_mask"]
    bias = None if mask is None else _bias(mask, query, len(shape), emit)
    scale = given["scale"]
    found = emit(
        relax.op.nn.attention(
            query,
            key,
            value,
            bias=bias,
            scale=None if scale is None else tirx.FloatImm("float32", float(scale)),
            causal_mask="TopLeft" if given["is_causal"] else None,
        )
    )
    heads_first = emit(relax.op.permute_dims(found, [0, 2, 1, 3]))
    if len(shape) == 4:
        return heads_first
    return emit(_reshape(heads_first, [*shape[:-1], _shape(value)[-1]]))


def _heads_of(query: Any, x: Any, emit: Callable[[Any], Any]) -> Any:
    """Keys or values of one head, or one batch, for all of the queries'."""
    wanted, shape = _shape(query)[:2], _shape(x)
    fits: Any = [new if have == 1 else have for new, have in zip(wanted, shape)] + shape[2:]
    return x if str(fits) == str(shape) else emit(relax.op.broadcast_to(x, fits))


def _reshape(x: Any, extents: Any) -> Any:
    return relax.op.reshape(x, extents)


def _four(x: Any, emit: Callable[[Any], Any]) -> Any:
    """As ``[batch, heads, length, size]``."""
    shape = _shape(x)
    if len(shape) == 4:
        return x
    return emit(_reshape(x, [1, math.prod(shape[:-2]), *shape[-2:]]))


def _bias(mask: Any, query: Any, rank: int, emit: Callable[[Any], Any]) -> Any:
    """What is added to the scores, four axes: a mask of bools hides where it is false.

    Raises
    ------
    ValueError
        For a mask with axes that cannot be told from those that queries have lost.
    """
    shape = _shape(mask)
    if rank == 4:
        mask = emit(_reshape(mask, [1] * (4 - len(shape)) + shape))
    elif rank == 3 or len(shape) <= 2 or math.prod(shape[:-2]) == 1:
        heads = math.prod(shape[:-2])
        mask = emit(_reshape(mask, [1, heads, *([1, *shape][-2:])]))
    else:
        raise ValueError(f"attention of {rank} axes with a mask of shape {shape}")
    dtype = str(query.ty.dtype)
    if str(mask.ty.dtype) != "bool":
        return mask
    hidden = relax.const(float(_finfo(dtype).min), dtype)
    return emit(relax.op.where(mask, relax.const(0, dtype), hidden))


def _finfo(dtype: str) -> Any:
    import ml_dtypes

    return ml_dtypes.finfo(dtype)


CONVERTERS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        **CONTRACTIONS,
        "amax.default": _reduced(relax.op.max),
        "amin.default": _reduced(relax.op.min),
        "prod.default": _reduced(relax.op.prod),
        "prod.dim_int": _reduced(relax.op.prod),
        "add.Tensor": _with_sizes(relax.op.add, operator.add),
        "div.Tensor": _with_sizes(relax.op.divide, operator.truediv),
        "div.Tensor_mode": _divided,
        "full.default": _filled,
        "mul.Tensor": _with_sizes(relax.op.multiply, operator.mul),
        "sub.Tensor": _with_sizes(relax.op.subtract, operator.sub),
        "index.Tensor": _indexed,
        "grid_sampler_2d.default": _sampled,
        "scaled_dot_product_attention.default": _attended,
    }
)
"""Name of an operator, as the importer spells it, to ``(node, importer)`` to a Relax variable."""
