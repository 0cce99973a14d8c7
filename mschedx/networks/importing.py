"""Bring a network to Relax: an ``nn.Module``, an ``ExportedProgram``, an ONNX file or a module."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm import relax

from mschedx.kernel import Parameter

from .arrays import integers_of
from .errors import DynamicShape, NetworkError
from .rewrites.half_sums import widen_sums
from .signature import Signature, positional
from .weights import own_constants


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


@dataclass(frozen=True)
class Network:
    """A network as Relax before its shapes are known.

    Parameters
    ----------
    mod : IRModule
        As of `Imported`, but dimensions of its inputs may be symbolic.
    signature : Signature
        Without its inputs.
    tensors : list
        The example inputs that there are, in the order of the Relax function's parameters.
    reference, changed, name
        As of `Imported`.
    """

    mod: tvm.IRModule
    signature: Signature
    tensors: list[Any]
    reference: Callable[[list[Any]], list[Any]] | None
    changed: Callable[[], list[str]]
    name: str

    def fixed(self, sizes: Mapping[str, int] | None = None) -> Imported:
        """Return the network with constant shapes, its symbols replaced by ``sizes``."""
        values: dict[Any, Any] = dict(sizes or {})
        mod = relax.transform.BindSymbolicVars(values, "main")(self.mod) if values else self.mod
        inputs = parameters(mod["main"])
        examples = tuple(integers_of(tensor) for tensor in self.tensors)
        signature = replace(self.signature, inputs=inputs, examples=examples)
        return Imported(mod, signature, self.reference, self.changed, self.name)


def import_network(model: Any, example_inputs: Any = None, *, fix_shapes: bool = False) -> Imported:
    """Import a network whose shapes are constant.

    Parameters
    ----------
    model : nn.Module, ExportedProgram, IRModule, or path of an ONNX file
        An `Imported` is returned as it is.
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
    if isinstance(model, Imported):
        return model
    network = read_network(model, example_inputs)
    return network.fixed(sizes_of_examples(network.mod, network.tensors, fix_shapes))


def read_network(
    model: Any, example_inputs: Any = None, dynamic: Mapping[str, Mapping[int, Any]] | None = None
) -> Network:
    """Import a network, its shapes as they are; parameters and errors as of `import_network`.

    Parameters
    ----------
    model, example_inputs
    dynamic : mapping, optional
        For an ``nn.Module``: names of inputs to axes to ``torch.export.Dim``, whose sizes are to be
        symbolic.
    """
    if isinstance(model, tvm.IRModule):
        return _relax(own_constants(model), example_inputs)
    if isinstance(model, str | os.PathLike):
        from .onnx import import_onnx

        return _relax(import_onnx(Path(model)), example_inputs, Path(model).stem)
    if type(model).__module__.startswith("onnx"):
        from .onnx import import_proto

        return _relax(import_proto(model), example_inputs, "onnx")
    from .exported import export_module, is_exported, is_module, program_of

    if is_exported(model):
        return program_of(model, example_inputs).network()
    if is_module(model):
        return export_module(model, example_inputs, dynamic).network()
    raise TypeError(
        "expected a torch.nn.Module, an ExportedProgram, a Relax IRModule, or the path of an ONNX "
        f"file, got {type(model).__name__}"
    )


def _relax(mod: tvm.IRModule, example_inputs: Any, name: str = "relax") -> Network:
    functions = {g.name_hint: f for g, f in mod.functions.items() if isinstance(f, relax.Function)}
    if "main" not in functions:
        raise NetworkError(
            'expected a Relax module with a function "main", got the Relax functions '
            f"{', '.join(sorted(functions)) or 'none'}; tune a single PrimFunc with mschedx.tune"
        )
    arguments = as_call(example_inputs)
    require_fitting(mod["main"], arguments[0])
    if arguments[1]:
        raise NetworkError(
            "a Relax or ONNX network takes its inputs by position: pass example_inputs as a tuple"
        )
    _require_tensors(mod["main"].ret_ty, "output")
    single = not isinstance(mod["main"].ret_ty, relax.TupleType)
    mod = widen_sums(mod)
    return Network(mod, positional((), single=single), list(arguments[0]), None, list, name)


