"""Where copies to shared memory become asynchronous, as an expression.

``postprocs.async_copies.AsyncCopies`` makes the vector copies below a pipelined loop ``cp.async``
where annotations of the loop, which are decisions, ask for it.

Held by ``test_asynchronous_copies_are_those_of_the_lowered_pipelines`` and
``benchmarks/sketch_exactness.py``.
"""

from __future__ import annotations

from ...algebra.expression import Expression, constant, minimum, multiply
from ...annotation_keys import ASYNC_COPIES, PIPELINE_DEPTH, VECTOR_COPY
from ..fit.replays import Replays


def asynchronous(replays: Replays, block: int) -> Expression | None:
    """Derive 1 where a block's copies are asynchronous and 0 where threads wait for each.

    None where that is no expression of the decisions.
    """
    own = replays.template.blocks[block]
    if VECTOR_COPY not in dict(own.annotations):
        return constant(0)
    for depth, loop in enumerate(own.loops):
        if ASYNC_COPIES in dict(replays.template.loops[loop].annotations):
            asked, ahead = (
                _noted(replays, block, depth, key) for key in (ASYNC_COPIES, PIPELINE_DEPTH)
            )
            if asked is None or ahead is None:
                return None
            return multiply(asked, minimum(ahead, 1))
    return constant(0)


def _noted(replays: Replays, block: int, depth: int, key: str) -> Expression | None:
    """Find the expression of an annotation of the block's loop at a depth; 0 where it has none."""
    loops = [p.loops[p.blocks[block].loops[depth]] for p in replays.programs]
    return replays.solve([dict(loop.annotations).get(key, 0) for loop in loops])
