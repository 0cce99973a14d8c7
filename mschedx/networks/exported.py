"""Networks of torch: exported, imported with their weights bound, and compared with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .arrays import array_of
from .errors import NetworkError
from .exporting import call_exported, widened
from .importing import Network, as_call, require_fitting
from .signature import Signature
from .translation import quiet_export, to_relax, without_gradients
from .watching import watch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Program:
    """A network as torch exports it, before TVM sees it.

    Parameters
    ----------
    exported : torch.export.ExportedProgram
        With the arguments of the original.
    tensors : list
        The example inputs that are tensors, in the order of the graph.
    signature, reference, changed, name
        As of `Network`.
    """

    exported: Any
    tensors: list[Any]
    signature: Signature
    reference: Callable[[list[Any]], list[Any]]
    changed: Callable[[], list[str]]
    name: str

    def of_tensors(self) -> Any:
        """The same program without arguments that are no tensors, which TVM's importer refuses."""
        return _of_tensors(self.exported, self.tensors, self.signature)

    def network(self) -> Network:
        """Translate it to Relax.

        Raises
        ------
        UnsupportedOperators
            With their names.
        NetworkError
            For programs that write to their inputs, and example inputs that are not theirs.
        """
        mod = to_relax(self.of_tensors())
        require_fitting(mod["main"], self.tensors)
        return Network(mod, self.signature, self.tensors, self.reference, self.changed, self.name)


def is_exported(model: Any) -> bool:
    """Whether it is a ``torch.export.ExportedProgram``; torch is not imported to find out."""
    return type(model).__name__ == "ExportedProgram" and type(model).__module__.startswith("torch")


def is_module(model: Any) -> bool:
    """Whether it is an ``nn.Module``."""
    return any(
        f"{c.__module__}.{c.__name__}" == "torch.nn.modules.module.Module"
        for c in type(model).__mro__
    )


def export_module(
    model: Any, example_inputs: Any, dynamic: Mapping[str, Mapping[int, Any]] | None = None
) -> Program:
    """Export a module for its example inputs.

    Parameters
    ----------
    model : nn.Module
    example_inputs : tensor, tuple or dict
    dynamic : mapping, optional
        Names of arguments that are tensors, to axes, to ``torch.export.Dim``.

    Raises
    ------
    NetworkError
        For a module in training mode, missing inputs, what torch cannot export, sizes that are to
        be dynamic and cannot be, and what `program_of` refuses.
    """
    if example_inputs is None:
        raise NetworkError(
            "expected example_inputs, which say the shapes to tune for: a tuple of tensors for "
            "positional arguments, a dict for keyword arguments"
        )
    if model.training:
        raise NetworkError(
            "expected a module in inference mode, got one whose dropout and batch norms are still "
            "training; call model.eval() first"
        )
    args, kwargs = as_call(example_inputs)
    weights = _weights_of(model)
    with without_gradients(weights.values()), quiet_export():
        exported = call_exported(model, args, kwargs, dynamic)
    more = {name: one for name, one in _weights_of(exported).items() if name not in weights}
    changed = watch(lambda: {**_weights_of(model), **more})
    return replace(program_of(exported, example_inputs), changed=changed, name=model._get_name())


def _weights_of(model: Any) -> dict[str, torch.Tensor]:
    """Parameters, buffers and other tensors of a module or an exported program, as they are now."""
    import torch

    found = (*model.named_parameters(), *model.named_buffers())
    constants = getattr(model, "constants", {}) if is_exported(model) else {}
    return {
        **{name: one for name, one in constants.items() if isinstance(one, torch.Tensor)},
        **dict(found),
    }


def program_of(exported: Any, example_inputs: Any = None) -> Program:
    """Find out how an exported program is called.

    Raises
    ------
    NetworkError
        For outputs that are neither tensors nor constants.
    """
    tensors, signature = _signature(exported, example_inputs)
    # Tensors without values, of which torch exports as well, say nothing of a device.
    places = ["cpu" if one.is_meta else one.device for one in tensors]
    reference = _reference(exported, signature, places)
    changed = watch(lambda: _weights_of(exported))
    return Program(exported, tensors, signature, reference, changed, "exported")


def _of_tensors(exported: Any, tensors: list[Any], signature: Signature) -> Any:
    """Leave out arguments and outputs that are no tensors; sizes that are dynamic stay so."""
    import torch

    if not signature.constants and not signature.returned:
        return exported

    class OfTensors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = exported.module()

        def forward(self, *given: torch.Tensor) -> Any:
            args, kwargs = _unflattened(exported, signature, list(given))
            return _returned_tensors(self.whole(*args, **kwargs), signature)

    inputs = set(exported.graph_signature.user_inputs)
    values = {node.name: node.meta.get("val") for node in exported.graph.nodes}
    found = {
        name: {
            axis: torch.export.Dim.DYNAMIC
            for axis, extent in enumerate(value.shape)
            if isinstance(extent, torch.SymInt)
        }
        for name, value in values.items()
        if name in inputs and isinstance(value, torch.Tensor)
    }
    # Torch names inputs after parameters; they keep the names that users know.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("self", *found)]
    setattr(OfTensors.forward, "__signature__", inspect.Signature(parameters))  # noqa: B010
    given = tuple(widened(tensor, axes) for tensor, axes in zip(tensors, found.values()))
    with without_gradients(exported.state_dict.values()), quiet_export():
        return torch.export.export(OfTensors(), given, dynamic_shapes=found)


