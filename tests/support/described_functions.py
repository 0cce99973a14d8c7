"""Tensor functions as plain data, written out as TVMScript or as tensor expressions.

A function is a list of blocks, a block an expression over its axes. The same description is
interpreted by NumPy in ``numpy_interpreter``, which knows nothing of TVM.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import tvm
from tvm import te
from tvm.script import tirx as T

from mschedx import compat


@dataclass(frozen=True)
class Axis:
    """The value of a block's axis: the spatial ones first, then the reductions."""

    position: int
    dtype: str = "int32"


@dataclass(frozen=True)
class Const:
    value: float
    dtype: str = "int32"


@dataclass(frozen=True)
class Read:
    tensor: str
    indices: tuple[Expr, ...]
    dtype: str


@dataclass(frozen=True)
class Op:
    """An operation of ``FORMS``; ``if_then_else`` alone may read out of bounds where unchosen."""

    name: str
    args: tuple[Expr, ...]
    dtype: str = "int32"


Expr = Axis | Const | Read | Op

FORMS = {
    "add": "({} + {})",
    "sub": "({} - {})",
    "mul": "({} * {})",
    "truediv": "({} / {})",
    "div": "T.floordiv({}, {})",
    "mod": "T.floormod({}, {})",
    "max": "T.max({}, {})",
    "min": "T.min({}, {})",
    "abs": "T.abs({})",
    "exp": "T.exp({})",
    "tanh": "T.tanh({})",
    "sqrt": "T.sqrt({})",
    "sigmoid": "T.sigmoid({})",
    "lt": "({} < {})",
    "le": "({} <= {})",
    "eq": "({} == {})",
    "and": "T.And({}, {})",
    "or": "T.Or({}, {})",
    "not": "T.Not({})",
    "if_then_else": "T.if_then_else({}, {}, {})",
    "select": "T.Select({}, {}, {})",
}


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Block:
    """``name[spatial axes] = kind over the reductions of body``.

    ``kind`` is map, sum, max, min, prod, argmax (index and value, two tensors) or add_to (a sum
    that is added to what the argument holds). ``nest`` is how loops and axes go together: one for
    one ("plain"), all spatial axes out of one loop ("fused"), the first spatial axis out of two
    loops that run past its end, guarded by a predicate ("guarded").
    """

    name: str
    kind: str
    spatial: tuple[int, ...]
    reduce: tuple[int, ...]
    body: Expr
    nest: str = "plain"

    @property
    def writes(self) -> tuple[Tensor, ...]:
        value = Tensor(self.name, self.spatial, self.body.dtype)
        if self.kind != "argmax":
            return (value,)
        return (Tensor(f"{self.name}_at", self.spatial, "int32"), value)

    @property
    def points(self) -> int:
        return prod(self.spatial) * prod(self.reduce)


@dataclass(frozen=True)
class Function:
    """Inputs, then outputs are the parameters; ``free`` are inputs of any layout."""

    inputs: tuple[Tensor, ...]
    blocks: tuple[Block, ...]
    outputs: tuple[str, ...]
    free: tuple[int, ...] = ()
    form: str = "script"

    @property
    def tensors(self) -> dict[str, Tensor]:
        written = [tensor for block in self.blocks for tensor in block.writes]
        return {tensor.name: tensor for tensor in (*self.inputs, *written)}

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        return (*self.inputs, *(self.tensors[name] for name in self.outputs))


def reads_of(expr: Expr) -> list[Read]:
    if isinstance(expr, Read):
        return [expr, *(read for index in expr.indices for read in reads_of(index))]
    return [read for arg in expr.args for read in reads_of(arg)] if isinstance(expr, Op) else []


def text_of(expr: Expr) -> str:
    """An expression in Python, for TVMScript and for tensor expressions alike."""
    if isinstance(expr, Axis):
        return f"v{expr.position}"
    if isinstance(expr, Const):
        return str(int(expr.value)) if expr.dtype == "int32" else f"T.{expr.dtype}({expr.value})"
    if isinstance(expr, Read):
        return f"{expr.tensor}[{', '.join(map(text_of, expr.indices)) or '()'}]"
    args = list(map(text_of, expr.args))
    if expr.name == "cast":
        return f'T.Cast("{expr.dtype}", {args[0]})'
    return FORMS[expr.name].format(*args)


def script(function: Function) -> str:
    """The function as TVMScript; an argmax has none."""
    tensors = function.tensors
    params = ", ".join(f'{t.name}: T.Buffer({t.shape}, "{t.dtype}")' for t in function.parameters)
    attrs = {"global_symbol": "main", "tirx.noalias": True}
    if function.free:
        attrs["layout_free_buffers"] = list(function.free)
    lines = ["@T.prim_func(s_tir=True)", f"def main({params}):", f"    T.func_attr({attrs})"]
    params_names = {t.name for t in function.parameters}
    lines += [
        f'    {t.name} = T.sblock_alloc_buffer({t.shape}, "{t.dtype}")'
        for t in tensors.values()
        if t.name not in params_names
    ]
    for block in function.blocks:
        lines += [f"    {line}" for line in _nest(block)]
    return "\n".join(lines) + "\n"


