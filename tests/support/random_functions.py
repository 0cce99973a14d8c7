"""Small random functions of blocks, of the shapes and types that people bring; by seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
from described_functions import Axis, Block, Const, Expr, Function, Op, Read, Tensor, reads_of
from numpy_interpreter import Unsuitable, interpret, random_inputs

EXTENTS = (1, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17, 31, 32, 64)
FLOATS = ("float32", "float32", "float32", "float64", "float16", "bfloat16")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8")
WIDER = {"int8": "int32", "uint8": "int32", "int16": "int32", "float16": "float32",
         "bfloat16": "float32"}  # fmt: skip
_MOST_POINTS = 1 << 15
_MOST_ELEMENTS = 1 << 13


def random_function(seed: int, largest: int = 64, most_blocks: int = 4) -> Function:
    """A function with a determined result.

    Parameters
    ----------
    seed : int
        Same seed, same function.
    largest : int
        Greatest extent of an axis.
    most_blocks : int
    """
    for attempt in range(1000):
        draft = _Draft(np.random.default_rng([seed, attempt]), largest)
        try:
            function = draft.function(most_blocks)
            interpret(function, random_inputs(function, np.random.default_rng(seed)))
        except Unsuitable:
            continue
        return function
    raise AssertionError(f"no suitable function for seed {seed}")


class _Draft:
    """A function in the making: what there is to read, and the blocks so far."""

    def __init__(self, rng: np.random.Generator, largest: int) -> None:
        self.rng = rng
        self.extents = [extent for extent in EXTENTS if extent <= largest]
        self.inputs: list[Tensor] = []
        self.blocks: list[Block] = []

    def function(self, most_blocks: int) -> Function:
        form = "te" if self.chance(0.5) else "script"
        rank = int(self.rng.choice(6, p=[0.03, 0.12, 0.4, 0.25, 0.15, 0.05]))
        current = self.input(self.shape(rank), self.dtype())
        for _ in range(int(self.rng.integers(1, most_blocks + 1))):
            if self.chance(0.2):
                current = self.any_tensor()
            current = self.block(current)
        blocks = tuple(self.blocks)
        if form == "script" and all(block.kind != "argmax" for block in blocks):
            blocks = self.loops_of(blocks)
        else:
            form = "te"
        read = {r.tensor for block in blocks for r in _reads(block)}
        written = [tensor for block in blocks for tensor in block.writes]
        outputs = [t.name for t in written if t.name not in read or self.chance(0.1)]
        used = tuple(t for t in self.inputs if t.name in read)
        free = [p for p, t in enumerate(used) if len(t.shape) > 1 and self.chance(0.1)]
        return Function(used, blocks, tuple(outputs), tuple(free), form)

    def loops_of(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        """Forms that only TensorIR has: predicates, fused loops, accumulation without init."""
        found = []
        read = {r.tensor for block in blocks for r in _reads(block)}
        for block in blocks:
            if block.kind == "sum" and block.name not in read and self.chance(0.2):
                block = replace(block, kind="add_to")
            nest = str(self.rng.choice(["plain", "fused", "guarded"], p=[0.7, 0.15, 0.15]))
            found.append(replace(block, nest=nest))
        return tuple(found)

    # what there is to draw from

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def extent(self) -> int:
        return 0 if self.chance(0.005) else int(self.rng.choice(self.extents))

    def shape(self, rank: int) -> tuple[int, ...]:
        shape = [self.extent() for _ in range(rank)]
        while prod(shape) > _MOST_ELEMENTS:
            shape[int(np.argmax(shape))] = int(self.rng.choice(self.extents[:5]))
        return tuple(shape)

    def dtype(self) -> str:
        kinds = FLOATS if self.chance(0.7) else INTEGERS
        return "bool" if self.chance(0.03) else str(self.rng.choice(kinds))

    def input(self, shape: tuple[int, ...], dtype: str) -> Tensor:
        self.inputs.append(Tensor(f"x{len(self.inputs)}", tuple(map(int, shape)), dtype))
        return self.inputs[-1]

    def any_tensor(self) -> Tensor:
        known = [*self.inputs, *(t for block in self.blocks for t in block.writes)]
        return known[int(self.rng.integers(len(known)))]

    # blocks

    def block(self, source: Tensor) -> Tensor:
        makers: list[Callable[[Tensor], Block]] = [
            self.elementwise, self.elementwise, self.elementwise, self.reduction, self.reduction,
            self.product, self.product, self.window, self.gather, self.reshape, self.transpose,
            self.pad, self.argmax,
        ]  # fmt: skip
        block = makers[int(self.rng.integers(len(makers)))](source)
        if block.points > _MOST_POINTS or any(t.size > _MOST_ELEMENTS for t in block.writes):
            raise Unsuitable("too many points")
        self.blocks.append(block)
        return block.writes[-1]

    def made(self, kind: str, spatial: tuple[int, ...], reduce: tuple[int, ...], body: Expr):
        return Block(f"t{len(self.blocks)}", kind, tuple(spatial), tuple(reduce), body)

    def elementwise(self, source: Tensor) -> Block:
        whole = _whole(source)
        return self.made("map", source.shape, (), self.value(whole, source.shape))

    def value(self, read: Expr, extents: tuple[int, ...]) -> Expr:
        """Some operations on what is read, with other tensors along the axes of ``extents``."""
        for _ in range(int(self.rng.integers(1, 4))):
            read = self.operation(read, extents)
        return read

    def operation(self, value: Expr, extents: tuple[int, ...]) -> Expr:
        dtype = value.dtype
        if dtype == "bool":
            other = self.along(extents, "bool")
            name = str(self.rng.choice(["and", "or", "not", "cast"]))
            if name == "cast":
                return Op("cast", (value,), str(self.rng.choice([*FLOATS, "int32"])))
            return Op(name, (value,) if name == "not" else (value, other), "bool")
        roll = self.rng.random()
        if roll < 0.15:
            return self.chosen(value, extents)
        if roll < 0.25:
            return self.cast(value)
        if roll < 0.6:
            other = self.along(extents, dtype)
            return Op(
                str(self.rng.choice(["add", "sub", "mul", "max", "min"])), (value, other), dtype
            )
        return self.unary(value)

    def unary(self, value: Expr) -> Expr:
        dtype = value.dtype
        if dtype in INTEGERS:
            number = Const(int(self.rng.integers(1, 8)), dtype)
            names = ["add", "max", "min", "mod", "div", "sub"]
            return Op(str(self.rng.choice(names)), (value, number), dtype)
        number = Const(float(self.rng.choice([0.0, 0.5, 2.0, 0.125])), dtype)
        name = str(self.rng.choice(["abs", "exp", "tanh", "sqrt", "sigmoid", "max", "mul", "div"]))
        if name == "exp":
            negative = Op("sub", (Const(0.0, dtype), Op("abs", (value,), dtype)), dtype)
            return Op("exp", (negative,), dtype)
        if name == "sqrt":
            return Op("sqrt", (Op("abs", (value,), dtype),), dtype)
        if name == "div":
            least = Op("add", (Op("abs", (value,), dtype), Const(1.0, dtype)), dtype)
            return Op("truediv", (value, least), dtype)
        return Op(name, (value,) if name in ("abs", "tanh", "sigmoid") else (value, number), dtype)

    def cast(self, value: Expr) -> Expr:
        if value.dtype in FLOATS:
            return Op("cast", (value,), str(self.rng.choice(FLOATS)))
        return Op("cast", (value,), str(self.rng.choice(["int32", "float32", "int64"])))

    def chosen(self, value: Expr, extents: tuple[int, ...]) -> Expr:
        """Either the value or a constant, by a condition on the axes or on booleans."""
        other = Const(1, value.dtype)
        axes = [p for p, extent in enumerate(extents) if extent > 1]
        if not axes or self.chance(0.3):
            condition: Expr = self.along(extents, "bool")
        else:
            axis = int(self.rng.choice(axes))
            middle = Const(int(self.rng.integers(1, extents[axis])))
            condition = Op("lt", (Axis(axis), middle), "bool")
            if self.chance(0.3):
                parity = Op("mod", (Op("add", (Axis(axis), Axis(axes[0]))), Const(2)))
                condition = Op("eq", (parity, Const(0)), "bool")
        name = "select" if self.chance(0.5) else "if_then_else"
        return Op(name, (condition, value, other), value.dtype)

    def along(self, extents: tuple[int, ...], dtype: str) -> Expr:
        """A tensor that is read along some of the axes, broadcast along the others."""
        kept = [p for p in range(len(extents)) if self.chance(0.6)]
        for tensor in self.inputs:
            same = tensor.shape == tuple(extents[p] for p in kept) and tensor.dtype == dtype
            if same and self.chance(0.5):
                return Read(tensor.name, tuple(map(Axis, kept)), dtype)
        if self.chance(0.3):  # as NumPy broadcasts, dimensions of extent 1
            shape = tuple(extents[p] if p in kept else 1 for p in range(len(extents)))
            indices = tuple(Axis(p) if p in kept else Const(0) for p in range(len(extents)))
        else:
            shape, indices = tuple(extents[p] for p in kept), tuple(map(Axis, kept))
        return Read(self.input(shape, dtype).name, indices, dtype)

    def reduction(self, source: Tensor) -> Block:
        rank = len(source.shape)
        reduced = sorted(p for p in range(rank) if self.chance(0.5))
        kept = [p for p in range(rank) if p not in reduced]
        place = {p: q for q, p in enumerate((*kept, *reduced))}
        body: Expr = Read(source.name, tuple(Axis(place[p]) for p in range(rank)), source.dtype)
        spatial = tuple(source.shape[p] for p in kept)
        reduce = tuple(source.shape[p] for p in reduced)
        if self.chance(0.4):
            body = self.operation(body, (*spatial, *reduce))
        kinds = ["sum"] if body.dtype == "bool" else ["sum", "sum", "max", "min"]
        kinds += ["prod"] if prod(reduce) <= 8 and body.dtype != "bool" else []
        kind = str(self.rng.choice(kinds)) if reduced else "map"
        return self.made(kind, spatial, reduce, self.widened(body) if kind == "sum" else body)

    def widened(self, body: Expr) -> Expr:
        if body.dtype == "bool":
            return Op("cast", (body,), "int32")
        if body.dtype in WIDER and self.chance(0.7):
            return Op("cast", (body,), WIDER[body.dtype])
        return body

    def argmax(self, source: Tensor) -> Block:
        block = self.reduction(source)
        dtype = block.body.dtype
        if block.kind in ("map", "prod") or dtype in ("bool", "bfloat16", "uint8"):
            return block
        return replace(block, kind="argmax")

    def product(self, source: Tensor) -> Block:
        """``[batch, m] x n += source · weight``: the last axis of the source is reduced."""
        if not source.shape or source.dtype == "bool":
            return self.elementwise(source)
        *rows, k = source.shape
        n = self.extent()
        batch = len(rows) - 1 if len(rows) > 1 and self.chance(0.4) else 0
        spatial, place = (*rows, n), Axis(len(rows) + 1)
        left = Read(source.name, (*map(Axis, range(len(rows))), place), source.dtype)
        index = [*map(Axis, range(batch)), place, Axis(len(rows))]
        shape = [*rows[:batch], k, n]
        if self.chance(0.5):
            index[-2:], shape[-2:] = index[:-3:-1], shape[:-3:-1]
        pair = {"int8": ["int8", "uint8"], "uint8": ["int8", "uint8"]}
        dtype = str(self.rng.choice(pair.get(source.dtype, [source.dtype])))
        weight = self.input(tuple(shape), dtype)
        right = Read(weight.name, tuple(index), dtype)
        total = WIDER.get(source.dtype, source.dtype)
        if dtype == source.dtype and self.chance(0.2):
            total = dtype
        factors = [
            Op("cast", (one,), total) if one.dtype != total else one for one in (left, right)
        ]
        if self.chance(0.5):
            factors.reverse()
        return self.made("sum", spatial, (k,), Op("mul", tuple(factors), total))

    def window(self, source: Tensor) -> Block:
        """A pool or a depthwise convolution over the last or the last two but one axes."""
        rank = len(source.shape)
        if rank == 0 or 0 in source.shape or source.dtype == "bool":
            return self.elementwise(source)
        over = [p for p in range(max(0, rank - 2), rank) if source.shape[p] > 1] or [rank - 1]
        stride, reduce, spatial = int(self.rng.integers(1, 3)), [], list(source.shape)
        dilation = int(self.rng.integers(1, 3)) if self.chance(0.3) else 1
        padding = int(self.rng.integers(0, 2))
        for p in over:
            size = min(int(self.rng.choice([1, 2, 3])), source.shape[p])
            if (size - 1) * dilation + 1 > source.shape[p]:
                size = 1
            reduce.append(size)
            spatial[p] = (source.shape[p] + 2 * padding - (size - 1) * dilation - 1) // stride + 1
        indices: list[Expr] = [Axis(p) for p in range(rank)]
        inside: Expr | None = None
        for q, p in enumerate(over):
            step = Op("mul", (Axis(p), Const(stride)))
            tap = Op("mul", (Axis(rank + q), Const(dilation)))
            indices[p] = Op("sub", (Op("add", (step, tap)), Const(padding)))
            for test in _within(indices[p], source.shape[p]):
                inside = test if inside is None else Op("and", (inside, test), "bool")
        body: Expr = Read(source.name, tuple(indices), source.dtype)
        if padding and inside is not None:
            body = Op("if_then_else", (inside, body, Const(0, source.dtype)), source.dtype)
        kind = str(self.rng.choice(["sum", "max", "min"]))
        if kind == "sum" and self.chance(0.5):
            taps = tuple(Axis(rank + q) for q in range(len(over)))
            weight = self.input(tuple(reduce), source.dtype)
            body = Op("mul", (body, Read(weight.name, taps, source.dtype)), source.dtype)
        return self.made(kind, tuple(spatial), tuple(reduce), body)

    def gather(self, source: Tensor) -> Block:
        if not source.shape:
            return self.elementwise(source)
        indices: list[Expr] = list(map(Axis, range(len(source.shape))))
        axis = int(self.rng.integers(len(indices)))
        size = max(1, source.shape[axis])
        kind = int(self.rng.integers(3))
        if kind == 0:
            factor, offset = (Const(int(v)) for v in self.rng.integers(1, 6, 2))
            moved = Op("add", (Op("mul", (Axis(axis), factor)), offset))
            indices[axis] = Op("mod", (moved, Const(size)))
        elif kind == 1:
            indices[axis] = Op("sub", (Const(size - 1), Axis(axis)))
        else:
            indices[axis] = Op("div", (Axis(axis), Const(2)))
        return self.made("map", source.shape, (), Read(source.name, tuple(indices), source.dtype))

    def reshape(self, source: Tensor) -> Block:
        size = source.size
        divisors = [d for d in range(1, max(2, size + 1)) if size % d == 0]
        first = int(self.rng.choice(divisors)) if size else 1
        shape = (first, size // first) if self.chance(0.7) else (size,)
        flat: Expr = Axis(0)
        if len(shape) == 2:
            flat = Op("add", (Op("mul", (Axis(0), Const(shape[1]))), Axis(1)))
        indices: list[Expr] = []
        for p, extent in enumerate(source.shape):
            inner = max(1, prod(source.shape[p + 1 :]))
            index: Expr = Op("div", (flat, Const(inner))) if inner > 1 else flat
            indices.append(Op("mod", (index, Const(max(1, extent)))) if p else index)
        return self.made("map", shape, (), Read(source.name, tuple(indices), source.dtype))

    def transpose(self, source: Tensor) -> Block:
        rank = len(source.shape)
        order = list(map(int, self.rng.permutation(rank)))
        shape = tuple(source.shape[p] for p in order)
        indices = tuple(Axis(order.index(p)) for p in range(rank))
        return self.made("map", shape, (), Read(source.name, indices, source.dtype))

    def pad(self, source: Tensor) -> Block:
        """The source with a border, or with another tensor behind it (a concatenation)."""
        if not source.shape:
            return self.elementwise(source)
        rank, axis = len(source.shape), int(self.rng.integers(len(source.shape)))
        more = int(self.rng.integers(1, 4))
        shape = tuple(extent + more * (p == axis) for p, extent in enumerate(source.shape))
        body: Expr = Read(source.name, tuple(map(Axis, range(rank))), source.dtype)
        behind: Expr = Const(0, source.dtype)
        if self.chance(0.5):
            other = self.input(
                tuple(more if p == axis else e for p, e in enumerate(source.shape)), source.dtype
            )
            past = Op("sub", (Axis(axis), Const(source.shape[axis])))
            indices = [Axis(p) if p != axis else past for p in range(rank)]
            behind = Read(other.name, tuple(indices), source.dtype)
        inside = Op("lt", (Axis(axis), Const(source.shape[axis])), "bool")
        return self.made("map", shape, (), Op("if_then_else", (inside, body, behind), body.dtype))


def _whole(tensor: Tensor) -> Read:
    return Read(tensor.name, tuple(map(Axis, range(len(tensor.shape)))), tensor.dtype)


def _within(index: Expr, extent: int) -> tuple[Expr, Expr]:
    return (
        Op("le", (Const(0), index), "bool"),
        Op("lt", (index, Const(extent)), "bool"),
    )


def _reads(block: Block) -> list[Read]:
    return reads_of(block.body)
