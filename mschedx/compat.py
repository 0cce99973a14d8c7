"""The one module that knows which TVM is installed and works around what is wrong with it.

What is here and why (facts measured on apache-tvm 0.27.0.post1):

- some releases of ``apache-tvm-ffi`` crash: :func:`check_versions`;
- ``import tvm.s_tir.tensor_intrin`` takes 15-22 s, nearly all of it in ``inspect.stack``:
  :func:`fast_script`, :func:`load_tensor_intrinsics`, :func:`only_intrinsics`;
- ``import tvm`` imports torch if it can, which triples its time: :func:`without_torch`;
- TVM's thread pool starts too few threads, or binds them all to one core:
  :func:`cores_environment`, :func:`use_cores`, :func:`on_cores`;
- LLVM's instruction scheduler takes seconds for a long unrolled block: :func:`bounded_scheduling`.

Nothing here changes the process for longer than the ``with`` block or call that asked for it,
except :func:`use_cores`, whose purpose that is. TVM is imported when it is first needed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import linecache
import math
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from mschedx.cgroups import quota

TESTED_TVM = "0.27."
_INTRINSICS = "tvm.s_tir.tensor_intrin"
_KINDS = ("arm_cpu", "cuda", "hexagon", "metal", "riscv_cpu", "rocm", "x86")
# TVM's parser modules that call inspect.stack() for every function they parse.
_PARSER_MODULES = ("tvm.tirx.script.parser.entry", "tvm.script.parser.ir.entry")

# Memory accesses of a region up to which LLVM (1000 by itself) compares each with all others.
_SCHEDULED_TOGETHER = 200
_SCHEDULER_LIMIT = "dag-maps-huge-region"

_T = TypeVar("_T")
_lock = threading.RLock()


class IncompatibleVersion(ImportError):
    """The installed TVM or tvm-ffi is one that mschedx cannot work with."""


@functools.cache
def check_versions() -> None:
    """Refuse releases of TVM and tvm-ffi that are known to crash or to differ.

    Reads package metadata only (about a millisecond, once per process).

    Raises
    ------
    IncompatibleVersion
        With the version found, what would go wrong, and the command that puts it right.
    """
    tvm, ffi = _version("apache-tvm"), _version("apache-tvm-ffi")
    if tvm is not None and not tvm.startswith(TESTED_TVM):
        raise IncompatibleVersion(
            f"mschedx works with apache-tvm {TESTED_TVM}*, found {tvm}. TVM's Python interface "
            "changes between minor versions, so imports or tuning would fail. "
            "Fix: pip install 'apache-tvm==0.27.*' 'apache-tvm-ffi>=0.1.14,<0.1.15'"
        )
    if ffi is not None and ffi.startswith("0.1.15"):
        raise IncompatibleVersion(
            f"apache-tvm-ffi {ffi} is known to crash: tuning ends with a segmentation fault in "
            "ToJSONGraph when the first record is saved. "
            "Fix: pip install 'apache-tvm-ffi>=0.1.14,<0.1.15'"
        )


def _version(package: str) -> str | None:
    """Version of an installed distribution; None for a source build without metadata."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class _Frame:
    """The part of ``inspect.FrameInfo`` that TVM's parser reads, computed when it is read."""

    __slots__ = ("frame", "lineno")

    def __init__(self, frame: types.FrameType):
        self.frame = frame
        self.lineno = frame.f_lineno

    @property
    def code_context(self) -> list[str] | None:
        code = self.frame.f_code
        line = linecache.getline(code.co_filename, self.lineno, self.frame.f_globals)
        return [line] if line else None


class _FastInspect(types.ModuleType):
    """``inspect`` with a ``stack`` that does not search every loaded module for every frame."""

    @staticmethod
    def stack(context: int = 1) -> list[_Frame]:
        """Return the frames from the caller up, as ``inspect.stack`` would."""
        del context  # one line, as the parser asks for
        frames: list[_Frame] = []
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None:
            frames.append(_Frame(frame))
            frame = frame.f_back
        return frames

    def __getattr__(self, name: str) -> Any:
        import inspect

        return getattr(inspect, name)


_fast_inspect = _FastInspect("inspect")
_fast_users = 0
_slow_inspect: dict[str, Any] = {}


@contextlib.contextmanager
def fast_script() -> Iterator[None]:
    """Parse TVMScript (``T.prim_func``, ``I.ir_module``) about ten times faster in this block.

    TVM records the whole call stack for every function that it parses, through
    ``inspect.stack()``, which scans all loaded modules for every frame it cannot place. The parser
    needs one line of one frame. In this block TVM's parser modules (not the standard library, nor
    any other user of it) see a stack that is read on demand; the result of parsing is the same.

    Re-entrant and usable from several threads; undone when the last block ends, also by an
    exception.
    """
    global _fast_users
    with _lock:
        if _fast_users == 0:
            for name in _PARSER_MODULES:
                module = importlib.import_module(name)
                _slow_inspect[name] = module.inspect
                module.inspect = _fast_inspect
        _fast_users += 1
    try:
        yield
    finally:
        with _lock:
            _fast_users -= 1
            if _fast_users == 0:
                for name, original in _slow_inspect.items():
                    sys.modules[name].inspect = original
                _slow_inspect.clear()


