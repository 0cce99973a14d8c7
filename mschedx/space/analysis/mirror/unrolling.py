"""``UnrollLoop`` where unrolling is explicit: how many steps a loop's body is made of.

A loop is unrolled when all loops in its body are and its extent times the steps of the body is at
most the limit. A step is a store or a call; a thread's part of a reduction across threads has its
own, as ``LowerCrossThreadReduction`` makes them::

    for i:                              for i:
      for k0:                             part = init                   1
        for k1 in threadIdx.x:     →      for k0:  part += x[...]       extent of k0
          sum[i] += x[...]                tvm_thread_allreduce(part)    1
                                          sum[i] = part                 1

Held by ``test_cross_thread.py``.
"""

from __future__ import annotations

from ...algebra.expression import Expression, multiply
from ...algebra.expression import add as plus
from ..fit.symbolic import SymbolicProgram


def cross_thread_steps(found: SymbolicProgram, block: int) -> Expression | None:
    """Steps of a reduction across threads; None if the block is none, or its extents unknown."""
    program = found.template
    own = program.blocks[block]
    loops = reducing_loops(found, block)
    bound = [loop for loop in loops if program.loops[loop].thread.startswith("threadIdx")]
    serial = [found.extents[loop] for loop in loops if loop not in bound]
    if not bound or None in serial:
        return None
    stores = sum(access.is_write for access in own.accesses)
    if not serial:
        return plus(stores, 1)
    turns = multiply(stores, *(extent for extent in serial if extent is not None))
    return plus(turns, 2 * stores + 1)


def reducing_loops(found: SymbolicProgram, block: int) -> list[int]:
    """A block's loops that move an iterator it reduces over, outermost first."""
    own = found.template.blocks[block]
    moving = {
        part.loop
        for (_, kind, _), form in zip(own.iters, found.iters[block])
        for part in form.components
        if kind == "reduce"
    }
    return [loop for loop in own.loops if loop in moving]
