"""Blocks of a function with the loops around them, and where they are.

Names do not say where a block is: several may share one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from tvm import tirx
from tvm.s_tir.stmt import SBlockRealize
from tvm.tirx.analysis import undefined_vars

Place = tuple[int, ...]
"""A block's number in the scope around it, in program order, from the root's on."""


@dataclass(frozen=True, eq=False, slots=True)
class Placed:
    """A block with its values, its place, and its scope's loops around it, outermost first.

    A loop is the same object for all blocks below it.
    """

    realize: Any
    place: Place
    loops: tuple[Any, ...]

    def reducing(self) -> list[Any]:
        """The loop variables that its reduction axes are bound to."""
        pairs = zip(self.realize.block.iter_vars, self.realize.iter_values)
        reduced = (value for axis, value in pairs if axis.iter_type != tirx.IterVar.DataPar)
        return [variable for value in reduced for variable in undefined_vars(value)]

    def positions(self, variables: list[Any]) -> list[int]:
        """Which of its loops have these variables."""
        return [
            position
            for position, loop in enumerate(self.loops)
            if any(map(loop.loop_var.same_as, variables))
        ]


def blocks_of(function: tirx.PrimFunc) -> list[Placed]:
    """Every block of a function, in program order."""
    return list(_blocks(function.body, (), (), count()))


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


def _blocks(
    body: Any, loops: tuple[Any, ...], scope: Place, numbers: Iterator[int]
) -> Iterator[Placed]:
    """Blocks below a statement; ``numbers`` counts those of the scope."""
    if isinstance(body, SBlockRealize):
        place = (*scope, next(numbers))
        yield Placed(body, place, loops)
        yield from _blocks(body.block.body, (), place, count())
    elif isinstance(body, tirx.For):
        yield from _blocks(body.body, (*loops, body), scope, numbers)
    elif isinstance(body, tirx.SeqStmt):
        for part in body.seq:
            yield from _blocks(part, loops, scope, numbers)
    elif body is not None:
        for name in ("body", "then_case", "else_case"):
            yield from _blocks(getattr(body, name, None), loops, scope, numbers)
