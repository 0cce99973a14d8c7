"""Questions about a block: where it lies in a function, its loops, its buffers, what it computes.

``block`` is a block of a schedule (an SBlockRV), ``body`` what the schedule gives for it (an
SBlock). Nothing here changes a schedule.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Range, TensorLoad
from tvm.s_tir import SBlock
from tvm.sym import Analyzer, detect_linear_equation
from tvm.tirx import ForKind, IntImm, IterVar, Var
from tvm.tirx.analysis import undefined_vars
from tvm_ffi import Array

# Where it lies.


def root_block(sch: Any) -> Any:
    """The block that holds all others of a function, whatever its name."""
    return sch.get_sblock(_function(sch).body.block.name_hint)


def root_blocks(sch: Any) -> list[Any]:
    """The blocks of a function that no other block but the root holds, in their order."""
    return list(sch.get_child_blocks(root_block(sch)))


def is_root(sch: Any, block: Any) -> bool:
    """Whether the block is the one that holds all others."""
    return bool(sch.get(block).same_as(_function(sch).body.block))


def is_tiled(sch: Any) -> bool:
    """Whether some block of the function already runs in parallel.

    TVM's own rules only annotate the root, so a parallel loop in a traced schedule is ours.
    """
    return any(
        int(sch.get(loop).kind) == ForKind.PARALLEL
        for block in root_blocks(sch)
        for loop in sch.get_loops(block)
    )


def _function(sch: Any) -> Any:
    return next(iter(sch.mod.functions.values()))


# Its loops and axes.


def constant_extent(extent: Any) -> int | None:
    """An extent, of a loop, an axis or a dimension, as a number; None when it is not constant."""
    return int(extent) if isinstance(extent, IntImm) else None


def runs_never(body: Any) -> bool:
    """Whether an axis has no points: TVM's rules raise where they meet its loop."""
    return any(constant_extent(iv.dom.extent) == 0 for iv in body.iter_vars)


def positions(body: Any) -> dict[Any, int]:
    """The position of every axis among those of its block, by the axis's variable."""
    return {iv.var: position for position, iv in enumerate(body.iter_vars)}


def ranges(body: Any) -> Analyzer:
    """What knows from where to where the axes of a block run."""
    analyzer = Analyzer()
    for iv in body.iter_vars:
        analyzer.bind(iv.var, iv.dom)
    return analyzer


def own_loops(sch: Any, block: Any) -> dict[int, Any]:
    """The loops of a block that stand for one axis each: the innermost ones, by axis."""
    axes = len(sch.get(block).iter_vars)
    return dict(enumerate(sch.get_loops(block)[-axes:]))


def has_own_loops(sch: Any, block: Any) -> bool:
    """Whether a block lies in one loop for each of its axes, in their order, without a predicate.

    Rules take the loops of a block for its axes; where an axis is made of two loops, or two of one,
    they would tile something else.
    """
    axes = sch.get(block).iter_vars
    loops = [sch.get(loop) for loop in sch.get_loops(block)]
    if len(loops) != len(axes) or not loops:
        return False
    realize = loops[-1].body
    values = getattr(realize, "iter_values", ())
    always = isinstance(realize.predicate, IntImm) if values else False
    return (
        always
        and len(values) == len(loops)
        and all(value.same_as(loop.loop_var) for value, loop in zip(values, loops))
    )


def is_at(index: Any, axis: Any) -> bool:
    """Whether an index is an axis; of one with a single point, it may be that constant too."""
    if index.same_as(axis.var):
        return True
    only = constant_extent(axis.dom.extent) == 1 and isinstance(index, IntImm)
    return only and int(index) == constant_extent(axis.dom.min)


# Its buffers.


def is_parameter(sch: Any, buffer: Any) -> bool:
    """Whether a buffer comes from the caller."""
    return any(buffer.same_as(parameter) for parameter in _function(sch).params)


def count_readers(sch: Any, buffer: Any) -> int:
    """How many blocks read a buffer."""
    count = 0

    def visit(body: Any) -> None:
        nonlocal count
        count += any(region.source.same_as(buffer) for region in body.reads)

    # The root block holds the others and reads nothing by itself.
    tvm_ffi.structural_walk(_function(sch).body.block.body, (SBlock, visit))
    return count


def producer_of(sch: Any, block: Any, read: int) -> Any | None:
    """The block that makes what another reads, for it alone; None where there is none.

    A result of the function, or what one more block reads, stays where and as it is.

    Parameters
    ----------
    read : int
        Position among the block's reads.
    """
    source = sch.get(block).reads[read].source
    if is_parameter(sch, source):
        return None
    for candidate in sch.get_producers(block):
        body: Any = sch.get(candidate)
        writes = any(region.source.same_as(source) for region in body.writes)
        if writes and body.init is None:
            return candidate if len(sch.get_consumers(candidate)) == 1 else None
    return None


def reads_in_place(sch: Any, block: Any, buffer: Any) -> bool:
    """Whether a block reads of a buffer the very element that it is at, and no other.

    One that shifts or turns what it reads must not be computed tile by tile: TVM visits those of
    its points only that read the tile (``reverse_compute_at``), and of ``i > 0 ? x[i - 1] : 0``
    the first would never be. One that reads a row by its number it visits at every tile, those
    before the row is made too.
    """
    body: Any = sch.get(block)
    own = list(body.iter_vars)
    reads = [region.region for region in body.reads if region.source.same_as(buffer)]
    return all(
        len(region) == len(own) and all(map(_is_axis, region, own, buffer.shape))
        for region in reads
    )


