"""What a learned model is told of a statement and of an access: named columns, each an expression.

A column is a count or size, which a model sees as log2(1 + x), or a flag, which it sees as it is.
All of them are expressions of the decisions, so that one set of columns serves exact configs and
relaxed ones alike.

Notation
--------
L : number of loops of a statement, outermost first; levels as in `mschedx.space.statements`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mschedx.space.algebra.expression import (
    Expression,
    add,
    ceil_div,
    constant,
    floor_div,
    maximum,
    minimum,
    multiply,
)
from mschedx.space.statements import BufferAccess, LoopLevel, Statement, known

Column = Expression | float
"""An expression stands for a count or size, a float for a flag."""

LINE_BYTES = 64
"""What memory is fetched in: a cache line of a CPU, two sectors of a GPU."""

LEVELS = ("program", "block", "thread", "step", "tile", "instance")
"""Levels at which sizes are given.

The whole program; inside the loops that cores or thread blocks share; inside the threads; inside
the outermost reduction loop; inside the innermost one, or the innermost loop where nothing is
reduced; one instance.
"""

OPERATIONS = (
    "float.add",
    "float.mul",
    "float.div",
    "float.compare",
    "int.add",
    "int.mul",
    "int.div",
    "int.compare",
    "int.logic",
    "select",
    "cast",
    "call",
)
"""Kinds of operations that are counted; "call" is any function."""

SCOPES = ("global", "shared", "fragment", "local")
"""Where buffers live; "fragment" is a tensor core's registers."""


def level_positions(statement: Statement) -> dict[str, int]:
    """The level, in ``range(L + 1)``, that each of `LEVELS` is for a statement."""
    shared, threads, reductions = 0, 0, []
    for position, loop in enumerate(statement.loops):
        if loop.kind == "parallel" or loop.thread.startswith("blockIdx"):
            shared = position + 1
        if loop.kind in ("parallel", "thread"):
            threads = position + 1
        if loop.role in ("reduction", "mixed") and loop.kind != "intrinsic":
            reductions.append(position)
    last = len(statement.loops)
    return {
        "program": 0,
        "block": shared,
        "thread": threads,
        "step": reductions[0] + 1 if reductions else threads,
        "tile": reductions[-1] + 1 if reductions else max(threads, last - 1),
        "instance": last,
    }


def statement_columns(statement: Statement) -> dict[str, Column]:
    """Describe a statement without its accesses; nothing of it may be missing."""
    instances = known(statement.instances)
    columns: dict[str, Column] = {"instances": instances}
    columns |= _loops(statement)
    columns["lanes"] = known(statement.lanes)
    columns["unroll"] = known(statement.unroll)
    for kind in OPERATIONS:
        each = statement.count_of(kind)
        columns[f"{kind}.each"] = constant(each)
        columns[f"{kind}.all"] = multiply(each, instances)
    columns |= _touched(statement)
    flags = {
        "initialises": statement.is_init,
        "reduces": statement.is_reduction,
        "guarded": statement.predicated,
        "by warp": statement.by_warp,
        "by intrinsic": bool(statement.intrinsic),
        "copies": not statement.operations,
    }
    return columns | {name: float(flag) for name, flag in flags.items()}


