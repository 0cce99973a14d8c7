"""Operators of torch that TVM's importer lacks or reads wrongly, in other operators of torch.

A decomposition that returns ``NotImplemented`` leaves a call as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .narrow_floats import narrow_floats
from .promotions import promotions
from .small_values import small_values
from .writes import writes

if TYPE_CHECKING:
    import torch


def decompositions(torchs: Mapping[Any, Callable[..., Any]]) -> dict[Any, Callable[..., Any]]:
    """Give the decompositions by overload, as ``ExportedProgram.run_decompositions`` takes them.

    Parameters
    ----------
    torchs : mapping
        Torch's own, of which those that are not replaced are kept.
    """
    promoted, narrow, own = promotions(), narrow_floats(), _of_single_operators()
    kept = {f: torchs[f] for f in narrow if f in torchs and f not in own and f not in promoted}
    found: dict[Any, list[Callable[..., Any]]] = {}
    for table in (promoted, narrow, own, kept):
        for operator, decomposition in table.items():
            found.setdefault(operator, []).append(decomposition)
    return {**torchs, **{operator: partial(_first_of, ways) for operator, ways in found.items()}}


def _first_of(ways: Sequence[Callable[..., Any]], *args: Any, **kwargs: Any) -> Any:
    """What the first of some decompositions gives that does not leave the call as it is."""
    answers = (way(*args, **kwargs) for way in ways)
    return next((one for one in answers if one is not NotImplemented), NotImplemented)


def _of_single_operators() -> dict[Any, Callable[..., Any]]:
    import torch
    from torch._decomp import decomposition_table

    aten = torch.ops.aten
    torchs = (aten.addmv.default, aten.logaddexp.default)
    maxima = (aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default)
    norms = (
        *(aten.native_layer_norm.default, aten.native_group_norm.default),
        aten._native_batch_norm_legit.no_stats,
    )
    return {
        **{operator: decomposition_table[operator] for operator in torchs},
        **{f: partial(_norm, f, decomposition_table[f]) for f in norms},
        **{f: partial(_avg_pool, f) for f in (aten.avg_pool2d.default, aten.avg_pool3d.default)},
        **{f: partial(_max_pool, f) for f in maxima},
        aten.clamp.default: _clamp,
        aten.clamp.Tensor: _clamp_tensor,
        aten.cumprod.default: partial(_cumulated, aten.cumprod.default),
        aten.cumsum.default: partial(_cumulated, aten.cumsum.default),
        aten._embedding_bag.default: _embedding_bag,
        aten._embedding_bag_forward_only.default: _embedding_bag,
        aten.elu.default: _elu,
        aten.exp2.default: _exp2,
        aten.full_like.default: _full_like,
        aten.im2col.default: _im2col,
        aten.min.dim: _min_dim,
        aten.select.int: _select,
        aten.upsample_bilinear2d.vec: _upsample_bilinear2d,
        aten.upsample_nearest2d.vec: _upsample_nearest2d,
        aten.var_mean.correction: _var_mean,
        **small_values(),
        **writes(),
    }


def _full_like(x: torch.Tensor, value: Any, *, dtype: Any = None, **_: Any) -> Any:
    """Infinities are a `full` of their own; see `operators`."""
    import torch

    if not isinstance(value, float) or math.isfinite(value):
        return NotImplemented
    return torch.full(tuple(x.shape), value, dtype=dtype or x.dtype, device=x.device)


def _avg_pool(
    operator: Any,
    x: torch.Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The importer takes no notice of another divisor."""
    if divisor_override is None or ceil_mode:
        return NotImplemented
    axes = 2 if "2d" in operator.__name__ else 3
    whole = list(kernel) * (axes if len(kernel) == 1 else 1)
    mean = operator(x, kernel, stride, padding, False, True)
    return mean * (math.prod(whole) / divisor_override)


def _max_pool(operator: Any, x: torch.Tensor, kernel: Any, stride: Any = (), *more: Any) -> Any:
    """The importer knows no empty stride, which is as long as the window."""
    return NotImplemented if stride else operator(x, kernel, kernel, *more)