def _is_axis(bounds: Any, axis: Any, size: Any) -> bool:
    """Whether a region is, of a dimension of so many elements, the one at which an axis is.

    By its number only where the dimension has no other.
    """
    by_number = not bounds.min.same_as(axis.var)
    one = constant_extent(bounds.extent) == 1 and is_at(bounds.min, axis)
    return one and (not by_number or constant_extent(size) == 1)


def accumulates_in_place(body: Any) -> bool:
    """Whether a block reads what it writes and never initialises it.

    TVM's schedule primitives take it for neither a complete nor a reduction block: they refuse, or
    (``cache_write``) make programs that read what was never written.
    """
    reduces = any(iv.iter_type == IterVar.CommReduce for iv in body.iter_vars)
    return body.init is None and reduces and updates_in_place(body)


def updates_in_place(body: Any) -> bool:
    """Whether a block reads what it writes; one with an init is not said to read it."""
    written = [region.source for region in body.writes]
    return any(region.source.same_as(one) for region in body.reads for one in written)


# What it computes.


def has_while(body: Any) -> bool:
    """Whether a block holds a loop with a condition, which TVM does not vectorise."""
    found: list[Any] = []
    tvm_ffi.structural_walk(body.body, (tirx.While, found.append))
    return bool(found)


def is_copy(body: Any) -> bool:
    """Whether a block moves elements, padded or cast perhaps, and computes nothing."""

    def moves(value: Any) -> bool:
        if isinstance(value, tirx.Cast):
            return moves(value.value)
        if (choice := choice_of(value)) is not None:
            return all(map(moves, choice[1:]))
        return isinstance(value, (TensorLoad, IntImm, tirx.FloatImm))

    return isinstance(body.body, tirx.BufferStore) and moves(body.body.value)


_CHILDREN = (
    *("a", "b", "value", "args", "indices", "condition", "true_value", "false_value"),
    *("body", "seq", "then_case", "else_case"),
)


def nodes(root: Any) -> Iterator[Any]:
    """A statement or expression and all that it consists of."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        for name in _CHILDREN:
            child = getattr(node, name, None)
            if child is not None:
                stack.extend(child if isinstance(child, Array) else [child])


def choices(root: Any) -> Iterator[Any]:
    """What the statements and expressions of a block choose by."""
    for node in nodes(root):
        condition = _condition(node)
        if condition is not None:
            yield condition


def _condition(node: Any) -> Any | None:
    """What a statement or expression chooses by; None where it makes no choice."""
    if isinstance(node, (tirx.Select, tirx.IfThenElse)):
        return node.condition
    choice = choice_of(node)
    return None if choice is None else choice[0]


def choice_of(value: Any) -> tuple[Any, Any, Any] | None:
    """The condition and the two values of an expression ``if_then_else``; None of any other."""
    name = str(getattr(value.op, "name", "")) if isinstance(value, Call) else ""
    if not name.endswith("if_then_else"):
        return None
    condition, chosen, other = value.args
    return condition, chosen, other


def moves_by_one(sch: Any, block: Any, axis: int, lanes: int = 1) -> bool:
    """Whether a step along ``axis`` moves every operand by one element, or not at all.

    Anything else (a stride, a transposition, a choice that differs from lane to lane) TVM would
    take apart lane by lane, where LLVM, left a plain loop, finds shuffles and masks. A loop that
    ends when a condition says so it does not vectorise at all.

    Parameters
    ----------
    lanes : int
        Steps from a multiple of them on are asked about, where they divide the axis.
    """
    body: Any = sch.get(block)
    if has_while(body):
        return False
    var = body.iter_vars[axis].var
    if any(var in undefined_vars(condition) for condition in choices(body.body)):
        return False
    known, step = _in_vectors(body, axis, lanes)
    loads = (node for node in nodes(body.body) if isinstance(node, TensorLoad))
    return all(_step(load, var, step, known) in (0, 1) for load in loads)


def _in_vectors(body: Any, axis: int, lanes: int) -> tuple[Analyzer, Any]:
    """What knows the axes of a block, one of them as vectors of lanes; and the lane."""
    along = body.iter_vars[axis]
    points = constant_extent(along.dom.extent)
    if lanes == 1 or points is None or points % lanes or constant_extent(along.dom.min) != 0:
        return ranges(body), along.var
    analyzer, kind = Analyzer(), str(along.var.ty)
    vector, lane = Var("vector", along.var.ty), Var("lane", along.var.ty)
    for var, extent in ((vector, points // lanes), (lane, lanes)):
        analyzer.bind(var, Range(IntImm(kind, 0), IntImm(kind, extent)))
    for iv in body.iter_vars:
        analyzer.bind(iv.var, vector * lanes + lane if iv.var.same_as(along.var) else iv.dom)
    return analyzer, lane


def _step(load: Any, var: Any, step: Any, known: Analyzer) -> int | None:
    """Elements that a load moves by with a step along ``var``; None when it is not linear in it."""
    stride: int | None = 1
    offset: Any = 0
    for index, extent in zip(reversed(load.indices), reversed(load.source.shape)):
        size = constant_extent(extent)
        if stride is None and coefficient(index, var) != 0:
            return None
        offset = offset + index * (stride or 0)
        stride = None if stride is None or size is None else stride * size
    # ``k // 28 * 28 + k % 28`` is k: rows that follow each other are one. So is ``k % 28`` where k
    # is less, as TVM writes reshapes.
    return coefficient(known.simplify(offset), step)


def coefficient(index: Any, var: Any) -> int | None:
    """The factor of ``var`` in an index; None when the index is not linear in it."""
    found = detect_linear_equation(index, [var])
    return constant_extent(found[0]) if found else None
