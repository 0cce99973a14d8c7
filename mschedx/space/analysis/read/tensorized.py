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

from ...trace.instructions import replay
from .extract import extract

if TYPE_CHECKING:
    from ...trace.design import Design


def tensorized(design: Design) -> dict[str, str]:
    """Replay a design once and list what its trace tensorises: the intrinsic by the block's name.

    A loop that is tensorised becomes a block around the one it holds, called "<its name>_o".
    """
    found: dict[str, str] = {}

    def provider(schedule: Any) -> Callable:
        def watch(instruction: Any, inputs: Any, attributes: Any, decision: Any) -> Any:
            if instruction.kind.name == "Tensorize":
                found[_block_name(schedule.get(inputs[0]))] = str(attributes[0])
            return decision

        return watch

    replay(design.mod, design.trace_for(design.default_config()), provider)
    return found


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