def access_columns(
    statement: Statement,
    access: BufferAccess,
    also_written: bool,
    allocated: Mapping[str, Expression | None],
) -> dict[str, Column]:
    """Describe an access of a statement.

    Parameters
    ----------
    statement : Statement
    access : BufferAccess
    also_written : bool
        Of a read: whether the statement writes the same elements, as an accumulation does.
    allocated : mapping of str to Expression or None
        Bytes of the buffers a program allocates, by name; None where no expression is known.
    """
    at = level_positions(statement)
    columns: dict[str, Column] = {
        "reads": float(not access.is_write),
        "writes": float(access.is_write or also_written),
    }
    columns |= {f"in {scope}": float(_scope(access.scope) == scope) for scope in SCOPES}
    columns["element bytes"] = constant(access.element_bytes)
    touched = multiply(known(statement.instances), known(access.elements[-1]))
    columns["bytes"] = multiply(access.element_bytes, touched)
    for level in LEVELS:
        columns[f"bytes.{level}"] = known(access.bytes_at(at[level]))
    for level in ("program", "block", "tile"):
        columns[f"lines.{level}"] = lines_at(access, at[level])
    columns["run.tile"] = _run(access, at["tile"])
    columns["reuse"] = floor_div(touched, maximum(1, known(access.elements[0])))
    stride = access.strides[-1] if access.strides else None
    columns["stride"] = constant(0) if stride is None else stride
    columns["stride known"] = float(stride is not None)
    taken = allocated.get(access.buffer)
    columns["allocated"] = constant(0) if taken is None else taken
    columns["allocated known"] = float(taken is not None)
    columns["made here"] = float(bool(access.producers))
    return columns


def context_columns(statement: Statement) -> dict[str, Column]:
    """What an access is told of the statement it belongs to."""
    return {
        "instances": known(statement.instances),
        "flops": multiply(statement.flops, known(statement.instances)),
        "initialises": float(statement.is_init),
        "reduces": float(statement.is_reduction),
        "by warp": float(statement.by_warp),
    }


def lines_at(access: BufferAccess, level: int) -> Expression:
    """Lines of `LINE_BYTES` touched at a level, at most: neighbours share lines."""
    run = _run(access, level)
    each = ceil_div(multiply(access.element_bytes, run), LINE_BYTES)
    return multiply(ceil_div(known(access.elements[level]), run), each)


def _run(access: BufferAccess, level: int) -> Expression:
    run = access.runs[level]
    return constant(1) if run is None else maximum(1, minimum(run, known(access.elements[level])))


def _loops(statement: Statement) -> dict[str, Column]:
    """Products of the loops' extents by what they are."""

    def spatial(loop: LoopLevel) -> bool:
        return loop.role not in ("reduction", "mixed")

    groups = {
        "parallel": lambda loop: loop.kind == "parallel",
        "grid": lambda loop: loop.thread.startswith("blockIdx"),
        "vthreads": lambda loop: loop.thread.startswith("vthread"),
        "threads": lambda loop: loop.thread.startswith("threadIdx"),
        "threads.x": lambda loop: loop.thread == "threadIdx.x",
        "serial.spatial": lambda loop: loop.kind == "serial" and spatial(loop),
        "serial.reduction": lambda loop: loop.kind == "serial" and not spatial(loop),
        "unrolled.spatial": lambda loop: loop.kind == "unrolled" and spatial(loop),
        "unrolled.reduction": lambda loop: loop.kind == "unrolled" and not spatial(loop),
        "vectorized": lambda loop: loop.kind == "vectorized",
        "intrinsic": lambda loop: loop.kind == "intrinsic",
        "reduction": lambda loop: not spatial(loop),
    }
    found: dict[str, Column] = {
        f"loops.{name}": _product([loop for loop in statement.loops if belongs(loop)])
        for name, belongs in groups.items()
    }
    found["loops.innermost"] = _product(statement.loops[-1:])
    found["loops"] = constant(len(statement.loops))
    at = level_positions(statement)
    for level in ("block", "thread", "step", "tile"):
        found[f"trips.{level}"] = known(statement.trips(at[level], len(statement.loops)))
    return found


def _touched(statement: Statement) -> dict[str, Column]:
    """Bytes touched at every level by all accesses together, a buffer counted once."""
    at = level_positions(statement)
    once = {access.buffer: access for access in statement.accesses}.values()
    return {
        f"bytes.{level}": add(0, *(known(access.bytes_at(at[level])) for access in once))
        for level in LEVELS
    }


def _product(loops: Sequence[LoopLevel]) -> Expression:
    return multiply(1, *(known(loop.extent) for loop in loops))


def _scope(scope: str) -> str:
    if scope.startswith("shared"):
        return "shared"
    if scope.startswith(("wmma", "m16n8k", "mma")):
        return "fragment"
    return "global" if scope.startswith("global") else "local"