def _cumulated(operator: Any, x: torch.Tensor, dim: int, *, dtype: Any = None) -> Any:
    """In int64 where no dtype is asked for, of all integers; the importer stays in theirs."""
    import torch

    whole = not (x.is_floating_point() or x.is_complex())
    wanted = dtype or (torch.int64 if whole else x.dtype)
    return NotImplemented if x.dtype == wanted else operator(x.to(wanted), dim, dtype=wanted)


def _clamp(x: torch.Tensor, least: Any = None, most: Any = None) -> Any:
    """The importer has infinities for bounds that there are not, of integers too."""
    import torch

    bounds = [one for one in (least, most) if one is not None]
    if x.is_floating_point():
        return NotImplemented
    if any(isinstance(one, float) for one in bounds):
        return torch.clamp(x.to(torch.get_default_dtype()), least, most)
    if len(bounds) == 2:
        return NotImplemented
    bound = torch.full((), bounds[0], dtype=x.dtype, device=x.device)
    return torch.minimum(x, bound) if least is None else torch.maximum(x, bound)


def _clamp_tensor(x: torch.Tensor, least: Any = None, most: Any = None) -> Any:
    """Bounds in the dtype of what they bound, which torch promotes."""
    import torch

    bounds = [one for one in (least, most) if one is not None]
    dtype = x.dtype
    for one in bounds:
        dtype = torch.result_type(torch.empty_like(x, dtype=dtype), one)
    if all(one.dtype == dtype for one in (x, *bounds)):
        return NotImplemented
    x = x.to(dtype)
    x = x if least is None else torch.maximum(x, least.to(dtype))
    return x if most is None else torch.minimum(x, most.to(dtype))


