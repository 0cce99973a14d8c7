"""Build and register tensor intrinsics without TVMScript's parser.

A decorated ``@T.prim_func`` walks the call stack and every loaded module, which makes TVM's own
intrinsics take many seconds to import. The IR builder underneath it takes a fraction of a
millisecond a function, so a description and an implementation are plain Python here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from tvm.s_tir import TensorIntrin
from tvm.script.ir_builder import IRBuilder
from tvm.tirx import PrimFunc
from tvm.tirx.script import builder

# Its annotations ask for expressions where Python numbers are meant, so it goes unchecked.
T: Any = builder


def prim_func(emit: Callable[[], None]) -> PrimFunc:
    """Run ``emit``, which states arguments and body with the IR builder, as one function.

    Parameters
    ----------
    emit : Callable[[], None]
        Declares the arguments with ``T.arg`` and writes the body.

    Returns
    -------
    PrimFunc
        The function, with S-TIR semantics (no buffer layouts).
    """
    with IRBuilder() as ir, T.prim_func(s_tir=True):
        T.func_name("main")
        emit()
    return cast(PrimFunc, ir.get())


def register_once(name: str, make: Callable[[], tuple[PrimFunc, PrimFunc]]) -> None:
    """Register the intrinsic ``name`` unless it is registered already.

    Parameters
    ----------
    name : str
        A name of our own; TVM's names are never overridden.
    make : Callable[[], tuple[PrimFunc, PrimFunc]]
        Builds (description, implementation); not called when the name exists.

    Raises
    ------
    ValueError
        If ``name`` does not start with ``mschedx_``.
    """
    if not name.startswith("mschedx_"):
        raise ValueError(f"expected an intrinsic name starting with 'mschedx_', got {name!r}")
    if TensorIntrin.get(name, allow_missing=True) is None:
        TensorIntrin.register(name, *make(), override=False)
