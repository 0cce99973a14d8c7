"""Read the integers off one concrete TIR program.

`extract` walks the body of a PrimFunc in schedulable form (blocks kept) once and returns a
`Program`: its structure, which configs of one sketch share, and its named integers, which differ.
The walk crosses into TVM once per node; all arithmetic afterwards is Python's. TVM's arrays are
read by slices (``array[:]``): iterating over one asks for its length with every element.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...annotation_keys import LEFT_TO_LLVM
from .affine import Affine, NotAffine, parse, substituted
from .operations import operations
from .program import KINDS, ROOT, Access, Annotations, Block, Buffer, Loop, Program, Value


class DynamicExtent(ValueError):
    """A loop's extent or a buffer's shape is not a constant."""


@dataclass
class _LoopDraft:
    variable: str
    kind: str
    thread: str
    extent: int
    parent: int
    annotations: Annotations


def nth(name: str, count: int) -> str:
    """Unique name of the block or buffer that is the ``count``-th called ``name``."""
    return name if count == 1 else f"{name}#{count}"


@dataclass
class _Walker:
    """Mutable state of one walk."""

    loops: list[_LoopDraft] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    buffers: dict[int, Buffer] = field(default_factory=dict)
    names: dict[str, Counter] = field(
        default_factory=lambda: {"block": Counter(), "buffer": Counter()}
    )
    environment: dict[int, Affine] = field(default_factory=dict)
    chain: tuple[int, ...] = ()
    parent_block: int = ROOT

    def unique(self, what: str, name: str) -> str:
        used = self.names[what]
        used[name] += 1
        return nth(name, used[name])

    def buffer(self, buffer: Any, parameter: bool = False) -> str:
        key = hash(buffer)
        if key not in self.buffers:
            shape = tuple(_constant(extent, "a buffer's shape") for extent in buffer.shape[:])
            self.buffers[key] = Buffer(
                self.unique("buffer", buffer.name),
                buffer.scope(),
                str(buffer.dtype),
                shape,
                parameter,
            )
        return self.buffers[key].name

    def statement(self, stmt: Any) -> None:
        kind = type(stmt).__name__
        if kind == "For":
            self.loop(stmt)
        elif kind == "SBlockRealize":
            self.block(stmt)
        elif kind == "SeqStmt":
            for part in stmt.seq[:]:
                self.statement(part)
        elif kind == "IfThenElse":
            self.statement(stmt.then_case)
            if stmt.else_case is not None:
                self.statement(stmt.else_case)
        elif kind in ("AttrStmt", "While"):
            self.statement(stmt.body)

    def loop(self, loop: Any) -> None:
        extent = _constant(loop.extent, f"the extent of loop {loop.loop_var.name}")
        thread = loop.thread_binding
        index = len(self.loops)
        vector = LEFT_TO_LLVM in loop.annotations
        self.loops.append(
            _LoopDraft(
                loop.loop_var.name,
                "vectorized" if vector else KINDS[int(loop.kind)],
                thread.thread_tag if thread is not None else "",
                extent,
                self.chain[-1] if self.chain else ROOT,
                _annotations(loop.annotations),
            )
        )
        start = _constant(loop.min, f"the start of loop {loop.loop_var.name}")
        self.environment[hash(loop.loop_var)] = Affine(start, ((index, 1),))
        outer, self.chain = self.chain, (*self.chain, index)
        self.statement(loop.body)
        self.chain = outer

    def block(self, realize: Any) -> None:
        block = realize.block
        variables = block.iter_vars[:]
        iters, bindings = [], []
        for variable, value in zip(variables, realize.iter_values[:]):
            form = _try_parse(value, self.environment)
            bindings.append(form)
            extent = _constant(variable.dom.extent, f"the extent of {variable.var.name}")
            iters.append(
                (variable.var.name, _ITER_KINDS.get(int(variable.iter_type), "other"), extent)
            )
            if form is not None:
                self.environment[hash(variable.var)] = form
        for buffer in block.alloc_buffers[:]:
            self.buffer(buffer)
        own = {hash(v.var): Affine(0, ((i, 1),)) for i, v in enumerate(variables)}
        accesses = [self.access(region, False, own, bindings) for region in block.reads[:]]
        accesses += [self.access(region, True, own, bindings) for region in block.writes[:]]
        if not variables and not self.chain and not self.blocks and self.parent_block == ROOT:
            # The root block is where allocations and annotations hang, not a computation.
            accesses = []
        index = len(self.blocks)
        self.blocks.append(None)  # type: ignore[arg-type]  # keeps pre-order; filled in below
        name = self.unique("block", block.name_hint)
        outer, self.parent_block = self.parent_block, index
        blocks_before = len(self.blocks)
        self.statement(block.body)
        self.parent_block = outer
        leaf = len(self.blocks) == blocks_before
        self.blocks[index] = Block(
            name=name,
            loops=self.chain,
            iters=tuple(iters),
            bindings=tuple(bindings),
            accesses=tuple(accesses),
            annotations=_annotations(block.annotations),
            operations=operations(block.body) if leaf else (),
            leaf=leaf,
            predicated=not _is_true(realize.predicate),
            parent=outer,
            initializes=block.init is not None,
        )

    def access(
        self,
        region: Any,
        is_write: bool,
        own: dict[int, Affine],
        bindings: Sequence[Affine | None],
    ) -> Access:
        offsets, local, lengths, problem = [], [], [], ""
        for bounds in region.region[:]:
            inner = _try_parse(bounds.min, own)
            local.append(inner)
            try:
                # Reading an expression twice would cost more than composing its two forms.
                offset = (
                    parse(bounds.min, self.environment)
                    if inner is None
                    else (substituted(inner, bindings))
                )
                offsets.append(offset)
            except NotAffine as error:
                offsets.append(None)
                problem = str(error)
            extent = bounds.extent
            lengths.append(int(extent.value) if type(extent).__name__ == "IntImm" else -1)
        if any(length < 0 for length in lengths):
            problem = "a region whose length is not constant"
            offsets = [None if n < 0 else o for o, n in zip(offsets, lengths)]
        name = self.buffer(region.source)
        return Access(name, is_write, tuple(offsets), tuple(local), tuple(lengths), problem)


_ITER_KINDS = {0: "spatial", 2: "reduce", 3: "scan", 4: "opaque"}


def _constant(expr: Any, what: str) -> int:
    value = expr if isinstance(expr, int) else getattr(expr, "value", None)
    if not isinstance(value, int):
        raise DynamicExtent(
            f"expected {what} to be a constant, got {expr}: dynamic shapes are not tuned"
        )
    return int(value)


def _is_true(predicate: Any) -> bool:
    return getattr(predicate, "value", 0) == 1


def _try_parse(expr: Any, environment: dict[int, Affine]) -> Affine | None:
    try:
        return parse(expr, environment)
    except NotAffine:
        return None


def _plain(value: Any) -> Value:
    """Turn an annotation into Python's numbers, text and tuples; "" for anything else."""
    value = getattr(value, "value", value)
    if isinstance(value, (int, str)):
        return str(value) if isinstance(value, str) else int(value)
    if type(value).__name__ == "Array":
        return tuple(_plain(part) for part in value)
    return ""


