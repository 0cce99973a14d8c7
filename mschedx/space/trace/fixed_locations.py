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
from tvm.s_tir import Trace
from tvm.s_tir.schedule import Instruction, InstructionKind

from .instructions import unscheduled

ROOT = -1
"""TVM's code for computing at no loop; below it is inlining."""

_INLINED = {"ComputeAt": "ComputeInline", "ReverseComputeAt": "ReverseComputeInline"}


class Numbered(NamedTuple):
    """An instruction with its number in the whole trace; None for one that is not there."""

    number: int | None
    instruction: Any


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
    insts = [Numbered(*item) for item in enumerate(trace.insts)]
    found = insts
    for at, code in codes.items():
        instruction = trace.insts[at]
        (location,) = instruction.outputs
        users = [one for one in insts if any(map(location.same_as, _inputs(one.instruction)))]
        if any(one.instruction.kind.name not in _INLINED for one in users):
            continue
        new: dict[int | None, list[Numbered]]
        if code >= 0:
            new = {at: _named(mod, trace, at, code)}
        else:
            new = {one.number: _without_loop(one, code) for one in users} | {at: []}
        found = [n for one in found for n in new.get(one.number, [one])]
    return found


def _inputs(instruction: Any) -> list[Any]:
    return [one for one in instruction.inputs if hasattr(one, "same_as")]


def _named(mod: tvm.IRModule, trace: Trace, at: int, code: int) -> list[Numbered]:
    """Look up loop ``code`` of the block's first consumer."""
    schedule = unscheduled(mod)
    Trace(trace.insts[:at], trace.decisions).apply_to_schedule(schedule, True)
    done = schedule.trace
    assert done is not None
    before = [rv for inst in trace.insts[:at] for rv in inst.outputs]
    now: list[Any] = [rv for inst in done.insts for rv in inst.outputs]
    block: Any = trace.insts[at].inputs[0]
    (here,) = (new for old, new in zip(before, now, strict=True) if block.same_as(old))
    consumers: list[Any] = list(schedule.get_consumers(here))
    loops: list[Any] = list(schedule.get_loops(consumers[0]))
    loops[code] = trace.insts[at].outputs[0]
    kinds = (InstructionKind.get("GetConsumers"), InstructionKind.get("GetLoops"))
    return [
        Numbered(None, Instruction(kinds[0], [block], [], consumers)),
        Numbered(None, Instruction(kinds[1], [consumers[0]], [], loops)),
    ]


def _without_loop(one: Numbered, code: int) -> list[Numbered]:
    """What computing at no loop comes to: nothing at the root, inlining otherwise."""
    if code == ROOT:
        return []
    kind = InstructionKind.get(_INLINED[one.instruction.kind.name])
    return [Numbered(None, Instruction(kind, [one.instruction.inputs[0]], [], []))]
