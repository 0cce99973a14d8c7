"""An exported program of torch in operators of Relax."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import tvm

from .decompositions import decompositions
from .errors import NetworkError, UnsupportedOperators
from .operators import CONVERTERS
from .weights import import_owned

_WHOLE = (
    *("cholesky", "col2im", "inverse", "linalg_cholesky", "linalg_inv", "linalg_ldl_factor"),
    *("linalg_lu_factor", "linalg_matrix_power", "linalg_solve", "linalg_tensorinv"),
    "linalg_tensorsolve",
)
"""Operators that TVM has no pieces of; of most, the pieces hand each other tokens."""


def decomposed(exported: Any) -> Any:
    """Write an exported program in torch's core operators.

    Attention is left in one piece, and so is what TVM knows no pieces of: torch ties some together
    by tokens, with which a matrix that has no inverse is an error, and nothing else takes those.
    """
    import torch

    table = decompositions(torch.export.default_decompositions())
    for name in ("scaled_dot_product_attention", *_WHOLE):
        table.pop(getattr(torch.ops.aten, name).default, None)
    return exported.run_decompositions(table)


def to_relax(exported: Any) -> tvm.IRModule:
    """Translate to a Relax module, attention left in one piece; constants are copies of weights.

    Raises
    ------
    UnsupportedOperators
    """
    weights = (*exported.state_dict.values(), *exported.constants.values())
    with without_gradients(weights), quiet_export():
        exported = decomposed(exported)
        _require_pure(exported)
        _require_no_effects(exported)
        misread = _misread(exported)
        if misread:
            raise UnsupportedOperators(misread)
        try:
            return import_owned(exported, dict(CONVERTERS))
        except Exception as error:  # the importer's, of any kind
            operators, why = _unsupported(error)
            raise UnsupportedOperators(operators or failing_alone(exported), why) from error


def _misread(exported: Any) -> list[str]:
    """Find the calls of which the importer makes something else without a word."""
    return [call_text(node) for node in _calls(exported) if _is_misread(node)]


def _calls(exported: Any) -> Iterator[Any]:
    """The calls of a program, within branches too."""
    import torch

    for module in exported.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            yield from (node for node in module.graph.nodes if node.op == "call_function")


def _is_misread(node: Any) -> bool:
    if is_random(node):  # hands its argument on, or numbers that stay the same
        return True
    name = getattr(node.target, "__name__", "")
    if name.endswith(("_with_indices.default", "native_dropout.default")):  # one result of two
        return any(user.args[1] == 1 and user.users for user in node.users)
    if name in ("avg_pool2d.default", "avg_pool3d.default"):  # another divisor
        return len(node.args) > 6 and node.args[6] is not None
    if name == "index_put.default":  # sums from several threads at once
        return bool(node.args[3] if len(node.args) > 3 else node.kwargs.get("accumulate"))
    if name in ("pow.Tensor_Tensor", "pow.Scalar"):  # powers of integers do not compile
        return not node.meta["val"].is_floating_point()
    return name == "_upsample_bilinear2d_aa.default"  # smaller images without the smoothing


def is_random(node: Any) -> bool:
    """Whether a call draws random numbers; dropout that drops nothing does not."""
    import torch

    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    names = [argument.name for argument in node.target._schema.arguments]
    given = {argument.name: argument.default_value for argument in node.target._schema.arguments}
    given |= {**dict(zip(names, node.args)), **node.kwargs}
    if "dropout_p" in given:  # attention
        return given["dropout_p"] != 0
    if "train" in given:  # dropout, and recurrent networks with it; None is True
        return given["train"] is not False and given.get("p", given.get("dropout")) != 0
    return given.get("training") is not False  # rrelu


def failing_alone(exported: Any) -> list[str]:
    """Find the calls of a decomposed program that cannot be imported by themselves either."""
    import torch

    calls: dict[str, Any] = {}
    for node in _calls(exported):
        computes = isinstance(node.target, torch._ops.OpOverload)
        if computes and not node.target.__name__.startswith("sym_"):  # those read sizes
            calls.setdefault(call_text(node), node)
    return [text for text, node in calls.items() if not _imports_alone(node)]


def call_text(node: Any) -> str:
    """Spell a call as its operator and the shapes of what it reads: ``add.Tensor([2, 3], [3])``."""
    shapes = [list(getattr(one.meta.get("val"), "shape", ())) for one in node.all_input_nodes]
    return f"{node.target.__name__}({', '.join(map(str, shapes))})"


def _imports_alone(node: Any) -> bool:
    import torch
    from torch.utils import _pytree as pytree
    from tvm.relax.frontend.torch import from_exported_program

    leaves, spec = pytree.tree_flatten((node.args, node.kwargs))
    values = [one.meta.get("val") if isinstance(one, torch.fx.Node) else one for one in leaves]
    tensors = [torch.zeros_like(one, device="cpu") for one in values if torch.is_tensor(one)]

    class Alone(torch.nn.Module):
        def forward(self, *given: torch.Tensor) -> Any:
            left = iter(given)
            filled = [next(left) if torch.is_tensor(one) else one for one in values]
            args, kwargs = pytree.tree_unflatten(filled, spec)
            return node.target(*args, **kwargs)

    try:
        program = torch.export.export(Alone(), tuple(tensors))
        from_exported_program(
            program, run_ep_decomposition=False, custom_convert_map=dict(CONVERTERS)
        )
    except Exception:  # torch's or the importer's, of any kind: the answer is no
        return False
    return True


def without_gradients(weights: Iterable[Any]) -> Any:
    """A context in which torch keeps no gradients, and exports weights of inference mode too."""
    import torch

    tensors = (one for one in weights if isinstance(one, torch.Tensor))
    made_so = any(one.is_inference() for one in tensors)
    return torch.inference_mode() if made_so else torch.no_grad()


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


def _require_no_effects(exported: Any) -> None:
    """Refuse operators whose order torch keeps by tokens: nothing else could run them in parts."""
    found = {
        str(node.args[1])
        for node in exported.graph.nodes
        if getattr(node.target, "__name__", "") == "with_effects"
    }
    if found:
        raise UnsupportedOperators(
            (),
            f"torch runs {', '.join(sorted(found))} for its effects",
            instead="leave these out",
        )
