"""TVMScript, parsed without a look at the whole call stack for every function."""

from __future__ import annotations

import contextlib
import importlib
import linecache
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

# TVM's parser modules that call inspect.stack() for every function they parse.
_PARSER_MODULES = ("tvm.tirx.script.parser.entry", "tvm.script.parser.ir.entry")

_lock = threading.RLock()


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
