"""Write compiled networks as shared libraries: whole, or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mschedx import compat
from mschedx.files import whole
from mschedx.hardware import other_architecture
from mschedx.measure.failures import MachineTrouble, machine_trouble

from .errors import NetworkError

if TYPE_CHECKING:
    from tvm.target import Target

_SUFFIXES = (".so", ".dll", ".dylib")


def library_path(path: str | Path) -> Path:
    """Look whether a library may be written to a path.

    Raises
    ------
    ValueError
        For another ending than a library's.
    """
    place = Path(path)
    if place.suffix not in _SUFFIXES:
        raise ValueError(
            f"expected the path of a shared library (.so, .dll, .dylib), got {str(path)!r}"
        )
    return place


def require_linker_for(target: Target) -> None:
    """Refuse to link for another architecture with a compiler that links for this machine's.

    Raises
    ------
    NetworkError
        Where none is named.
    """
    why = other_architecture(target)
    if why and not (os.environ.get("CXX") or os.environ.get("CC")):
        raise NetworkError(
            f"{why}: to write a library name a compiler that links for it in the environment, "
            f"CXX={compat.architecture_of(target)}-linux-gnu-g++"
        )


def link(executable: Any, place: Path) -> None:
    """Link a compiled network beside its place, and put it there when it is whole.

    Parameters
    ----------
    executable : relax.VMExecutable
    place : Path
        In a folder that is there.

    Raises
    ------
    OSError
        If it cannot be written; what lay there is as it was.
    MachineTrouble
        Without a compiler to link with, or where it finds no room.
    """
    _require_linker()
    with whole(place) as beside:
        try:
            executable.export_library(str(beside))
        except RuntimeError as error:  # what the linker said
            trouble = machine_trouble(error)
            if trouble is not None:
                raise MachineTrouble(trouble) from error
            said = str(error).strip()
            raise OSError(f"{place} cannot be linked: {said[:600]}") from error


def _require_linker() -> None:
    from tvm.support.cc import get_cc

    if sys.platform != "win32" and get_cc() is None:
        raise MachineTrouble(
            "expected a C++ compiler to link a library with, found none: install g++ or clang++, "
            "or name one in the environment variable CXX"
        )