def load_tensor_intrinsics(kind: str | None = None) -> None:
    """Register TVM's tensor intrinsics: about 2 s for all (TVM alone: 15-22 s), 0.05 s for x86.

    Later imports of ``tvm.s_tir.tensor_intrin`` (``TuneContext`` does one) are free after all have
    been loaded, and skip the kinds that have been loaded one by one.

    Parameters
    ----------
    kind : str, optional
        One of TVM's submodules: ``"x86"``, ``"cuda"``, ``"arm_cpu"``, ``"riscv_cpu"``, ``"rocm"``,
        ``"hexagon"``, ``"metal"``. All that TVM loads by itself when None.

    Raises
    ------
    ValueError
        If `kind` is not one of these.
    """
    if kind is not None and kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)} or None, got {kind!r}")
    if kind is None:
        if _INTRINSICS not in sys.modules:
            with fast_script():
                importlib.import_module(_INTRINSICS)
        return
    if f"{_INTRINSICS}.{kind}" not in sys.modules:
        with fast_script(), _stand_in():
            importlib.import_module(f"{_INTRINSICS}.{kind}")


def intrinsic_kinds(target: Any) -> tuple[str, ...] | None:
    """Which kinds of tensor intrinsics can matter to `target`; None when that is not known.

    Parameters
    ----------
    target : tvm.target.Target
        A resolved target, for instance of kind ``llvm`` or ``cuda``.
    """
    if target.kind.name == "cuda":
        return ("cuda",)
    if target.kind.name != "llvm":
        return None
    triple = str(target.attrs.get("mtriple", "")) or _host_triple()
    if triple.startswith(("x86_64", "i686", "i386")):
        return ("x86",)
    if triple.startswith(("aarch64", "arm")):
        return ("arm_cpu",)
    if triple.startswith("riscv"):
        return ("riscv_cpu",)
    return None


def own_space_kinds(target: Any) -> tuple[str, ...] | None:
    """Which kinds :func:`mschedx.space.for_target` needs: none on CUDA, whose take 1.5 s.

    Its rules use intrinsics of our own; on CPUs TVM builds its default rules beside them, which
    look theirs up, at 0.05 s.
    """
    return () if target.kind.name == "cuda" else intrinsic_kinds(target)


def same_architecture(target: Any) -> bool:
    """Whether a CPU target's architecture is this machine's, so that its code can be loaded.

    Parameters
    ----------
    target : tvm.target.Target
        Of kind ``llvm``; one without a triple is of this machine.
    """
    triple = str(target.attrs.get("mtriple", "")) or _host_triple()
    return triple.partition("-")[0] == _host_triple().partition("-")[0]


def _host_triple() -> str:
    import platform

    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


@contextlib.contextmanager
def only_intrinsics(target: Any, kinds: tuple[str, ...] | None = None) -> Iterator[None]:
    """Let TVM load only the tensor intrinsics that can matter to `target` in this block.

    ``TuneContext`` imports ``tvm.s_tir.tensor_intrin``, hence every intrinsic of every target. In
    this block that import yields a stand-in package with the target's kinds loaded (and any other
    submodule on demand); afterwards the next import is TVM's own and complete. Does nothing when
    all have been loaded before or the target is not known, except that the loading is fast.

    Parameters
    ----------
    target : tvm.target.Target
    kinds : tuple of str, optional
        Load these instead, for instance `own_space_kinds`.
    """
    kinds = intrinsic_kinds(target) if kinds is None else kinds
    if kinds is None:
        load_tensor_intrinsics()
    if _INTRINSICS in sys.modules:
        yield
        return
    for kind in kinds or ():
        load_tensor_intrinsics(kind)
    with _stand_in():
        yield


class _LazyPackage(types.ModuleType):
    """A package whose submodules are imported when they are asked for."""

    def __getattr__(self, name: str) -> Any:
        if name in _KINDS:
            with fast_script():
                return importlib.import_module(f"{_INTRINSICS}.{name}")
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


@contextlib.contextmanager
def _stand_in() -> Iterator[None]:
    """Keep a package without contents in the place of the one that imports everything."""
    with _lock:
        import tvm.s_tir

        if _INTRINSICS in sys.modules:
            yield
            return
        spec = importlib.util.find_spec(_INTRINSICS)
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError(f"{_INTRINSICS} not found: is this apache-tvm {TESTED_TVM}*?")
        package = _LazyPackage(_INTRINSICS)
        package.__path__ = list(spec.submodule_search_locations)
        package.__package__ = _INTRINSICS
        sys.modules[_INTRINSICS] = package
        tvm.s_tir.tensor_intrin = package  # as an import would
        try:
            yield
        finally:
            if sys.modules.get(_INTRINSICS) is package:
                del sys.modules[_INTRINSICS]
            if tvm.s_tir.__dict__.get("tensor_intrin") is package:
                del tvm.s_tir.tensor_intrin


