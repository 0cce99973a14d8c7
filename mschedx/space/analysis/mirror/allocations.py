"""The buffers that a program allocates, with the bytes of each.

Shapes and copies are those of `memory`; a GPU's vthreads each have their own copy of what a thread
holds, as ``InjectVirtualThread`` makes them. Bytes are held by ``test_allocations.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...algebra.expression import Expression, multiply
from ..fit.replays import Replays
from ..fit.symbolic import SymbolicProgram
from ..model import AllocationInfo
from ..read.program import dtype_bytes
from .kernels import kernel_of
from .memory import User, alignment, copies, elements, home, shape, users


def allocated(replays: Replays, on_gpu: bool) -> tuple[AllocationInfo, ...]:
    """Describe every buffer that is no parameter, in the program's order.

    Parameters
    ----------
    replays : Replays
    on_gpu : bool
    """
    found, result = replays.found, []
    for buffer in found.template.buffers:
        uses = users(found.template, buffer.name)
        if buffer.parameter or not uses:
            continue
        around = {kernel_of(found.template, b) for b, _ in uses}
        kernel = around.pop() if len(around) == 1 else None
        dims = shape(found, buffer)
        versions = replays.solve([copies(found, p, buffer.name) for p in replays.programs])
        size = elements(dims, alignment(replays, buffer.name))
        size = size and versions and multiply(dtype_bytes(buffer.dtype), versions, size)
        if on_gpu and kernel is not None and buffer.scope == "local":
            each = _vthreads(found, uses)
            size = size and each and multiply(size, each)
        result.append(
            AllocationInfo(buffer.name, buffer.scope, buffer.dtype, kernel, dims, versions, size)
        )
    return tuple(result)


def _vthreads(found: SymbolicProgram, uses: Sequence[User]) -> Expression | None:
    """Vthreads of the loops around all uses of a buffer, each tag once; None if not known."""
    loops = found.template.blocks[uses[0][0]].loops[: home(found, uses)]
    extents: dict[str, Expression | None] = {}
    for loop in loops:
        thread = found.template.loops[loop].thread
        if thread.startswith("vthread"):
            extents.setdefault(thread, found.extents[loop])
    known = [extent for extent in extents.values() if extent is not None]
    return multiply(1, *known) if len(known) == len(extents) else None
