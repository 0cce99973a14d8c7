"""Rewrite any contraction as a matrix product C'[b, m, n] += A'[b, m, k] · B'[b, k, n].

Rows m, columns n, reduction k and batch b each fuse the contraction's axes of one role, so a
convolution becomes a product whose operands are gathered on the way to fast memory (im2col without
a buffer for it). Extents are padded with zeros to multiples of what an instruction takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

from .contraction import Contraction, Operand
from .index_maps import fusing, indices_of, transform_axes


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """A contraction as a matrix product; axes are positions among the block's iterators.

    Attributes
    ----------
    batch, m, n, k : tuple of int
        Axes by role, in the order in which they fuse; only ``batch`` may be empty.
    a, b : Operand
        The operand that holds the rows, and the one that holds the columns.
    a_along_k, b_along_k : bool
        Whether neighbouring elements in memory are neighbours along k.
    extents : tuple of int
        Extent of every axis of the block.
    output : tuple of int
        The axis that indexes each dimension of the output.
    output_shape : tuple of int
        Extents of the output's buffer.
    dtype : str
        Type that is accumulated.
    """

    batch: tuple[int, ...]
    m: tuple[int, ...]
    n: tuple[int, ...]
    k: tuple[int, ...]
    a: Operand
    b: Operand
    a_along_k: bool
    b_along_k: bool
    extents: tuple[int, ...]
    output: tuple[int, ...]
    output_shape: tuple[int, ...]
    dtype: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Extents of m, n and k."""
        m, n, k = (prod(self.extents[axis] for axis in role) for role in (self.m, self.n, self.k))
        return m, n, k

    @property
    def roles(self) -> tuple[tuple[int, ...], ...]:
        """Batch (where there is one), m, n and k: the iterators of the rewritten block."""
        return (*((self.batch,) if self.batch else ()), self.m, self.n, self.k)

    @property
    def in_place(self) -> bool:
        """Whether the output is indexed by (batch,) m, n as they are, from end to end."""
        single = len(self.batch) <= 1 and len(self.m) == len(self.n) == 1
        whole = self.output_shape == tuple(self.extents[axis] for axis in self.output)
        return single and whole and self.output == (*self.batch, *self.m, *self.n)

    def run(self, operand: Operand) -> int:
        """Elements of an operand that lie side by side in memory, whatever else is fused.

        Of rows that are longer than the axis, what divides both: that is how they are aligned.
        """
        last = _last(operand)
        axis = operand.plain[last]
        return 1 if axis is None else gcd(self.extents[axis], operand.shape[last])


def as_product(contraction: Contraction) -> MatrixProduct | None:
    """Give every axis one of the four roles; None where an axis has none of them.

    A is the operand that the block reads first, as in an intrinsic's description. A grouped or
    depthwise convolution, whose channels both operands read, has no rows or columns of its own and
    is not a product.
    """
    output = [axis for axis in contraction.output_plain if axis not in contraction.batch]
    a, b = sorted((contraction.panel, contraction.broadcast), key=lambda one: one.index)
    # What neither reads has extent 1: an image alone in its batch.
    m = tuple(axis for axis in output if axis in a.axes or axis not in b.axes)
    n = tuple(axis for axis in output if axis in b.axes)
    k = contraction.reductions
    whole = set(m) & set(n) == set() and set(m) | set(n) == set(output)
    # Nor are taps of a 1 x 1 window read by either.
    shared = all(axis in a.axes and axis in b.axes for axis in k if contraction.extents[axis] > 1)
    if not (m and n and k and whole and shared):
        return None
    batch = tuple(axis for axis in contraction.output_plain if axis in contraction.batch)
    return MatrixProduct(
        batch,
        m,
        n,
        k,
        a,
        b,
        _along(a, m, k),
        _along(b, n, k),
        contraction.extents,
        contraction.output_plain,
        contraction.output_shape,
        contraction.dtype,
    )


def _along(operand: Operand, free: Sequence[int], k: Sequence[int]) -> bool:
    """Whether neighbours in memory are neighbours along the innermost axis of k, not of m or n."""
    last = operand.dims[_last(operand)]
    return free[-1] not in last and (k[-1] in last or not set(free) & last)


def _last(operand: Operand) -> int:
    """The dimension along which neighbours in memory lie: the last that is longer than 1."""
    longer = [dim for dim, extent in enumerate(operand.shape) if extent > 1]
    return longer[-1] if longer else -1


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What `rewrite` leaves for a rule to place.

    Attributes
    ----------
    sources : tuple of two lists of SBlockRV
        The blocks that gather (and pad) A' and B', in program order.
    sinks : list of SBlockRV
        The blocks that crop and scatter C', in program order; empty where C is written as it is.
    shape : tuple of int
        Extents of m, n and k after padding.
    """

    sources: tuple[list[Any], list[Any]]
    sinks: list[Any]
    shape: tuple[int, int, int]


def rewrite(
    sch: Any, block: Any, product: MatrixProduct, multiples: tuple[int, int, int], transposed: bool
) -> Reindexed:
    """Turn the block into a product of padded matrices.

    Rewrite
    -------
    ``C[n, h, w, o] += X[n, h + y, w + z, c] * W[y, z, c, o]``  →  ::

        A'[(n,h,w), (y,z,c)] = X[n, h + y, w + z, c], or 0 beyond it
        B'[(y,z,c), o] = W[y, z, c, o], or 0 beyond it
        for m, n, k: C'[m, n] += A'[m, k] * B'[k, n]
        C[n, h, w, o] = C'[(n,h,w), o]

    Parameters
    ----------
    multiples : tuple of int
        What the extents of m, n and k are padded to multiples of.
    transposed : bool
        Whether B' is [n, k].
    """
    m, n, k = product.shape
    padded = tuple(-(-extent // to) * to for extent, to in zip((m, n, k), multiples))
    in_place = product.in_place and padded[:2] == (m, n)
    b_roles = (product.n, product.k) if transposed else (product.k, product.n)
    layouts = ((product.a, (product.m, product.k)), (product.b, b_roles))
    sources = []
    for operand, roles in layouts:
        buffer = ("read", operand.index)
        sources.append([sch.reindex(block, buffer)])
        grouped = (*((product.batch,) if product.batch else ()), *roles)
        own = indices_of(sch.get(block), sch.get(block).reads[operand.index])
        sch.transform_layout(block, buffer, fusing(own, grouped, product.extents))
    sinks = []
    if not in_place:
        sinks.append(sch.reindex(block, ("write", 0)))
        own = indices_of(sch.get(block), sch.get(block).writes[0])
        fuse = fusing(own, product.roles[:-1], product.extents)
        sch.transform_layout(block, ("write", 0), fuse)
    axes = range(len(product.extents))
    transform_axes(sch, block, fusing(axes, product.roles, product.extents))
    if padded != (m, n, k):
        ones = [1] * (len(product.roles) - 3)
        sch.pad_einsum(block, [*ones, *multiples])
        grows = [new != old for new, old in zip(padded, (m, n, k))]
        for found, grown in zip(sources, (grows[0] or grows[2], grows[1] or grows[2])):
            found += sch.get_consumers(found[0]) if grown else []
        sinks[:0] = sch.get_consumers(block) if grows[0] or grows[1] else []
    return Reindexed((sources[0], sources[1]), sinks, (padded[0], padded[1], padded[2]))
