"""What a block reads or writes of a buffer, said by the block's axes.

Axes are positions among a block's iteration variables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tvm.sym import Analyzer
from tvm.tirx import Var
from tvm.tirx.analysis import undefined_vars

from .blocks import constant_extent


@dataclass(frozen=True, slots=True, eq=False)
class BlockAccess:
    """A buffer, and what of it a block is at.

    Attributes
    ----------
    buffer : Buffer
    dims : tuple of frozenset of int
        For every dimension, the axes that its index reads.
    plain : tuple of int or None
        For every dimension, the axis whose variable is the whole index; None for an index that
        combines axes (a convolution's window), that is constant, or where the block is at more than
        one element.
    """

    buffer: Any
    dims: tuple[frozenset[int], ...]
    plain: tuple[int | None, ...]

    @property
    def axes(self) -> frozenset[int]:
        """Every axis that some index reads."""
        return frozenset().union(*self.dims)

    def dim_of(self, axis: int) -> int | None:
        """The dimension whose whole index is ``axis``, if that is the only one that reads it."""
        found = [d for d, a in enumerate(self.plain) if a == axis]
        alone = sum(axis in dim for dim in self.dims) == 1
        return found[0] if len(found) == 1 and alone else None


def access_at(
    buffer: Any, indices: Sequence[Any], axes: Mapping[Any, int], analyzer: Analyzer
) -> BlockAccess:
    """Read the access of one element.

    Parameters
    ----------
    buffer : Buffer
    indices : sequence of Expr
    axes : mapping of Var to int
        The block's iteration variables.
    analyzer : Analyzer
        Knows their ranges. A grouped convolution of one group still says ``c // C * C``; simplified
        it reads as it should.
    """
    simple = [analyzer.simplify(index) for index in indices]
    dims = tuple(
        frozenset(axes[var] for var in undefined_vars(index) if var in axes) for index in simple
    )
    plain = tuple(axes.get(index) if isinstance(index, Var) else None for index in simple)
    return BlockAccess(buffer, dims, plain)


def access_of(region: Any, axes: Mapping[Any, int], analyzer: Analyzer) -> BlockAccess:
    """Read the access of a region, a BufferRegion, by where it begins; the rest as `access_at`."""
    intervals = list(region.region)
    start = access_at(region.source, [one.min for one in intervals], axes, analyzer)
    single = [constant_extent(one.extent) == 1 for one in intervals]
    plain = (axis if alone else None for axis, alone in zip(start.plain, single))
    return replace(start, plain=tuple(plain))
