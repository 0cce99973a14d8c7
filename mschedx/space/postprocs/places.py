"""Where a block is in a function. Names do not say it: several blocks may share one."""

from __future__ import annotations

from typing import Any

Place = tuple[int, ...]
"""A block's number in the scope around it, in program order, from the root's on."""


def block_at(sch: Any, function: str, place: Place) -> Any:
    """The block of a function that is at a place.

    Parameters
    ----------
    sch : tvm.s_tir.Schedule
    function : str
        The global's name.
    place : Place
        As counted in the schedule's module as it is now.

    Returns
    -------
    SBlockRV
    """
    block = sch.get_sblock(str(sch.mod[function].body.block.name_hint), function)
    for number in place[1:]:
        block = sch.get_child_blocks(block)[number]
    return block
