"""Reductions across threads must not be copied: TVM lowers each one's memory once.

``LowerThreadAllreduce`` looks a reduction up by the variable of its allocation, which explicit
unrolling copies together with the loop around it ("load_remap_.count(alloc_key)").
"""

from __future__ import annotations

from ...algebra.constraints import Constraint, at_least
from ...algebra.expression import add, multiply, where_at_most
from ...annotation_keys import UNROLL_EXPLICIT
from ..fit.replays import Replays
from ..mirror.memory import children
from ..mirror.unrolling import cross_thread_steps, reducing_loops
from ..model import CODE_GENERATION


def cross_thread_constraints(replays: Replays) -> list[Constraint]:
    """Serial loops around a reduction across threads run once or are too long to be unrolled.

    Loops with several statements are left out: how many steps the others have is not said here.
    """
    found, limit = replays.found, replays.annotation(0, UNROLL_EXPLICIT)
    if limit is None:
        return []
    program, result = found.template, []
    for b, block in enumerate(program.blocks):
        steps = cross_thread_steps(found, b)
        if steps is None:
            continue
        first = block.loops.index(reducing_loops(found, b)[0])
        for loop in reversed(block.loops[:first]):
            extent, own = found.extents[loop], program.loops[loop]
            if own.thread:
                continue
            if extent is None or own.kind != "serial" or len(children(program, loop)) != 1:
                break
            steps = multiply(steps, extent)
            beyond = add(limit, 1)
            origin = (
                f"{CODE_GENERATION}: {own.name} is not unrolled, "
                f"it holds a reduction of {block.name} across threads"
            )
            result.append(at_least(where_at_most(extent, 1, beyond, steps), beyond, origin))
    return result
