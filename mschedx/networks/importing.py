"""Bring a network to Relax: an ``nn.Module``, an ``ExportedProgram``, an ONNX file or a module."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from mschedx.kernel import Parameter

from .errors import DynamicShape, NetworkError
from .signature import Signature, positional


@dataclass(frozen=True)
class Imported:
    """A network as Relax, and where it came from.

    Parameters
    ----------
    mod : IRModule
        One Relax function "main" of operators; weights are constants.
    signature : Signature
    reference : callable or None
        The framework's own way from tensors to flat outputs, as NumPy arrays; None where there is
        none.
    changed : callable
        Names of the weights that are no longer what they were at import.
    name : str
        For readers.
    """

    mod: tvm.IRModule
    signature: Signature
    reference: Callable[[list[Any]], list[Any]] | None
    changed: Callable[[], list[str]]
    name: str


def import_network(model: Any, example_inputs: Any = None, *, fix_shapes: bool = False) -> Imported:
    """Import a network.

    Parameters
    ----------
    model : nn.Module, ExportedProgram, IRModule, or path of an ONNX file
    example_inputs : tensor, tuple or dict, optional
        What it is called with: positional arguments as a tuple (or a single tensor), keyword
        arguments as a dict. An ``nn.Module`` needs them.
    fix_shapes : bool
        Give dynamic dimensions the sizes of the example inputs.

    Raises
    ------
    TypeError
        For anything else.
    NetworkError
        For a module in training mode, dynamic shapes, and operators that TVM does not know.
    FileNotFoundError
        For an ONNX file that is not there.
    """
    if isinstance(model, tvm.IRModule):
        return _relax(model, example_inputs, fix_shapes)
    if isinstance(model, str | os.PathLike):
        from .onnx import import_onnx

        return _relax(import_onnx(Path(model)), example_inputs, fix_shapes, Path(model).stem)
    if type(model).__module__.startswith("onnx"):
        from .onnx import import_proto

        return _relax(import_proto(model), example_inputs, fix_shapes, "onnx")
    from .exported import import_exported, import_torch, is_exported, is_module

    if is_exported(model):
        return import_exported(model, example_inputs, fix_shapes=fix_shapes)
    if is_module(model):
        return import_torch(model, example_inputs, fix_shapes=fix_shapes)
    raise TypeError(
        "expected a torch.nn.Module, an ExportedProgram, a Relax IRModule, or the path of an ONNX "
        f"file, got {type(model).__name__}"
    )


def _relax(
    mod: tvm.IRModule, example_inputs: Any, fix_shapes: bool, name: str = "relax"
) -> Imported:
    functions = {g.name_hint: f for g, f in mod.functions.items() if isinstance(f, relax.Function)}
    if "main" not in functions:
        raise NetworkError(
            'expected a Relax module with a function "main", got the Relax functions '
            f"{', '.join(sorted(functions)) or 'none'}; tune a single PrimFunc with mschedx.tune"
        )
    arguments = as_call(example_inputs)
    if arguments[1]:
        raise NetworkError(
            "a Relax or ONNX network takes its inputs by position: pass example_inputs as a tuple"
        )
    fixed = fixed_shapes(mod, list(arguments[0]), fix_shapes)
    single = not isinstance(fixed["main"].ret_ty, relax.TupleType)
    signature = positional(parameters(fixed["main"]), single=single)
    return Imported(fixed, signature, None, list, name)


def as_call(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of ``example_inputs``."""
    if example_inputs is None:
        return (), {}
    if isinstance(example_inputs, dict):
        return (), dict(example_inputs)
    if isinstance(example_inputs, tuple | list):
        return tuple(example_inputs), {}
    return (example_inputs,), {}


def fixed_shapes(mod: tvm.IRModule, tensors: list[Any], fix: bool) -> tvm.IRModule:
    """Return the module with constant shapes.

    Raises
    ------
    DynamicShape
        If a parameter of "main" has a symbolic dimension and `fix` is False.
    NetworkError
        If the example inputs do not say how large it is.
    """
    found: dict[Any, Any] = {}
    dimensions = []
    for place, parameter in enumerate(mod["main"].params):
        for axis, extent in enumerate(_extents(parameter)):
            if isinstance(extent, tvm.tirx.IntImm):
                continue
            dimensions.append(f"{parameter.name}[{axis}] = {extent}")
            known = place < len(tensors) and axis < len(tensors[place].shape)
            if isinstance(extent, tvm.tirx.Var):
                size = int(tensors[place].shape[axis]) if known else None
                found[str(extent.name)] = found.get(str(extent.name)) or size
    if not dimensions:
        return mod
    if not fix:
        raise DynamicShape(dimensions)
    missing = [name for name, size in found.items() if size is None]
    if missing or not found:
        raise NetworkError(
            f"fix_shapes=True needs example_inputs that say how large {', '.join(missing)} is; "
            f"the dynamic dimensions are {', '.join(dimensions)}"
        )
    return relax.transform.BindSymbolicVars(found, "main")(mod)


def parameters(func: relax.Function) -> tuple[Parameter, ...]:
    """Describe what a Relax function takes.

    Raises
    ------
    NetworkError
        For a parameter that is no tensor.
    """
    found = []
    for parameter in func.params:
        extents = _extents(parameter)
        dtype = getattr(parameter.ty, "dtype", None)
        if dtype is None:
            raise NetworkError(
                f"expected tensors as the inputs of the network, got {parameter.name}: "
                f"{parameter.ty}; bind it as a constant first"
            )
        shape = tuple(int(extent) for extent in extents)
        found.append(Parameter(str(parameter.name), str(dtype), shape, written=False))
    return tuple(found)


def _extents(parameter: Any) -> list[Any]:
    shape = getattr(parameter.ty, "shape", None)
    return [] if shape is None else list(getattr(shape, "values", shape))
