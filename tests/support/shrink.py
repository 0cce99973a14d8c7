"""The smallest part of a failing function that fails alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from described_functions import Block, Expr, Function, Op, Tensor, reads_of
from numpy_interpreter import Unsuitable, interpret, random_inputs


def shrunk(function: Function, fails: Callable[[Function], bool], most: int = 60) -> Function:
    """Drop outputs and blocks, and simplify expressions, as long as the function still fails.

    Parameters
    ----------
    fails : callable
        Whether a smaller function fails as the one at hand does.
    most : int
        Calls of ``fails`` at most.
    """
    calls, progress = 0, True
    while progress:
        progress = False
        for smaller in _smaller(function):
            if calls == most:
                return function
            if not _determined(smaller):
                continue
            calls += 1
            if fails(smaller):
                function, progress = smaller, True
                break
    return function


def _determined(function: Function) -> bool:
    import numpy as np

    try:
        interpret(function, random_inputs(function, np.random.default_rng(0)))
    except Unsuitable:
        return False
    return bool(function.blocks)


def _smaller(function: Function) -> Iterator[Function]:
    for name in function.outputs if len(function.outputs) > 1 else ():
        kept = tuple(other for other in function.outputs if other != name)
        yield _needed(replace(function, outputs=kept))
    for block in function.blocks:
        yield _without(function, block)
    if function.free:
        yield replace(function, free=())
    for block in function.blocks:
        if block.nest != "plain":
            yield _with(function, block, replace(block, nest="plain"))
        for part in _parts(block.body):
            if part.dtype == block.body.dtype:
                yield _needed(_with(function, block, replace(block, body=part)))


def _parts(expr: Expr) -> Iterator[Expr]:
    if isinstance(expr, Op):
        for place, arg in enumerate(expr.args):
            yield arg
            for part in _parts(arg):
                if part.dtype == arg.dtype:
                    yield replace(expr, args=(*expr.args[:place], part, *expr.args[place + 1 :]))


def _with(function: Function, old: Block, new: Block) -> Function:
    return replace(function, blocks=tuple(new if b is old else b for b in function.blocks))


def _without(function: Function, block: Block) -> Function:
    """What the block writes becomes an input, or goes where nobody reads it."""
    names = {tensor.name for tensor in block.writes}
    outputs = tuple(name for name in function.outputs if name not in names)
    blocks = tuple(b for b in function.blocks if b is not block)
    if not outputs and blocks:
        outputs = (blocks[-1].name,)
    inputs = (*function.inputs, *block.writes)
    return _needed(Function(inputs, blocks, outputs, (), function.form))


def _needed(function: Function) -> Function:
    """The function without what no output depends on."""
    wanted, blocks = set(function.outputs), []
    for block in reversed(function.blocks):
        if wanted & {tensor.name for tensor in block.writes}:
            blocks.insert(0, block)
            wanted |= {read.tensor for read in reads_of(block.body)}
    written = [tensor.name for block in blocks for tensor in block.writes]
    read = {r.tensor for block in blocks for r in reads_of(block.body)}
    inputs: tuple[Tensor, ...] = tuple(t for t in function.inputs if t.name in read)
    outputs = [name for name in written if name in function.outputs or name not in read]
    free = function.free if inputs == function.inputs else ()
    return replace(function, inputs=inputs, blocks=tuple(blocks), outputs=tuple(outputs), free=free)
