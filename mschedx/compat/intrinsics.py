"""TVM's tensor intrinsics, those of a target instead of all: TVM's own import takes 15-22 s."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

from .script import fast_script
from .targets import triple_of
from .versions import TESTED_TVM

_INTRINSICS = "tvm.s_tir.tensor_intrin"
_KINDS = ("arm_cpu", "cuda", "hexagon", "metal", "riscv_cpu", "rocm", "x86")

_lock = threading.RLock()
_users: set[object] = set()
"""Blocks, of several threads perhaps, that want the stand-in."""
_thread = threading.local()


def load_tensor_intrinsics(kind: str | None = None) -> None:
    """Register TVM's tensor intrinsics: about 2 s for all (TVM alone: 15-22 s), 0.05 s for x86.

    Later imports of ``tvm.s_tir.tensor_intrin`` (``TuneContext`` does one) are free after all have
    been loaded, and skip the kinds that have been loaded one by one.

    Parameters
    ----------
    kind : str, optional
        One of TVM's submodules: ``"x86"``, ``"cuda"``, ``"arm_cpu"``, ``"riscv_cpu"``, ``"rocm"``,
        ``"hexagon"``, ``"metal"``. All that TVM loads by itself when None; none within a block of
        `only_intrinsics` of this thread, which has said what it needs.

    Raises
    ------
    ValueError
        If `kind` is not one of these.
    """
    if kind is not None and kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)} or None, got {kind!r}")
    if kind is None and _is_inside():
        return
    with _lock:
        if kind is None:
            _remove_stand_in()
            if _INTRINSICS not in sys.modules:
                with fast_script():
                    importlib.import_module(_INTRINSICS)
        elif f"{_INTRINSICS}.{kind}" not in sys.modules:
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
    triple = triple_of(target)
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


@contextlib.contextmanager
def only_intrinsics(target: Any, kinds: tuple[str, ...] | None = None) -> Iterator[None]:
    """Let TVM load only the tensor intrinsics that can matter to `target` in this block.

    ``TuneContext`` imports ``tvm.s_tir.tensor_intrin``, hence every intrinsic of every target. In
    this block that import yields a stand-in package with the target's kinds loaded (and any other
    submodule on demand); afterwards the next import is TVM's own and complete. Does nothing when
    all have been loaded before or the target is not known, except that the loading is fast. Within
    another such block of the same thread that one's kinds hold. Blocks of several threads have the
    kinds of all of them, until the last one ends.

    Parameters
    ----------
    target : tvm.target.Target
    kinds : tuple of str, optional
        Load these instead, for instance `own_space_kinds`.
    """
    if _is_inside():
        yield
        return
    kinds = intrinsic_kinds(target) if kinds is None else kinds
    if kinds is None:
        load_tensor_intrinsics()
    try:
        _thread.inside = True
        with _stand_in():
            for kind in kinds or ():
                load_tensor_intrinsics(kind)
            yield
    finally:
        _thread.inside = False


def _is_inside() -> bool:
    return getattr(_thread, "inside", False)


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
    user = object()
    try:
        with _lock:
            _users.add(user)
            if _INTRINSICS not in sys.modules:
                _put_stand_in()
        yield
    finally:
        with _lock:
            _users.discard(user)
            if not _users:
                _remove_stand_in()


def _put_stand_in() -> None:
    import tvm.s_tir

    spec = importlib.util.find_spec(_INTRINSICS)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{_INTRINSICS} not found: is this apache-tvm {TESTED_TVM}*?")
    package = _LazyPackage(_INTRINSICS)
    package.__path__ = list(spec.submodule_search_locations)
    package.__package__ = _INTRINSICS
    sys.modules[_INTRINSICS] = package
    tvm.s_tir.tensor_intrin = package  # as an import would


def _remove_stand_in() -> None:
    package = sys.modules.get(_INTRINSICS)
    if not isinstance(package, _LazyPackage):
        return
    import tvm.s_tir

    del sys.modules[_INTRINSICS]
    if tvm.s_tir.__dict__.get("tensor_intrin") is package:
        del tvm.s_tir.tensor_intrin