def _nest(block: Block) -> list[str]:
    spatial, reduce = block.spatial, block.reduce
    names = [f"i{p}" for p in range(len(spatial))]
    extents, values, guard = list(spatial), list(names), ""
    if block.nest == "fused" and len(spatial) > 1:
        names, extents, values = ["f"], [prod(spatial)], []
        for p, extent in enumerate(spatial):
            inner = prod(spatial[p + 1 :])
            values.append(f"f // {max(1, inner)} % {max(1, extent)}")
    elif block.nest == "guarded" and spatial:
        names, extents = ["o", "i", *names[1:]], [-(-spatial[0] // 4), 4, *spatial[1:]]
        values[0] = "o * 4 + i"
        guard = f"T.where(o * 4 + i < {spatial[0]})"
    names += [f"k{p}" for p in range(len(reduce))]
    extents += reduce
    values += [f"k{p}" for p in range(len(reduce))]
    kinds = ["spatial"] * len(spatial) + ["reduce"] * len(reduce)
    body = [f"v{p} = T.axis.{k}({e}, {v})" for p, (k, e, v) in
            enumerate(zip(kinds, (*spatial, *reduce), values, strict=True))]  # fmt: skip
    body += [guard] if guard else []
    body += _store(block)
    block_lines = [f'with T.sblock("{block.name}"):', *(f"    {line}" for line in body)]
    if not names:
        return block_lines
    loops = f"for {', '.join(names)} in T.grid({', '.join(map(str, extents))}):"
    return [loops, *(f"    {line}" for line in block_lines)]


def _store(block: Block) -> list[str]:
    place = f"{block.name}[{', '.join(f'v{p}' for p in range(len(block.spatial))) or '()'}]"
    value, dtype = text_of(block.body), block.body.dtype
    if block.kind == "map":
        return [f"{place} = {value}"]
    combined = {
        "sum": f"{place} + {value}",
        "add_to": f"{place} + {value}",
        "prod": f"{place} * {value}",
        "max": f"T.max({place}, {value})",
        "min": f"T.min({place}, {value})",
    }[block.kind]
    first = {
        "sum": f"T.{dtype}(0)",
        "prod": f"T.{dtype}(1)",
        "max": f'T.min_value("{dtype}")',
        "min": f'T.max_value("{dtype}")',
    }
    init = ["with T.init():", f"    {place} = {first[block.kind]}"] if block.kind in first else []
    return [*init, f"{place} = {combined}"]


def prim_func(function: Function) -> tvm.tirx.PrimFunc:
    """The function for TVM, in its form."""
    if function.form == "te":
        return _from_tensor_expressions(function)
    with compat.fast_script():
        return tvm.script.from_source(script(function), extra_vars={"T": T})


def _from_tensor_expressions(function: Function) -> tvm.tirx.PrimFunc:
    known = {t.name: te.placeholder(t.shape, t.dtype, name=t.name) for t in function.inputs}
    for block in function.blocks:
        names = [t.name for t in block.writes]
        known.update(zip(names, _compute(block, known), strict=True))
    func = te.create_prim_func([known[t.name] for t in function.parameters])
    func = func.with_attr("layout_free_buffers", list(function.free)) if function.free else func
    return func.with_attr("global_symbol", "main")


def _compute(block: Block, known: dict[str, te.Tensor]) -> list[te.Tensor]:
    axes = [te.reduce_axis((0, extent), name=f"k{p}") for p, extent in enumerate(block.reduce)]

    def cell(*spatial):
        variables = {f"v{p}": v for p, v in enumerate((*spatial, *axes))}
        value = eval(text_of(block.body), {"T": T, **known, **variables})
        if isinstance(value, int):
            value = tvm.tirx.const(value, block.body.dtype)
        if block.kind == "map":
            return value
        if block.kind == "argmax":
            place = 0
            for axis, extent in zip(axes, block.reduce, strict=True):
                place = place * extent + axis
            return _ARGMAX((place, value), axis=axes)
        return {"sum": te.sum, "max": te.max, "min": te.min, "prod": _PROD}[block.kind](
            value, axis=axes
        )

    found = te.compute(block.spatial, cell, name=block.name)
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _larger(one, two):
    first = T.Or(one[1] > two[1], T.And(one[1] == two[1], one[0] < two[0]))
    return T.Select(first, one[0], two[0]), T.Select(first, one[1], two[1])


_ARGMAX = te.comm_reducer(
    _larger, lambda index, value: (tvm.tirx.const(-1, index), te.min_value(value)), name="argmax"
)
_PROD = te.comm_reducer(lambda x, y: x * y, lambda dtype: tvm.tirx.const(1, dtype), name="prod")
