"""An exported program of torch in operators of Relax."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tvm

from .errors import NetworkError, UnsupportedOperators


def decomposed(exported: Any) -> Any:
    """Write an exported program in torch's core operators, attention left in one piece."""
    import torch

    table = torch.export.default_decompositions()
    table.pop(torch.ops.aten.scaled_dot_product_attention.default, None)
    return exported.run_decompositions(table)


def to_relax(exported: Any) -> tvm.IRModule:
    """Translate to a Relax module with weights as constants, attention left in one piece.

    Raises
    ------
    UnsupportedOperators
    """
    import torch
    from tvm.relax.frontend.torch import from_exported_program

    with torch.no_grad(), quiet_export():
        exported = decomposed(exported)
        _require_pure(exported)
        try:
            return from_exported_program(exported, run_ep_decomposition=False)
        except (AssertionError, NotImplementedError, KeyError, ValueError) as error:
            raise UnsupportedOperators(*_unsupported(error)) from error


@contextmanager
def quiet_export() -> Iterator[None]:
    """Keep torch's warnings about its own internals off the console meanwhile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _unsupported(error: Exception) -> tuple[list[str], str]:
    """The operators that the importer names, and its reason where it names none."""
    message = str(error).strip() or repr(error)
    _, found, rest = message.partition("Unsupported function types")
    names = [name.strip(" '\"[]") for name in rest.split(",")] if found else []
    return sorted(name for name in names if name), "" if found else message[:300]


def _require_pure(exported: Any) -> None:
    """Refuse a decomposed program that writes to its inputs or buffers: TVM would leave it out."""
    graph = exported.graph_signature
    written = {**graph.buffers_to_mutate, **graph.user_inputs_to_mutate}
    if written:
        raise NetworkError(
            "expected a network that leaves its inputs and buffers as they are, got one that "
            f"writes to {', '.join(sorted(set(written.values())))}; return the new values instead"
        )
