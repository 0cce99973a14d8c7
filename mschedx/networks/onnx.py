"""Networks from ONNX files."""

from __future__ import annotations

import contextlib
import io
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tvm

from mschedx.error_text import last_line

from .errors import NetworkError, UnsupportedOperators

_MOST_NAMED = 8
"""Nodes that a message names."""


def import_onnx(path: Path) -> tvm.IRModule:
    """Read an ONNX file as a Relax module with its weights bound.

    Raises
    ------
    FileNotFoundError
    NetworkError
        For a file that is no ONNX model, or where the onnx package is missing.
    UnsupportedOperators
        For operators, and uses of them, that TVM does not know; the message names their nodes.
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
        # Of a node that it cannot convert it prints all operands, weights among them.
        with contextlib.redirect_stdout(io.StringIO()):
            return from_onnx(proto, keep_params_in_input=False)
    except Exception as error:  # the importer's, of any kind
        operators, why = _unsupported(error)
        nodes = [node for node in proto.graph.node if node.op_type in operators]
        if not operators and (node := _node_at(error)) is not None:
            operators, nodes = [node.op_type], [node]
        raise UnsupportedOperators(operators, why, instead=_instead(nodes)) from error


def _unsupported(error: Exception) -> tuple[list[str], str]:
    """The operators that the importer names, and its reason where it names none."""
    last = last_line(error)
    _, found, listed = last.partition("not supported for frontend ONNX: ")
    return (sorted(listed.split(", ")), "") if found else ([], last[:300])


def _node_at(error: Exception) -> Any:
    """The node that the importer was at, which its error does not name; None where it was at none.

    Of a branch, the node inside.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    nodes = (frame.f_locals.get("node") for frame in reversed(frames))
    return next((node for node in nodes if hasattr(node, "op_type")), None)


def _instead(nodes: Sequence[Any]) -> str:
    """What to do about nodes of a graph: where to split it."""
    said = [_described(node) for node in nodes[:_MOST_NAMED]]
    if len(nodes) > _MOST_NAMED:
        said.append(f"{len(nodes) - _MOST_NAMED} more")
    where = f"at {', '.join(said)}" if said else "there"
    return (
        f"split the file {where} (onnx.utils.extract_model), tune what comes before and after, "
        "and run them elsewhere"
    )


def _described(node: Any) -> str:
    """A node by its operator, its name where it has one, and what it computes."""
    name = f" {node.name!r}" if node.name else ""
    return f"{node.op_type}{name} (output {', '.join(map(repr, node.output))})"


def _package() -> Any:
    try:
        import onnx  # pyright: ignore[reportMissingImports]  # optional
    except ImportError:
        raise NetworkError("reading ONNX files needs the onnx package: pip install onnx") from None
    return onnx
