"""What the statements of a materialised program really do: counted on the program itself.

The truth that `mschedx.space.statements` is held against. Nothing here knows how postprocs work:
instances are the product of the loops around a block, footprints are swept from its accesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from ...statements import Statement
from .affine import NotAffine, evaluate, simplified, sweep
from .program import UNKNOWN, Access, Block, Program


def executed(program: Program, statement: Statement) -> dict[str, int]:
    """Read a statement's numbers off a program that has been through the postprocs.

    Parameters
    ----------
    program : Program
    statement : Statement
        Whose block is looked for by name; a reduction's body is called "<name>_update" once its
        initialisation has been split off.

    Returns
    -------
    dict
        "instances", "lanes", "parallel", and for access p "p@task" (elements touched within one
        iteration of the parallel loops), "p@vector" (by one vector), "p@body" (by one instance) and
        "p@lanes" (elements between two lanes). What the program does not have, or no sweep counts,
        is left out.
    """
    block = _find(program, statement)
    if block is None:
        return {}
    loops = _distinct(program, block)
    kinds = [program.loops[loop].kind for loop in loops]
    extents = [program.loops[loop].extent for loop in loops]
    found = {
        "instances": prod(extents),
        "lanes": prod(e for e, kind in zip(extents, kinds) if kind == "vectorized"),
        "parallel": prod(e for e, kind in zip(extents, kinds) if kind == "parallel"),
    }
    if statement.intrinsic:
        del found["lanes"]
    levels = _levels(kinds)
    accesses = _matching(block, statement)
    for name, level in levels.items():
        running = frozenset(loops[level:])
        for place, access in accesses.items():
            elements = _elements(program, access, running)
            if elements != UNKNOWN:
                found[f"{place}@{name}"] = elements
    running = [i for i, e, kind in zip(loops, extents, kinds) if kind == "vectorized" and e > 1]
    for place, access in accesses.items() if running else ():
        step = first_step(program, access, running[-1])
        if step != UNKNOWN:
            found[f"{place}@lanes"] = step
    return found


def first_step(program: Program, access: Access, loop: int) -> int:
    """Elements between a loop's first iterations in the row-major buffer; `UNKNOWN` if none."""
    shape = next(b.shape for b in program.buffers if b.name == access.buffer)
    row, total = 1, 0
    for extent, offset in zip(reversed(shape), reversed(access.offsets)):
        if offset is None or program.loops[loop].extent == 1:
            return UNKNOWN
        total += row * abs(evaluate(offset, {loop: 1}) - evaluate(offset, {}))
        row *= extent
    return total


def levels_of(statement: Statement) -> Mapping[str, int]:
    """Where the levels "task", "vector" and "body" of `executed` are among a statement's loops."""
    return _levels([loop.kind for loop in statement.loops])


def _levels(kinds: list[str]) -> dict[str, int]:
    levels = {"body": len(kinds)}
    if "parallel" in kinds:
        levels["task"] = len(kinds) - kinds[::-1].index("parallel")
    if "vectorized" in kinds:
        levels["vector"] = kinds.index("vectorized")
    return levels


def _find(program: Program, statement: Statement) -> Block | None:
    by_name = {block.name: block for block in program.blocks if block.leaf}
    for name in (statement.name, f"{statement.name}_update"):
        if name in by_name:
            return by_name[name]
    return None


def _distinct(program: Program, block: Block) -> list[int]:
    """The loops around a block; a thread that is bound twice is one loop."""
    last: dict[str, int] = {}
    for loop in block.loops:
        thread = program.loops[loop].thread
        last[thread or str(loop)] = loop
    kept = set(last.values())
    return [loop for loop in block.loops if loop in kept]


def _matching(block: Block, statement: Statement) -> dict[int, Access]:
    """The block's access by the position of the statement's; buffers that differ are left out."""
    own = {(access.buffer, access.is_write): access for access in block.accesses}
    found = {}
    for place, access in enumerate(statement.accesses):
        same = own.get((access.buffer, access.is_write))
        if same is not None:
            found[place] = same
    return found


def _elements(program: Program, access: Access, running: frozenset[int]) -> int:
    """Elements in the box that an access spans; none where one loop moves it along two sides."""
    extents = {index: loop.extent for index, loop in enumerate(program.loops)}
    shape = next(b.shape for b in program.buffers if b.name == access.buffer)
    total, met = 1, frozenset[int]()
    for offset, length, extent in zip(access.offsets, access.lengths, shape):
        if offset is None:
            return UNKNOWN
        plain = simplified(offset, extents)
        moving = plain.loops() & running
        if moving & met:
            return UNKNOWN
        met |= moving
        try:
            total *= min(sweep(plain, extents, running) + length, extent)
        except NotAffine:
            return UNKNOWN
    return total