def _elu(x: torch.Tensor, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Any:
    """The importer takes no notice of the scales."""
    import torch

    if scale == 1 and input_scale == 1:
        return NotImplemented
    return scale * torch.where(x > 0, x, alpha * (torch.exp(input_scale * x) - 1))


_SUM, _MEAN = 0, 1
"""Of the ways in which torch takes the rows of a bag together; the third is the largest."""


def _embedding_bag(
    weight: torch.Tensor,
    indices: torch.Tensor,
    offsets: torch.Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = _SUM,
    sparse: bool = False,
    per_sample_weights: torch.Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows of a table by bags, which begin at ``offsets``; a product with what each bag holds.

    An empty bag is zeros. Where a bag begins is a value, so that every row is asked whether it is
    in every bag.

    Returns
    -------
    tensors
        The bags [B, size], and how many rows each has in the third place. What torch has in the
        second and fourth place is for gradients; here it is zeros.
    """
    import torch

    del scale_grad_by_freq, sparse  # of the gradient
    count, bags = indices.shape[0], offsets.shape[0] - include_last_offset
    places = torch.arange(count, dtype=offsets.dtype, device=offsets.device)
    starts = offsets[:bags]
    last = offsets[bags:] if include_last_offset else offsets.new_full((1,), count)
    ends = torch.cat([starts[1:], last])
    inside = (places >= starts[:, None]) & (places < ends[:, None])
    if padding_idx >= 0:
        inside = inside & (indices != padding_idx)
    rows = torch.nn.functional.embedding(indices, weight)
    sizes = inside.sum(1)
    if mode in (_SUM, _MEAN):
        shares = inside.to(weight.dtype)
        if per_sample_weights is not None:
            shares = shares * per_sample_weights
        found = torch.mm(shares, rows)
        if mode == _MEAN:
            found = found / sizes.clamp(min=1)[:, None].to(weight.dtype)
    else:
        kept = torch.where(inside[:, :, None], rows, torch.finfo(weight.dtype).min)
        found = torch.where(sizes[:, None] > 0, torch.amax(kept, 1), 0.0)
    return found, offsets.new_zeros(count), sizes.to(offsets.dtype), offsets.new_zeros(bags)


def _min_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    import torch

    if not x.is_floating_point():
        return NotImplemented
    values, places = torch.max(-x, dim, keepdim)
    return -values, places


def _norm(operator: Any, pieces: Callable[..., Any], x: torch.Tensor, *args: Any) -> Any:
    """A normalisation, which TVM has of float32 alone, and of groups with a scale and shift."""
    import torch

    if x.dtype != torch.float32:
        return pieces(x, *args)
    if operator is not torch.ops.aten.native_group_norm.default or None not in args[:2]:
        return NotImplemented
    channels = x.shape[1]
    weight, bias = args[:2]
    weight = x.new_ones(channels) if weight is None else weight
    bias = x.new_zeros(channels) if bias is None else bias
    return operator(x, weight, bias, *args[2:])


def _select(x: torch.Tensor, dim: int, index: Any) -> Any:
    """The importer reads in front of the array for a place that counts from the end."""
    import torch

    if not isinstance(index, int) or index >= 0:
        return NotImplemented
    return torch.ops.aten.select.int(x, dim, index + x.shape[dim])


def _sizes_upsampled(x: torch.Tensor, size: Any, factors: Any) -> list[int]:
    """Rows and columns of a resized image; of factors torch takes the whole part."""
    return list(size or (int(extent * by) for extent, by in zip(x.shape[-2:], factors)))


def _upsample_nearest2d(x: torch.Tensor, size: Any, factors: Any) -> Any:
    """The importer rounds to other pixels where an image grows by no whole factor.

    Torch divides places by the factor that was asked for, whatever comes out as the size; but where
    an axis is as long as before, or twice as long, by one and two.
    """
    import torch

    before, wanted = x.shape[-2:], _sizes_upsampled(x, size, factors)
    ratios = [after / extent for after, extent in zip(wanted, before)]
    asked = factors or ratios
    asked = [ratio if ratio in (1, 2) else by for ratio, by in zip(ratios, asked)]
    if asked == ratios and all(ratio == int(ratio) for ratio in ratios):
        return NotImplemented
    steps = [
        1 / by if factors else extent / after for by, extent, after in zip(asked, before, wanted)
    ]
    i, j = (
        torch.floor(torch.arange(extent, dtype=torch.float32) * step).to(torch.int64)
        for extent, step in zip(wanted, steps)
    )
    return x.index_select(2, i.clamp(max=before[0] - 1)).index_select(3, j.clamp(max=before[1] - 1))


def _upsample_bilinear2d(x: torch.Tensor, size: Any, corners: bool, factors: Any) -> Any:
    """The importer divides by the ratio of the sizes, torch by the factor that was asked for.

    Axes that are as long as before torch leaves alone. With corners aligned the importer divides by
    one less than the size, which may be zero.
    """
    import torch
    from torch._decomp import decomposition_table

    before, wanted = x.shape[-2:], _sizes_upsampled(x, size, factors)
    if factors:
        asked = zip(before, wanted, factors)
        factors = [1.0 if after == extent else by for extent, after, by in asked]
    if corners:
        as_torch = 1 not in wanted
    else:
        as_torch = not factors or wanted == [n * by for n, by in zip(before, factors)]
    if as_torch:
        return NotImplemented
    operator = torch.ops.aten.upsample_bilinear2d.vec
    return decomposition_table[operator](x, size, corners, factors)


def _exp2(x: torch.Tensor) -> torch.Tensor:
    import torch

    real = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    return torch.pow(torch.full((), 2.0, dtype=real.dtype, device=x.device), real)


def _var_mean(
    x: torch.Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Torch's own way is in primitives that the importer lacks."""
    import torch

    axes = list(range(x.dim())) if dim is None else dim
    correction = 1 if correction is None else correction
    variance = torch.var(x, axes, correction=correction, keepdim=keepdim)
    return variance, torch.mean(x, axes, keepdim=keepdim)


def _im2col(
    x: torch.Tensor,
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> torch.Tensor:
    """Patches as columns: one slice of the image for each position in the window.

    Torch's own way gathers single elements.
    """
    import torch

    images = x if x.dim() == 4 else x[None]
    images = torch.nn.functional.pad(images, (padding[1], padding[1], padding[0], padding[0]))
    rows, columns = (
        (images.shape[axis + 2] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in range(2)
    )
    slices = [
        images[:, :, i : i + (rows - 1) * stride[0] + 1 : stride[0]][
            ..., j : j + (columns - 1) * stride[1] + 1 : stride[1]
        ]
        for i in range(0, kernel[0] * dilation[0], dilation[0])
        for j in range(0, kernel[1] * dilation[1], dilation[1])
    ]
    found = torch.stack(slices, 2).flatten(3).flatten(1, 2)
    return found if x.dim() == 4 else found[0]