def require_fitting(func: relax.Function, examples: Sequence[Any]) -> None:
    """Refuse example inputs that are not what "main" takes; sizes that are symbolic may be any."""
    if len(examples) > len(func.params):
        raise NetworkError(
            f"expected {len(func.params)} example_inputs, as many as the network has inputs, got "
            f"{len(examples)}"
        )
    for parameter, example in zip(func.params, examples):
        if not (hasattr(example, "shape") and hasattr(example, "dtype")):
            continue
        dtype = getattr(parameter.ty, "dtype", None)
        extents = [int(n) if isinstance(n, tvm.tirx.IntImm) else n for n in _extents(parameter)]
        found, kind = list(example.shape), str(example.dtype).removeprefix("torch.")
        fits = len(found) == len(extents) and all(
            not isinstance(extent, int) or extent == have for extent, have in zip(extents, found)
        )
        if not fits or (dtype is not None and str(dtype) != kind):
            said = ", ".join(map(str, extents))
            raise NetworkError(
                f"expected an example of {parameter.name} as the network takes it, {dtype} of "
                f"shape [{said}], got {kind} of shape {found}"
            )


def _require_tensors(returned: Any, place: str) -> None:
    """Refuse outputs that are no tensors, such as shapes."""
    if isinstance(returned, relax.TupleType):
        for number, field in enumerate(returned.fields):
            _require_tensors(field, f"{place}[{number}]")
    elif not isinstance(returned, relax.TensorType):
        raise NetworkError(
            f"expected tensors as the outputs of the network, got {place}: {returned}; leave it out"
        )


def as_call(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of ``example_inputs``."""
    if example_inputs is None:
        return (), {}
    if isinstance(example_inputs, dict):
        return (), dict(example_inputs)
    if isinstance(example_inputs, tuple | list):
        return tuple(example_inputs), {}
    return (example_inputs,), {}


def sizes_of_examples(mod: tvm.IRModule, tensors: list[Any], fix: bool) -> dict[str, int]:
    """Size of every symbolic dimension in the example inputs.

    Raises
    ------
    DynamicShape
        If a parameter of "main" has a symbolic dimension and `fix` is False.
    NetworkError
        If the example inputs do not say how large it is, or differ in it, or it is no extent by
        itself.
    """
    found: dict[str, int | None] = {}
    first: dict[str, SymbolicDimension] = {}
    dimensions = symbolic_dimensions(mod)
    for dimension in dimensions:
        known = dimension.place < len(tensors)
        shape = tensors[dimension.place].shape if known else ()
        if isinstance(dimension.extent, tvm.tirx.Var):
            size = int(shape[dimension.axis]) if dimension.axis < len(shape) else None
            symbol = str(dimension.extent.name)
            before = found.get(symbol)
            if before is None:
                found[symbol], first[symbol] = size, dimension
            elif fix and size not in (None, before):
                raise NetworkError(
                    f"{symbol} is {before} in {first[symbol]} and {size} in {dimension}: give "
                    "example_inputs of one size"
                )
    said = [f"{dimension} = {dimension.extent}" for dimension in dimensions]
    if dimensions and not fix:
        raise DynamicShape(said)
    derived = [
        text
        for text, dimension in zip(said, dimensions)
        if not set(symbols_of(dimension.extent)) <= set(found)
    ]
    if derived:
        raise NetworkError(
            "fix_shapes=True reads sizes that are dimensions of an input by themselves, and "
            f"{', '.join(derived)} follows from one that is none: export the network with constant "
            "shapes instead"
        )
    missing = [name for name, size in found.items() if size is None]
    if missing:
        raise NetworkError(
            f"fix_shapes=True needs example_inputs that say how large {', '.join(missing)} is; "
            f"the dynamic dimensions are {', '.join(said)}"
        )
    return {name: size for name, size in found.items() if size is not None}


@dataclass(frozen=True)
class SymbolicDimension:
    """An input's dimension whose size is not known; as text, ``input[axis]``."""

    place: int
    name: str
    axis: int
    extent: tvm.tirx.PrimExpr

    def __str__(self) -> str:
        return f"{self.name}[{self.axis}]"


def symbolic_dimensions(mod: tvm.IRModule) -> list[SymbolicDimension]:
    """Find the dimensions of the parameters of "main" that are no constants."""
    return [
        SymbolicDimension(place, str(parameter.name), axis, extent)
        for place, parameter in enumerate(mod["main"].params)
        for axis, extent in enumerate(_extents(parameter))
        if not isinstance(extent, tvm.tirx.IntImm)
    ]


def symbols_of(extent: tvm.tirx.PrimExpr) -> dict[str, tvm.tirx.Var]:
    """Find the symbols that an extent is made of, by name."""
    found: list[tvm.tirx.Var] = []
    tvm_ffi.structural_walk(extent, (tvm.tirx.Var, found.append))
    return {str(one.name): one for one in found}


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
