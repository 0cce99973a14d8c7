"""Warnings that point at the line of a user's that called this package, however deep it warns.

Between that line and the warning lie frames of this package, of TVM and torch, which call it back,
and of what Python itself puts in between, such as a ``with`` statement's; and not always as many.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import inspect
import os
import sys
import threading
import warnings
from pathlib import Path
from types import ModuleType

_LIBRARIES = ("tvm", "tvm_ffi", "torch")
_PYTHONS_OWN = (concurrent.futures, contextlib, functools, threading)
_NO_FILES = ("<eval_with_key>", "<frozen ")
"""How those of code begin that torch has generated, and of Python's own that lies in no file."""


def warn_user(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is neither this package's nor a library's.

    Where there is none, as in a thread of this package's own, the warning points here.

    Parameters
    ----------
    text : str
    category : type of Warning
    """
    between = (*_files_between(), *_NO_FILES)
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(between):
        frame = frame.f_back
    if frame is None:
        warnings.warn(text, category, stacklevel=1)
        return
    warnings.warn_explicit(
        text,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        frame.f_globals.get("__name__"),
        frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _files_between() -> list[str]:
    """How the file names of frames begin that are passed over."""
    loaded = [sys.modules[name] for name in _LIBRARIES if name in sys.modules]
    return [_place(sys.modules[__name__.partition(".")[0]]), *map(_place, (*loaded, *_PYTHONS_OWN))]


def _place(module: ModuleType) -> str:
    """A package's folder, or the file of a module."""
    file = str(module.__file__)
    return f"{Path(file).parent}{os.sep}" if hasattr(module, "__path__") else file
