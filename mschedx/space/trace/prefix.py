"""The head of a trace, which decides nothing, applied once instead of at every replay.

Analysing a design space is mostly replaying, and every replay repeats what comes before the first
sampling instruction: reindexing, padding, changing layouts, inlining. For a convolution on tensor
cores that is a third of the time. Compute locations that are fixed are named here too (`settle`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tvm
from tvm.s_tir import Schedule, ScheduleError, Trace
from tvm.s_tir.schedule import Instruction, InstructionKind, SBlockRV

from .fixed_locations import Numbered, settle
from .instructions import SAMPLERS, unscheduled


class Tail(NamedTuple):
    """What is left of a trace.

    Attributes
    ----------
    start : Schedule
        Of the module with the head applied.
    trace : tvm.s_tir.Trace
        Looks up the blocks that the head left, then goes on as the whole trace does.
    places : dict of int to int
        The index of each sampling instruction, by its index in the whole trace.
    """

    start: Schedule
    trace: Trace
    places: dict[int, int]


def tail(mod: tvm.IRModule, trace: Trace, locations: dict[int, int] | None = None) -> Tail:
    """Split the head off a trace that replays on ``mod``, and name settled locations outright.

    Replays of the tail make the programs that replays of the whole trace make. Nothing is split off
    a trace whose blocks cannot be told apart by name, or which samples at once.

    Parameters
    ----------
    mod : tvm.IRModule
    trace : tvm.s_tir.Trace
    locations : dict of int to int, optional
        The fixed compute locations' codes by instruction, see `settle`.
    """
    settled = settle(mod, trace, locations or {})
    whole = _tail(mod, settled)
    first = min(whole.places.values(), default=0)
    insts = [one.instruction for one in settled]
    if len(mod.functions) != 1:
        return whole
    cut, needed = _cut(insts, first)
    if cut == 0:
        return whole
    (function,) = (var.name_hint for var in mod.functions)
    head = unscheduled(mod)
    Trace(insts[:cut], {}).apply_to_schedule(head, True)
    assert head.trace is not None
    now = (rv for done in head.trace.insts for rv in done.outputs)
    before = (rv for inst in insts[:cut] for rv in inst.outputs)
    blocks = [
        (head.get(new).name_hint, old)  # type: ignore[union-attr]  # it is a block
        for old, new in zip(before, now)
        if any(map(old.same_as, needed))
    ]
    mod = head.mod
    try:
        for name, _ in blocks:
            head.get_sblock(name, function)
    except ScheduleError:
        return whole
    kind = InstructionKind.get("GetSBlock")
    lookups = [Numbered(None, Instruction(kind, [], [name, function], [rv])) for name, rv in blocks]
    return _tail(mod, [*lookups, *settled[cut:]])


def _tail(mod: tvm.IRModule, insts: list[Numbered]) -> Tail:
    sampled = {
        one.number: at
        for at, one in enumerate(insts)
        if one.number is not None and one.instruction.kind.name in SAMPLERS
    }
    return Tail(unscheduled(mod), Trace([one.instruction for one in insts], {}), sampled)


def _cut(insts: list[Any], first: int) -> tuple[int, list[Any]]:
    """The longest head of which only blocks are needed later, and these."""
    for cut in range(first, 0, -1):
        outputs = [rv for inst in insts[:cut] for rv in inst.outputs]
        inputs = [one for inst in insts[cut:] for one in inst.inputs if hasattr(one, "same_as")]
        needed = [rv for rv in outputs if any(map(rv.same_as, inputs))]
        if all(isinstance(rv, SBlockRV) for rv in needed):
            return cut, needed
    return 0, []
