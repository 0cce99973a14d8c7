"""Loops of copies and elementwise blocks, said explicitly instead of left to a postproc."""

from __future__ import annotations

from typing import Any

from tvm.tirx import IntImm


def vectorise_innermost(sch: Any, block: Any, lanes: int) -> None:
    """Vectorise ``lanes`` iterations of the block's innermost loop, if they divide it.

    Rewrite
    -------
    ``for i: X[i] = ...``  →  ``for i0: vectorise i1 < lanes: X[i0·lanes + i1] = ...``
    """
    innermost = sch.get_loops(block)[-1]
    extent = sch.get(innermost).extent
    if not isinstance(extent, IntImm) or int(extent) % lanes:
        return
    _, inner = sch.split(innermost, [None, lanes])
    sch.vectorize(inner)


def parallelise_copy(sch: Any, block: Any, lanes: int) -> None:
    """Give a copy at the root all cores, and vectors where its rows allow.

    Rewrite
    -------
    ``for i, j, k: X[i, j, k] = ...``  →
    ``parallel i·j: for k0: vectorise k1 < lanes: X[i, j, k] = ...``
    """
    loops = sch.get_loops(block)
    if len(loops) > 1:
        sch.parallel(sch.fuse(*loops[:-1]))
        vectorise_innermost(sch, block, lanes)
    else:
        vectorise_innermost(sch, block, lanes)
        sch.parallel(sch.get_loops(block)[0])
