"""``RewriteParallelVectorizeUnroll`` on a CPU, as expressions."""

from __future__ import annotations

from collections.abc import Sequence

from .extract import Program
from .fit import Solver
from .model import VectorInfo
from .symbolic import SymbolicProgram


def rewrite(
    programs: Sequence[Program], found: SymbolicProgram, root: int, block: int, solver: Solver
) -> VectorInfo:
    """Derive the parallel extent and vector length of a block."""
    return VectorInfo(found.template.blocks[block].name)
