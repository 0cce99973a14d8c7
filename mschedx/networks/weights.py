"""Weights that are a network's own, whatever becomes of those that were handed over.

TVM's importer binds tensors of torch where they lie, and the virtual machine computes with them
there. A network whose weights are written to afterwards would compute with what rewrites have
copied and with what they have not: with neither the old weights nor the new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator


def import_owned(exported: Any, converters: dict[str, Callable[..., Any]]) -> tvm.IRModule:
    """Import a decomposed program of torch with copies of its weights as constants.

    Parameters
    ----------
    exported : torch.export.ExportedProgram
    converters : dict
        As ``custom_convert_map`` of TVM's ``from_exported_program``.
    """
    import torch
    from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

    class Importer(ExportedProgramImporter):
        def __init__(self) -> None:
            super().__init__()
            self._copies: dict[int, tuple[Any, Any]] = {}

        # A static method of the importer's, which it calls by way of itself.
        def _convert_pytorch_tensor_to_tvm(  # pyright: ignore[reportIncompatibleMethodOverride]
            self, tensor: torch.Tensor
        ) -> Any:
            if id(tensor) not in self._copies:  # with its original: no other takes the id
                self._copies[id(tensor)] = tensor, _copy_of(tensor)
            return self._copies[id(tensor)][1]

    return Importer().from_exported_program(exported, False, False, False, converters)


def _copy_of(tensor: Any) -> Any:
    """A tensor of torch in memory of its own, as TVM wants it: contiguous, on 64 bytes, here."""
    import torch

    dense = tensor.detach() if tensor.layout == torch.strided else tensor.detach().to_dense()
    own = torch.empty(dense.shape, dtype=dense.dtype, device="cpu").copy_(dense)
    return tvm.runtime.from_dlpack(own)


def own_constants(mod: tvm.IRModule) -> tvm.IRModule:
    """Give a Relax module copies of its constants; one that is read in two places stays one."""
    rewriter = _OwnConstants(mod)
    owned = {
        place: rewriter.visit_expr(func) if isinstance(func, relax.Function) else func
        for place, func in mod.functions_items()
    }
    return tvm.IRModule(owned, attrs=mod.attrs)


@mutator
class _OwnConstants(PyExprMutator):
    def __init__(self, mod: tvm.IRModule) -> None:
        super().__init__(mod)
        self.copies: dict[Any, Any] = {}

    def visit_generic_const_(self, op: Any) -> Any:
        value = op.value
        if not isinstance(value, tvm.runtime.Tensor):
            return op
        key = value.data_ptr(), str(value.dtype), tuple(value.shape)
        if key not in self.copies:
            copy = tvm.runtime.empty(value.shape, str(value.dtype), value.device)
            value.copyto(copy)
            self.copies[key] = tvm.ir.GenericConst(copy, op.ty)
        return self.copies[key]