def _annotations(mapping: Any) -> Annotations:
    """Return annotations sorted by key."""
    if not len(mapping):
        return ()
    found = [(str(key), _plain(value)) for key, value in mapping.items()]
    return tuple(sorted(found, key=lambda item: item[0]))


def _loop_names(walker: _Walker) -> list[str]:
    """Name every loop after the deepest block it holds, and its variable."""
    anchor: dict[int, tuple[int, int]] = {}
    for position, block in enumerate(walker.blocks):
        for loop in block.loops:
            key = (-len(block.loops), position)
            anchor[loop] = min(anchor.get(loop, key), key)
    used: Counter = Counter()
    names = []
    for index, loop in enumerate(walker.loops):
        block = walker.blocks[anchor[index][1]].name if index in anchor else "root"
        name = f"{block}/{loop.variable}"
        used[name] += 1
        names.append(name if used[name] == 1 else f"{name}#{used[name]}")
    return names


def extract(func: Any) -> Program:
    """Read a PrimFunc in schedulable form.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        Its body is the root block's realize; every extent must be a constant.

    Raises
    ------
    DynamicExtent
        When an extent or shape is not a constant.
    """
    from tvm.tirx import is_buffer_var

    walker = _Walker()
    for parameter in func.params:
        if is_buffer_var(parameter):
            walker.buffer(parameter, parameter=True)
    walker.statement(func.body)
    names = _loop_names(walker)
    loops = tuple(
        Loop(name, d.kind, d.thread, d.extent, d.parent, d.annotations)
        for name, d in zip(names, walker.loops)
    )
    return Program(loops, tuple(walker.blocks), tuple(walker.buffers.values()))


def has_constant_loops(func: Any) -> bool:
    """Whether every loop's extent is a constant, as ``DisallowDynamicLoop`` demands.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        In schedulable form.
    """
    stack = [func.body]
    while stack:
        statement = stack.pop()
        kind = type(statement).__name__
        if kind == "For":
            if type(statement.extent).__name__ != "IntImm":
                return False
            stack.append(statement.body)
        elif kind == "SBlockRealize":
            stack.append(statement.block.body)
        elif kind == "SeqStmt":
            stack += statement.seq[:]
        elif kind == "IfThenElse":
            stack += [s for s in (statement.then_case, statement.else_case) if s is not None]
        elif kind in ("AttrStmt", "While"):
            stack.append(statement.body)
    return True


def entry(mod: Any) -> Any:
    """Return the PrimFunc that is scheduled: ``main``, or the only one there is.

    Raises
    ------
    ValueError
        When the module has several functions and none is called ``main``.
    """
    functions = {var.name_hint: func for var, func in mod.functions.items()}
    if "main" in functions:
        return functions["main"]
    if len(functions) == 1:
        return next(iter(functions.values()))
    raise ValueError(f"expected one function or one called 'main', got {sorted(functions)}")
