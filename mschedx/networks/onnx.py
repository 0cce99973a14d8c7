"""Networks from ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tvm

from mschedx.error_text import last_line

from .errors import NetworkError, UnsupportedOperators

_INSTEAD = "split the file there, tune what comes before and after, and run them elsewhere"


def import_onnx(path: Path) -> tvm.IRModule:
    """Read an ONNX file as a Relax module with its weights bound.

    Raises
    ------
    FileNotFoundError
    NetworkError
        For a file that is no ONNX model, or where the onnx package is missing.
    UnsupportedOperators
        For operators, and uses of them, that TVM does not know.
    """
    if not path.exists():
        raise FileNotFoundError(f"expected the path of an ONNX file, got {str(path)!r}: not there")
    onnx = _package()
    try:
        proto = onnx.load(str(path))
    except Exception as error:  # whatever protobuf raises
        raise NetworkError(f"expected an ONNX model, got {str(path)!r}: {error}") from error
    return import_proto(proto)


def import_proto(proto: Any) -> tvm.IRModule:
    """Import an ``onnx.ModelProto``."""
    _package()
    from tvm.relax.frontend.onnx import from_onnx

    try:
        mod = from_onnx(proto, keep_params_in_input=False)
    except Exception as error:  # the importer's, of any kind
        raise UnsupportedOperators(*_unsupported(error), instead=_INSTEAD) from error
    return mod


def _unsupported(error: Exception) -> tuple[list[str], str]:
    """The operators that the importer names, and its reason where it names none."""
    last = last_line(error)
    _, found, listed = last.partition("not supported for frontend ONNX: ")
    return (sorted(listed.split(", ")), "") if found else ([], last[:300])


def _package() -> Any:
    try:
        import onnx  # pyright: ignore[reportMissingImports]  # optional
    except ImportError:
        raise NetworkError("reading ONNX files needs the onnx package: pip install onnx") from None
    return onnx