class _NoTorch:
    """A finder that says torch is not installed."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        del path, target
        if name == "torch" or name.startswith("torch."):
            raise ModuleNotFoundError("torch is not loaded in this process", name="torch")


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """Import TVM in this block without torch: 0.8 s in place of 2.5 s.

    Meant for processes of our own that never need torch (tvm-ffi imports it to share its tensor
    allocator, and works without).
    """
    sys.meta_path.insert(0, _NoTorch)
    try:
        yield
    finally:
        sys.meta_path.remove(_NoTorch)


def available_cores() -> int:
    """Number of cores that this process may use: by its affinity, and by a container's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    limit = quota()
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


def cores_environment(cores: int) -> dict[str, str]:
    """Environment variables with which a new process really uses `cores` cores.

    By itself TVM starts one thread for every two cores, and binds its threads to the first cores
    of the machine even when other processes are bound there too; OpenMP and BLAS libraries in the
    same process must agree on the number.

    Parameters
    ----------
    cores : int
        At least 1.
    """
    if not isinstance(cores, int) or cores < 1:
        raise ValueError(f"cores must be an integer of at least 1, got {cores!r}")
    count = str(cores)
    return {
        "TVM_NUM_THREADS": count,
        "TVM_BIND_THREADS": "0",
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
    }


def use_cores(cores: int | None = None) -> int:
    """Make TVM kernels that the calling thread runs use `cores` cores, from now on.

    Sets ``TVM_NUM_THREADS`` and ``TVM_BIND_THREADS`` for the process: threads (and processes)
    that start later follow too.

    Parameters
    ----------
    cores : int, optional
        At least 1; all that the process may use when None.

    Returns
    -------
    int
        `cores`.

    Raises
    ------
    RuntimeError
        If this thread has already run a parallel kernel with fewer threads: TVM gives every
        thread a pool at its first use, which cannot grow. :func:`on_cores` then helps.
    """
    cores = available_cores() if cores is None else cores
    wanted = cores_environment(cores)
    os.environ["TVM_NUM_THREADS"] = wanted["TVM_NUM_THREADS"]
    os.environ["TVM_BIND_THREADS"] = wanted["TVM_BIND_THREADS"]
    import tvm.runtime  # noqa: F401
    import tvm_ffi

    found = tvm_ffi.get_global_func("runtime.NumThreads")()
    if found > cores:  # a pool can shrink
        tvm_ffi.get_global_func("runtime.config_threadpool")(0, cores)
        found = tvm_ffi.get_global_func("runtime.NumThreads")()
    if found < cores:
        raise RuntimeError(
            f"asked for {cores} cores, but TVM's thread pool of this thread was started with "
            f"{found} thread(s) before and cannot grow. Call mschedx.compat.use_cores() before "
            "the first kernel runs, or run the work through mschedx.compat.on_cores()."
        )
    return cores


def on_cores(cores: int | None, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """Call `function` in a new thread whose TVM kernels use `cores` cores, and return its result.

    Works whatever the calling thread has run before, since TVM's pools belong to threads.
    """
    result: list[_T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            use_cores(cores)
            result.append(function(*args, **kwargs))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="mschedx-on-cores", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def bounded_scheduling(target: Any) -> Any:
    """Return `target` with LLVM's instruction scheduler kept from taking seconds for one block.

    Twice per function LLVM compares every memory access of a straight piece of code with every
    other, in pieces of 1000 accesses. Schedules that unroll by hundreds spend most of their
    compile time there. With pieces of 200 a piece that has fewer accesses compiles to the very
    same code; a longer one to the same instructions in an order that may differ where 200
    accesses lie between them.

    Parameters
    ----------
    target : tvm.target.Target
        Returned as it is unless its kind is ``llvm``, and where it sets that limit itself.
    """
    if target.kind.name != "llvm":
        return target
    import tvm

    options = [str(option) for option in target.attrs.get("cl-opt", None) or ()]
    if any(_SCHEDULER_LIMIT in option for option in options):
        return target
    limit = f"-{_SCHEDULER_LIMIT}:uint={_SCHEDULED_TOGETHER}"
    return tvm.target.Target({**dict(target.export()), "cl-opt": [*options, limit]})


PERFORMED_AHEAD = "meta_schedule.layout_rewrite_preproc"
"""TVM's annotation of a block at the root that is taken out and performed ahead of all calls."""

FREE_LAYOUTS = "layout_free_buffers"
"""TVM's attribute of a function: positions of parameters that may be stored in any layout."""


def free_layouts(function: Any) -> frozenset[int]:
    """Positions of the parameters that a PrimFunc leaves the layout of open."""
    attributes = function.attrs or {}
    return frozenset(int(position) for position in attributes.get(FREE_LAYOUTS, ()))
