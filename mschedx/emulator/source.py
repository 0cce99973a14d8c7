"""The CUDA of a schedule, and how its host function would launch it; needs no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tvm
from tvm.target import Target

from .translate import UnsupportedSource

_AXES = ("x", "y", "z")
_DYNAMIC_SHARED = "tirx.use_dyn_shared_memory"
MOST_THREADS = 1024
"""Of a block, on every GPU; the machine has places for as many."""


_RUN_ONCE = (
    tvm.tirx.AllocBuffer,
    tvm.tirx.AssertStmt,
    tvm.tirx.AttrStmt,
    tvm.tirx.Bind,
    tvm.tirx.DeclBuffer,
    tvm.tirx.Evaluate,
    tvm.tirx.LetStmt,
)
"""What may stand beside launches: none of it repeats them, skips them or computes."""


@dataclass(frozen=True, slots=True)
class Array:
    """An array in global memory: an argument of the program, or what kernels hand to each other."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_argument: bool


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel's launch.

    Attributes
    ----------
    kernel : str
        Name of the ``__global__`` function.
    arguments : tuple[int, ...]
        Places in :attr:`Program.arrays`.
    grid, block : tuple[int, int, int]
        Extents along x, y, z.
    dynamic_shared_bytes : int
    """

    kernel: str
    arguments: tuple[int, ...]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    dynamic_shared_bytes: int


@dataclass(frozen=True, slots=True)
class Program:
    """Kernels in the order in which the host launches them.

    Attributes
    ----------
    source : str
        CUDA, as nvcc gets it.
    arrays : tuple[Array, ...]
        The program's arguments first, in order.
    launches : tuple[Launch, ...]
    shared_limit_bytes, thread_limit : int
        Most shared memory and threads of a block, by the target.
    """

    source: str
    arrays: tuple[Array, ...]
    launches: tuple[Launch, ...]
    shared_limit_bytes: int
    thread_limit: int = MOST_THREADS


def generate(mod: tvm.IRModule, target: Target) -> Program:
    """Compile a scheduled module as far as CUDA source.

    Parameters
    ----------
    mod : IRModule
        One function, of static shapes.
    target : Target
        Of kind cuda, with ``max_shared_memory_per_block``.

    Raises
    ------
    ValueError
        If the target is another, the module has several functions, or a launch depends on shapes
        that are not constants.
    UnsupportedSource
        If the host does more than launch kernels one after the other.
    """
    if target.kind.name != "cuda":
        raise ValueError(f'expected a target of kind "cuda", got "{target.kind.name}"')
    shared_limit_bytes = int(target.attrs.get("max_shared_memory_per_block", 0))
    if shared_limit_bytes == 0:
        raise ValueError("the target has no max_shared_memory_per_block; state it, or use a tag")
    if len(mod.functions) != 1:
        names = [var.name_hint for var in mod.functions]
        raise ValueError(f"expected a module of one function, got {names}; pass one task at a time")
    capture = _AfterSplit()
    with tvm.transform.PassContext(instruments=[capture]):
        built = tvm.compile(mod, target=target)
    host = next(f for f in capture.module.functions.values() if "tirx.is_entry_func" in f.attrs)
    arrays, launches = _launches(host)
    threads = int(target.attrs.get("max_threads_per_block", MOST_THREADS))
    return Program(
        source=built.mod.imports[0].inspect_source(),
        arrays=arrays,
        launches=launches,
        shared_limit_bytes=shared_limit_bytes,
        thread_limit=min(threads, MOST_THREADS),
    )


@tvm.ir.instrument.pass_instrument
class _AfterSplit:
    """Keep the module as it is once host and device are two functions."""

    def __init__(self) -> None:
        self.module: Any = None

    def run_after_pass(self, mod: tvm.IRModule, info: Any) -> None:
        if info.name == "tirx.SplitHostDevice":
            self.module = mod


def _launches(host: tvm.tirx.PrimFunc) -> tuple[tuple[Array, ...], tuple[Launch, ...]]:
    buffers = list(host.params)
    arrays = [_array(buffer, True) for buffer in buffers]
    same: list[tuple[Any, Any]] = []  # views: (buffer, what it is a view of)
    launches = []
    for statement in _statements(host.body):
        if isinstance(statement, tvm.tirx.AllocBuffer):
            buffers.append(statement.buffer)
            arrays.append(_array(statement.buffer, False))
        elif isinstance(statement, tvm.tirx.DeclBuffer):
            same.append((statement.buffer, statement.data.args[0]))
        elif isinstance(statement, tvm.tirx.Evaluate) and _is_launch(statement.value):
            launches.append(_launch(statement.value, buffers, same))
    return tuple(arrays), tuple(launches)


def _statements(statement: Any) -> Iterator[Any]:
    """The statements of a host that each run once, in order."""
    if isinstance(statement, tvm.tirx.SeqStmt):
        for one in statement.seq:
            yield from _statements(one)
        return
    if not isinstance(statement, _RUN_ONCE):
        raise UnsupportedSource(
            "expected a host that launches kernels one after the other, got a "
            f"{type(statement).__name__} around or between them; bind all loops to blocks and "
            "threads"
        )
    yield statement
    if hasattr(statement, "body"):
        yield from _statements(statement.body)


def _array(buffer: Any, is_argument: bool) -> Array:
    shape = tuple(_constant(extent, f"the shape of {buffer.name}") for extent in buffer.shape)
    return Array(str(buffer.name), shape, str(buffer.dtype), is_argument)


def _is_launch(value: Any) -> bool:
    return getattr(getattr(value, "op", None), "name", "") == "tirx.call_ffi_kernel"


def _launch(call: Any, buffers: list[Any], same: list[tuple[Any, Any]]) -> Launch:
    name, *rest = call.args
    parameters = [str(one) for one in call.attrs.launch_params]
    arguments, values = rest[: len(rest) - len(parameters)], rest[len(rest) - len(parameters) :]
    extents = {
        parameter: _constant(value, f"{parameter} of {name.value}")
        for parameter, value in zip(parameters, values, strict=True)
    }
    return Launch(
        kernel=str(name.value),
        arguments=tuple(_place(argument.args[0], buffers, same) for argument in arguments),
        grid=_extents(extents, "blockIdx"),
        block=_extents(extents, "threadIdx"),
        dynamic_shared_bytes=extents.get(_DYNAMIC_SHARED, 0),
    )


def _extents(extents: dict[str, int], index: str) -> tuple[int, int, int]:
    x, y, z = (extents.get(f"{index}.{axis}", 1) for axis in _AXES)
    return x, y, z


def _place(buffer: Any, buffers: list[Any], same: list[tuple[Any, Any]]) -> int:
    origin = next((of for view, of in same if view.same_as(buffer)), buffer)
    return next(i for i, one in enumerate(buffers) if one.same_as(origin))


def _constant(value: Any, what: str) -> int:
    if isinstance(value, int):
        return value
    if not isinstance(value, tvm.tirx.IntImm):
        raise ValueError(f"expected a constant for {what}, got {value}; bind dynamic shapes first")
    return int(value.value)
