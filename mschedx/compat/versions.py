"""Which releases of TVM and tvm-ffi fit."""

from __future__ import annotations

import functools
import importlib.metadata

TESTED_TVM = "0.27."


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