def _unflattened(exported: Any, signature: Signature, tensors: list[Any]) -> Any:
    """Positional and keyword arguments of a call with these tensors."""
    from torch.utils import _pytree as pytree

    leaves = _with_constants(tensors, signature.constants)
    return pytree.tree_unflatten(leaves, exported.call_spec.in_spec)


def _with_constants(tensors: Sequence[Any], constants: Mapping[int, Any]) -> list[Any]:
    """The leaves of a call, or of what it returns, from its tensors and what is none."""
    leaves = list(tensors)
    for place, value in sorted(constants.items()):
        leaves.insert(place, value)
    return leaves


def _returned_tensors(outputs: Any, signature: Signature) -> tuple[Any, ...]:
    """What a call returns as a flat tuple, without what is no tensor."""
    from torch.utils import _pytree as pytree

    leaves = enumerate(pytree.tree_leaves(outputs))
    return tuple(leaf for place, leaf in leaves if place not in signature.returned)


def _constants_returned(exported: Any) -> dict[int, Any]:
    """Outputs that are the same for all inputs, such as None, by their place.

    Raises
    ------
    NetworkError
        For those that are neither constants nor tensors, and where there are no tensors.
    """
    from torch.export import graph_signature as kinds
    from torch.utils import _pytree as pytree

    returned = (kinds.OutputKind.USER_OUTPUT, kinds.OutputKind.LOSS_OUTPUT)
    specs = [one for one in exported.graph_signature.output_specs if one.kind in returned]
    out_spec = exported.call_spec.out_spec
    if out_spec is None or len(specs) != out_spec.num_leaves:
        raise NetworkError("expected a network whose outputs are tensors")
    whole = pytree.tree_unflatten(list(range(len(specs))), out_spec)
    paths = [f"output{pytree.keystr(path)}" for path, _ in pytree.tree_leaves_with_path(whole)]
    found: dict[int, Any] = {}
    for place, spec in enumerate(specs):
        if isinstance(spec.arg, kinds.ConstantArgument):
            found[place] = spec.arg.value
        elif not isinstance(spec.arg, kinds.TensorArgument):
            raise NetworkError(
                "expected tensors and constants as the outputs of the network, got "
                f"{paths[place]}, a number that depends on the inputs or their sizes; leave it out"
            )
    if len(found) == len(specs):
        said = ", ".join(f"{paths[place]} = {value!r}" for place, value in found.items())
        raise NetworkError(f"expected a network that returns a tensor, got {said or 'no output'}")
    return found


def _signature(exported: Any, example_inputs: Any) -> tuple[list[Any], Signature]:
    """Example tensors in the order of the graph, and the signature but for its parameters."""
    import torch
    from torch.utils import _pytree as pytree

    in_spec, out_spec = exported.call_spec.in_spec, exported.call_spec.out_spec
    if example_inputs is None:
        args, kwargs = exported.example_inputs or ((), {})
    else:
        args, kwargs = as_call(example_inputs)

    def flatten(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        ordered = {name: kwargs[name] for name in exported_names if name in kwargs}
        leaves, spec = pytree.tree_flatten((args, {**ordered, **kwargs}))
        if spec != in_spec:
            raise ValueError(f"expected the structure {in_spec}, got {spec}")
        return leaves

    exported_names = list(in_spec.children()[1].context or []) if in_spec else []
    leaves = flatten(args, kwargs)
    constants = {i: leaf for i, leaf in enumerate(leaves) if not isinstance(leaf, torch.Tensor)}
    returned = _constants_returned(exported)

    def unflatten(outputs: list[Any]) -> Any:
        return pytree.tree_unflatten(_with_constants(outputs, returned), out_spec)

    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    return tensors, Signature((), flatten, unflatten, constants, returned=returned, of_torch=True)


def _reference(
    exported: Any, signature: Signature, places: Sequence[Any]
) -> Callable[[list[Any]], list[Any]]:
    """The program as torch runs it, on the devices of its example inputs, where its weights are.

    Casts that ``torch.autocast`` makes around the call of the tuner are in what is imported. They
    are a thread's own, and the reference runs in another.
    """
    import torch

    kinds = sorted({torch.device(place).type for place in ("cpu", *places)})
    casts = {
        kind: torch.get_autocast_dtype(kind) for kind in kinds if torch.is_autocast_enabled(kind)
    }

    def run(tensors: list[Any]) -> list[Any]:
        placed = [tensor.to(place) for tensor, place in zip(tensors, places)]
        args, kwargs = _unflattened(exported, signature, placed)
        with ExitStack() as around:
            around.enter_context(torch.no_grad())
            for kind, dtype in casts.items():
                around.enter_context(torch.autocast(kind, dtype=dtype))
            outputs = exported.module()(*args, **kwargs)
        return [array_of(tensor) for tensor in _returned_tensors(outputs, signature)]

    return run
