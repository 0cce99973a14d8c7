"""Which blocks of a program tensor intrinsics perform, and what one of these computes.

A block that a trace tensorises keeps nothing of what it was: its body is the instruction. Which one
it is stands in the trace; what it computes is read off the intrinsic's description.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from tvm import tirx
from tvm.s_tir import TensorIntrin

from ...annotation_keys import AUTO_TENSORIZE
from ...errors import InvalidSchedule
from ...trace.instructions import replay
from .extract import extract
from .program import Block, Program

if TYPE_CHECKING:
    from ...trace.design import Design


def tensorized(design: Design) -> dict[str, str]:
    """Replay a design, where it tensorises anything, and list the intrinsics by the blocks' names.

    A loop that is tensorised becomes a block around the one it holds, called "<its name>_o".
    """
    found: dict[str, str] = {}
    if all(instruction.kind.name != "Tensorize" for instruction in design.trace.insts):
        return found

    def provider(schedule: Any) -> Callable:
        def watch(instruction: Any, inputs: Any, attributes: Any, decision: Any) -> Any:
            if instruction.kind.name == "Tensorize":
                found[_block_name(schedule.get(inputs[0]))] = str(attributes[0])
            return decision

        return watch

    replay(design.mod, design.trace_for(design.default_config()), provider)
    return found


def left_as_loops(design: Design, program: Program) -> frozenset[str]:
    """Name the blocks that a postproc was asked to tensorise, and could not.

    It passes over a block that its intrinsic does not match, in silence; the block then stays.

    Parameters
    ----------
    design : Design
    program : Program
        A replay without postprocs.

    Returns
    -------
    frozenset of str
        Leaf blocks; none where no config could be materialised.
    """
    asked = {block.name for block in program.blocks if block.leaf and _asked(program, block)}
    for config in (design.default_config(), design.base) if asked else ():
        try:
            schedule = design.materialize(config)
        except InvalidSchedule:
            continue
        (variable,) = schedule.mod.get_global_vars()
        lowered = extract(schedule.mod[variable])
        return frozenset(asked & {block.name for block in lowered.blocks if block.leaf})
    return frozenset()


def _asked(program: Program, block: Block) -> bool:
    """Whether a block that holds this one names an intrinsic."""
    parent = block.parent
    while parent > 0:
        if AUTO_TENSORIZE in dict(program.blocks[parent].annotations):
            return True
        parent = program.blocks[parent].parent
    return False


def _block_name(place: Any) -> str:
    if not isinstance(place, tirx.For):
        return str(place.name_hint)
    while not hasattr(place, "block"):
        place = place.body
    return f"{place.block.name_hint}_o"


@cache
def described_operations(intrinsic: str) -> Mapping[str, int]:
    """Count the scalar operations that one call of a registered intrinsic performs."""
    registered = TensorIntrin.get(intrinsic)
    assert registered is not None, "a program that names an intrinsic was made with it"
    program = extract(registered.desc)
    total: Counter[str] = Counter()
    for block in program.blocks:
        times = 1
        for loop in block.loops:
            times *= program.loops[loop].extent
        for kind, count in block.operations:
            total[kind] += count * times
    return dict(total)
