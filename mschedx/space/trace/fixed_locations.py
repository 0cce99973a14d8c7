"""Compute locations that are settled, named outright instead of sampled.

Asked for the location it is told to take, ``SampleComputeLocation`` still tries every loop of the
consumer first: two thirds of the time of replaying a convolution of TVM's space. Within a design
the location is fixed, so the replays that an analysis reads need not ask::

    l = sample_compute_location(b, decision=3)   ->   c = get_consumers(b); ..., l = get_loops(c)
    compute_at(b, l)                             ->   compute_at(b, l)

At the root both instructions go, and inlining stands for itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tvm
from tvm.s_tir import Schedule, Trace
from tvm.s_tir.schedule import Instruction, InstructionKind, LoopRV, SBlockRV

from .instructions import unscheduled

ROOT, INLINED = -1, -2
"""TVM's codes for computing at no loop and for inlining."""

_INLINES = {"ComputeAt": "ComputeInline", "ReverseComputeAt": "ReverseComputeInline"}


class Numbered(NamedTuple):
    """An instruction with its number in the whole trace; None for one that is not there."""

    number: int | None
    instruction: Any


class Around(NamedTuple):
    """How many consumers a block has, and loops around the first of them."""

    consumers: int
    loops: int


def numbered(trace: Trace) -> list[Numbered]:
    """The instructions of a trace with their numbers."""
    return [Numbered(*item) for item in enumerate(trace.insts)]


def settle(mod: tvm.IRModule, trace: Trace, codes: dict[int, int]) -> list[Numbered]:
    """Name the compute locations of a trace that replays on ``mod``.

    Parameters
    ----------
    mod : tvm.IRModule
    trace : tvm.s_tir.Trace
    codes : dict of int to int
        The fixed locations' codes by instruction.

    Returns
    -------
    list of Numbered
        The instructions; replays make the programs that replays of the whole trace make wherever
        TVM offers the location.
    """
    found = numbered(trace)
    for at, code in codes.items():
        around = _look(mod, trace, at) if code >= 0 else Around(0, 0)
        found = settle_one(found, at, code, around)
    return found


def settle_one(insts: list[Numbered], at: int, code: int, around: Around) -> list[Numbered]:
    """Name the location of instruction number ``at``; as it is, where it serves anything else.

    Parameters
    ----------
    insts : list of Numbered
    at, code : int
    around : Around
        What the block meets there; of no interest at the root and where it is inlined.
    """
    (instruction,) = (one.instruction for one in insts if one.number == at)
    (location,) = instruction.outputs
    users = [one for one in insts if any(map(location.same_as, _inputs(one.instruction)))]
    if any(one.instruction.kind.name not in _INLINES for one in users):
        return insts
    new: dict[int | None, list[Numbered]]
    if code >= 0:
        new = {at: _named(instruction, code, around)}
    else:
        new = {one.number: _without_loop(one, code) for one in users} | {at: []}
    return [n for one in insts for n in new.get(one.number, [one])]


def _inputs(instruction: Any) -> list[Any]:
    return [one for one in instruction.inputs if hasattr(one, "same_as")]


def replayed(before: list[Any], schedule: Schedule, variable: Any) -> Any:
    """What a schedule that replayed the instructions ``before`` calls one of their outputs."""
    done = schedule.trace
    assert done is not None
    outputs = (rv for inst in before for rv in inst.outputs)
    now = (rv for inst in done.insts for rv in inst.outputs)
    (here,) = (new for old, new in zip(outputs, now, strict=True) if variable.same_as(old))
    return here


def _look(mod: tvm.IRModule, trace: Trace, at: int) -> Around:
    """Look up what is around the block of instruction ``at``."""
    before = list(trace.insts[:at])
    schedule = unscheduled(mod)
    Trace(before, trace.decisions).apply_to_schedule(schedule, True)
    consumers = list(schedule.get_consumers(replayed(before, schedule, trace.insts[at].inputs[0])))
    return Around(len(consumers), len(schedule.get_loops(consumers[0])))


def _named(instruction: Any, code: int, around: Around) -> list[Numbered]:
    """Look up loop ``code`` of the block's first consumer."""
    consumers: list[Any] = [SBlockRV() for _ in range(around.consumers)]
    loops: list[Any] = [LoopRV() for _ in range(around.loops)]
    loops[code] = instruction.outputs[0]
    kinds = (InstructionKind.get("GetConsumers"), InstructionKind.get("GetLoops"))
    return [
        Numbered(None, Instruction(kinds[0], [instruction.inputs[0]], [], consumers)),
        Numbered(None, Instruction(kinds[1], [consumers[0]], [], loops)),
    ]


def _without_loop(one: Numbered, code: int) -> list[Numbered]:
    """What computing at no loop comes to: nothing at the root, inlining otherwise."""
    if code == ROOT:
        return []
    kind = InstructionKind.get(_INLINES[one.instruction.kind.name])
    return [Numbered(None, Instruction(kind, [one.instruction.inputs[0]], [], []))]
