"""A convolution as a product with its patch matrix, vectors running along the output's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

from .blocks import coefficient, is_parameter, reads_in_place
from .contraction import Contraction, match_contraction
from .epilogue import as_one_block
from .index_maps import fusing, indices_of, transform_axes


@dataclass(frozen=True, slots=True)
class Patches:
    """A convolution whose block reads patches, for :class:`PackedTile` to tile.

    Attributes
    ----------
    contraction : Contraction
        Roles of the rewritten block: pixels are the vector axis, patches the panel operand.
    copy : SBlockRV
        The block that gathers patches.
    reader : SBlockRV
        The block that reads the result: what scatters it to the output, or the epilogue.
    run : int
        Neighbouring pixels of a row that a vector of the copy takes.
    padded : bool
        Whether the last vector has pixels that are not there.
    """

    contraction: Contraction
    copy: Any
    reader: Any
    run: int
    padded: bool


def patch_matrix(
    sch: Any, block: Any, contraction: Contraction, lanes: int, vector_bytes: int
) -> Patches | None:
    """Let a convolution read its patches from a matrix; None where there is no use for one.

    It takes output axes that are last in the output and read through a window (``h`` and ``w`` of
    ``[N, O, H, W]``), the last of them in steps of 1: patches of a strided convolution would be
    gathered pixel by pixel, which halved the rate of ResNet-50's stem. ``sch`` is changed in place.

    Rewrite
    -------
    ``for n, o, h, w, c, r, s: Y[n, o, h, w] += X[n, c, h + r, w + s] * K[o, c, r, s]``  →  ::

        for n, c, r, s, p: P[n, c, r, s, p] = X[n, c, p // W + r, p % W + s]
        for n, o, p, c, r, s: Y'[n, o, p] += P[n, c, r, s, p] * K[o, c, r, s]
        for n, o, p: Y[n, o, p // W, p % W] = Y'[n, o, p]

    with the pixels ``p`` padded to whole vectors.
    """
    found = _pixels(contraction)
    if found is None:
        return None
    image, pixels = found
    if _step(sch.get(block), image, pixels[-1]) != 1:
        return None
    rest = [axis for axis in contraction.output_plain if axis not in pixels]
    extents = contraction.extents
    output = [*_alone(rest), pixels]

    as_one_block(sch, block)
    copy = sch.reindex(block, ("read", image.index))
    region = sch.get(block).reads[image.index]
    own = indices_of(sch.get(block), region)
    others = [axis for axis in own if axis not in pixels]
    fuse = fusing(own, [*_alone(others), pixels], extents)
    sch.transform_layout(block, ("read", image.index), fuse)
    transform_axes(sch, copy, fuse)
    reader = sch.reindex(block, ("write", 0))
    own = indices_of(sch.get(block), sch.get(block).writes[0])
    sch.transform_layout(block, ("write", 0), fusing(own, output, extents))
    # Pixels take the place of their first axis, so that spatial axes stay before reductions.
    # Axes of one iteration would become spatial, so they go.
    reduced = [axis for axis in contraction.reductions if extents[axis] > 1]
    axes = range(len(extents))
    transform_axes(sch, block, fusing(axes, [*output, *_alone(reduced)], extents))

    consumers = sch.get_consumers(reader)
    if len(consumers) == 1 and _same_axes(sch, reader, consumers[0]):
        sch.compute_inline(reader)
        reader = consumers[0]
    transform_axes(sch, reader, fusing(contraction.output_plain, output, extents))
    made = match_contraction(sch.get(block), vector_bytes, vector=len(rest))
    if made is None:
        return None
    factors = [lanes if axis == made.vector else 1 for axis in range(len(made.extents))]
    padded = made.extents[made.vector] % lanes != 0
    if padded:
        sch.pad_einsum(block, factors)
        (guarded,) = sch.get_consumers(copy)
        sch.compute_inline(copy)
        copy = guarded
        (crop,) = sch.get_consumers(block)
        sch.compute_inline(crop)
        made = made.padded(factors)
    return Patches(made, copy, reader, gcd(extents[pixels[-1]], lanes), padded)


def _pixels(contraction: Contraction) -> tuple[Any, tuple[int, ...]] | None:
    """The operand that is the image, and the output axes that it reads through a window."""
    for image in (contraction.panel, contraction.broadcast):
        plain = {axis for axis in image.plain if axis is not None}
        pixels = tuple(a for a in contraction.output_plain if a in image.axes and a not in plain)
        last = contraction.output_plain[len(contraction.output_plain) - len(pixels) :]
        if pixels and pixels == last and len(pixels) < len(contraction.output_plain):
            return image, pixels
    return None


def _step(block: Any, image: Any, axis: int) -> int:
    """Pixels between neighbouring windows along an output axis of the image; 0: they vary.

    Where the axis moves two dimensions at once (``X[h + r, h + s]``), no row holds the windows.
    """
    var = block.iter_vars[axis].var
    region = block.reads[image.index].region
    steps = [coefficient(region[d].min, var) for d, used in enumerate(image.dims) if axis in used]
    return (steps[0] or 0) if len(steps) == 1 else 0


def _alone(axes: Sequence[int]) -> list[tuple[int]]:
    """Each axis as a role of its own."""
    return [(axis,) for axis in axes]


def _same_axes(sch: Any, one: Any, other: Any) -> bool:
    first, second = ([int(iv.dom.extent) for iv in sch.get(b).iter_vars] for b in (one, other))
    output = sch.get(one).writes[0].source
    in_place = reads_in_place(sch, other, output) and not is_parameter(sch, output)
    alone = len(sch.get_producers(other)) == 1
    ends = sch.get(other).init is None and not sch.get_consumers(other)
    return in_place and alone and ends and first == second
