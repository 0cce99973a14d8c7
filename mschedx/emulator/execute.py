"""Execute a program's kernels on NumPy arrays, and say what went wrong in them.

A process has one machine: calls from several threads take turns.
"""

from __future__ import annotations

import ctypes
import functools
import math
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm.target import Target

from mschedx.measure.timing import numpy_dtype

from . import bindings
from .build import Library, build, prepared
from .report import Counts, Fault, merged
from .source import Launch, Program, generate

_turn = threading.Lock()

# Of all GPUs so far, along x, y and z ("Compute Capabilities" in the CUDA programming guide).
_MOST_BLOCKS = (2**31 - 1, 65535, 65535)
_MOST_THREADS = (1024, 1024, 64)


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """How to execute.

    Attributes
    ----------
    seed : int
        Decides the order of blocks, and of threads between what they wait for.
    preempt_every : int
        Also interrupt threads, after this many accesses to memory on average; 0: never. Races are
        found in any order; this shows what they do to numbers.
    count : bool
        Count requests of memory; takes a few times as long.
    """

    seed: int = 0
    preempt_every: int = 0
    count: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """What came of it.

    Attributes
    ----------
    arrays : list[numpy.ndarray]
        The program's arguments afterwards; unchanged from the kernel on that was given up.
    finished : bool
        False if a kernel was given up: at a misaligned access, at one far out of bounds, or when
        its threads wait for ever.
    faults : tuple[Fault, ...]
        Of a launch, those at the first 64 places and pairs of places.
    counts : Counts or None
        None unless asked for.
    more_faults : int
        How often something was at fault at further places.
    """

    arrays: list[np.ndarray]
    finished: bool
    faults: tuple[Fault, ...]
    counts: Counts | None
    more_faults: int


def execute(
    mod: tvm.IRModule,
    target: Target,
    arrays: Sequence[np.ndarray],
    options: ExecutionOptions | None = None,
) -> Execution:
    """Generate, compile and execute a scheduled function.

    Parameters
    ----------
    mod : IRModule
        One scheduled function of static shapes.
    target : Target
        Of kind cuda.
    arrays : Sequence[numpy.ndarray]
        All arguments, outputs too; not changed.
    options : ExecutionOptions or None

    Raises
    ------
    ValueError
        If the arrays are not those of the function, a launch has more threads or blocks than a GPU
        takes, and as :func:`.source.generate` does.
    UnsupportedSource, CompilationError
        If the source is beyond the emulator.
    """
    with tempfile.TemporaryDirectory(prefix="mschedx-emulator-") as folder:
        library = build(generate(mod, target), Path(folder))
        return run(library, arrays, options)


def run(
    library: Library, arrays: Sequence[np.ndarray], options: ExecutionOptions | None = None
) -> Execution:
    """Execute a compiled program; see :func:`execute`."""
    options = options or ExecutionOptions()
    for launch in library.program.launches:
        _require_launchable(launch, library.program.thread_limit)
    memory = _memory(library.program, arrays)
    count = sum(array.is_argument for array in library.program.arrays)
    faults: list[Fault] = []
    counts: list[Counts] = []
    finished, more = True, 0
    with _turn:
        handle = _loaded(library.path)
        for launch in library.program.launches:
            finished = _launch(handle, library, launch, memory, options)
            faults += bindings.faults(_machine(), library, launch)
            more += bindings.more_faults(_machine())
            if options.count:
                counts.append(bindings.counts(_machine(), library))
            if not finished:
                break
    counted = merged(counts) if counts else None
    return Execution(memory[:count], finished, tuple(faults), counted, more)


def _require_launchable(launch: Launch, thread_limit: int) -> None:
    """Refuse what CUDA refuses as an invalid configuration, and the machine has no room for."""
    threads = math.prod(launch.block)
    sizes = zip((*launch.grid, *launch.block), (*_MOST_BLOCKS, *_MOST_THREADS), strict=True)
    if threads > thread_limit or any(size > most for size, most in sizes):
        raise ValueError(
            f"{launch.kernel}: expected at most {thread_limit} threads a block, {_MOST_THREADS} "
            f"along x, y, z, and at most {_MOST_BLOCKS} blocks, got blocks of {launch.block} "
            f"threads in a grid of {launch.grid}"
        )


def _memory(program: Program, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Copies of the arguments, and what kernels hand to each other, all bits set (NaN, -1)."""
    arguments = [array for array in program.arrays if array.is_argument]
    if len(arrays) != len(arguments):
        raise ValueError(f"expected {len(arguments)} arrays, got {len(arrays)}")
    memory = []
    for one, given in zip(arguments, arrays, strict=True):
        dtype = numpy_dtype(one.dtype)
        if given.shape != one.shape or given.dtype != dtype:
            raise ValueError(
                f"argument {one.name}: expected {one.dtype} of shape {one.shape}, "
                f"got {given.dtype} of shape {given.shape}"
            )
        memory.append(np.array(given, order="C"))
    for one in program.arrays:
        if not one.is_argument:
            dtype = numpy_dtype(one.dtype)
            size = int(np.prod(one.shape)) * dtype.itemsize
            memory.append(np.full(size, 0xFF, np.uint8).view(dtype).reshape(one.shape))
    return memory


@functools.cache
def _machine() -> ctypes.CDLL:
    return bindings.declare(ctypes.CDLL(str(prepared() / "runtime.so"), mode=ctypes.RTLD_GLOBAL))


_open: dict[Path, ctypes.CDLL] = {}


def _loaded(path: Path) -> ctypes.CDLL:
    """Load a library and let go of the one before: sweeps load thousands, most several times."""
    if path not in _open:
        _machine()  # whose functions kernels call
        for library in _open.values():
            bindings.close(library)
        _open.clear()
        _open[path] = ctypes.CDLL(str(path))
    return _open[path]


def _launch(
    handle: ctypes.CDLL,
    library: Library,
    launch: Launch,
    memory: list[np.ndarray],
    options: ExecutionOptions,
) -> bool:
    """Run one kernel, with the coarsest granules that its accesses and arrays allow."""
    arguments = [memory[place] for place in launch.arguments]
    kernel = getattr(handle, f"emulated_{launch.kernel}")
    finest = min((array.nbytes & -array.nbytes for array in arguments if array.nbytes), default=1)
    for log2 in range(min(2, finest.bit_length() - 1), -1, -1):
        request = bindings.request(
            launch.grid,
            launch.block,
            (launch.dynamic_shared_bytes, library.program.shared_limit_bytes),
            (options.seed, options.preempt_every, options.count, log2),
            arguments,
        )
        outcome = bindings.launch(_machine(), kernel, request)
        if outcome is not bindings.LaunchOutcome.FINER_GRANULES:
            return outcome is bindings.LaunchOutcome.FINISHED
    raise AssertionError("accesses of a byte fit granules of a byte")
