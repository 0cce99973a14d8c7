"""Weights whose layout is free: packed once ahead of all calls, into the panels a tile reads.

``layout_free_buffers`` of a function names parameters that are constant between calls. Whoever
compiles it may store them in any order (Relax does, with ``cpu_weight_prepack``), and TVM measures
candidates with such a copy taken out (``RemoveWeightLayoutRewriteBlock``).
"""

from __future__ import annotations

from typing import Any

from mschedx import compat

from .blocks import count_readers
from .contraction import Operand


def is_free(sch: Any, block: Any, operand: Operand) -> bool:
    """Whether an operand is a parameter of free layout.

    One that several blocks read is not: each would ask for a layout of its own. Neither is the
    padding of one: TVM takes out no copy that does more than copy.
    """
    source = sch.get(block).reads[operand.index].source
    for function in sch.mod.functions.values():
        for position in compat.free_layouts(function):
            if function.params[position].same_as(source):
                return count_readers(sch, source) == 1
    return False


def pack_ahead(sch: Any, copy: Any) -> None:
    """Mark a copy at the root as one that is performed ahead, and let it use all cores."""
    sch.parallel(sch.fuse(*sch.get_loops(copy)[:-1]))
    mark_ahead(sch, copy)


def mark_ahead(sch: Any, copy: Any) -> None:
    """Annotate a copy as one that TVM takes out."""
    sch.annotate(copy, compat.PERFORMED_AHEAD, True)


def panels_of_vectors(sch: Any, block: Any, operand: Operand, dim: int, lanes: int) -> None:
    """Lay a copied operand out as vectors along ``dim``, one below the other.

    Rewrite
    -------
    ``W[j, k]``  →  ``W[j // lanes, k, j % lanes]``
    """

    def layout(*index: Any) -> list[Any]:
        others = [i for d, i in enumerate(index) if d != dim]
        return [index[dim] // lanes, *others, index[dim] % lanes]

    sch.transform_layout(block, ("read", operand.index), layout)
