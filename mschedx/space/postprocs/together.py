"""TVM's postprocs with ours among them, each in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .inner_reductions import InnerReductions
from .loops_for_llvm import LoopsForLLVM
from .short_chains import ShortChains

_INITIALISES = "RewriteReductionBlock"


def with_ours(postprocs: Sequence[Any]) -> list[Any]:
    """Put :class:`InnerReductions` before TVM's postproc, the others last.

    TVM passes over reductions that are initialised already; loops become vectors and are marked to
    be unrolled before the end. A list that TVM hands back may have ours already, without their
    classes; the second then finds nothing to do.
    """
    found: list[Any] = []
    for postproc in postprocs:
        found += [InnerReductions(), postproc] if _INITIALISES in str(postproc) else [postproc]
    return [*found, LoopsForLLVM(), ShortChains()]
