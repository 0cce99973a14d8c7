"""Outputs of a graph that are views of its inputs or of each other: torch takes them.

A compiled network returns memory of its own. Programs of torch may write through a view, and see
the write in what it is a view of, so the views of a graph are taken of what the rest computes::

    def graph(x):                  def computes(x):        def graph(x):
        y = f(x)                       return f(x)             y = computes(x)
        return y[:2], y[2:], x[0]  →                           return y[:2], y[2:], x[0]
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx.passes.split_module import split_module
from torch.utils import _pytree as pytree

COMPUTES = "submod_0"
"""The submodule that `views_apart` makes of all but the views."""

_VIEWS = frozenset(
    (
        *("alias", "as_strided", "bfloat16", "chunk", "contiguous", "detach", "diagonal", "double"),
        *("expand", "expand_as", "flatten", "float", "getattr", "getitem", "half", "moveaxis"),
        *("movedim", "narrow", "permute", "ravel", "reshape", "reshape_as", "select", "split"),
        *("split_with_sizes", "squeeze", "swapaxes", "swapdims", "t", "tensor_split", "to"),
        *("transpose", "unbind", "unflatten", "unfold", "unsqueeze", "view", "view_as"),
    )
)
"""Functions that may return a view, and that never write."""


class SharedMemory(ValueError):
    """Outputs that share memory, and that are not known as views of one tensor."""


def views_apart(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Give a graph as one that calls what computes, and then takes the outputs that are views.

    Parameters
    ----------
    module : torch.fx.GraphModule
        As Dynamo captures it: nodes have an ``example_value``.

    Returns
    -------
    torch.fx.GraphModule
        With a submodule `COMPUTES`, unless all outputs are views of inputs; the module given where
        no outputs share memory.

    Raises
    ------
    SharedMemory
    """
    shared = _shared(module.graph)
    if not shared:
        return module
    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    views: dict[torch.fx.Node, torch.fx.Node] = {}
    output = graph.output_node()
    roots: dict[int, torch.fx.Node] = {}
    inputs = {room for node in _inputs(graph) for room in _rooms(node)}
    for node in output.all_input_nodes:
        (room,) = _rooms(node) or {0}
        if room not in shared:
            continue
        root = _root(node, room)
        foreign = room in inputs and not _is_input(root)
        if foreign or roots.setdefault(room, root) is not root or not _lies_in_order(root):
            raise SharedMemory(f"{_all_in(room, graph)} share memory, in a way that is not known")
        with graph.inserting_before(output):
            output.replace_input_with(node, _taken(node, root, views))
    for node in reversed(list(graph.nodes)):
        if not node.users and _is_view(node):
            graph.erase_node(node)
    taken = set(views.values())
    return split_module(
        torch.fx.GraphModule(module, graph), module, lambda node: int(node in taken)
    )


def _shared(graph: torch.fx.Graph) -> set[int]:
    """Memory of outputs that inputs or other outputs lie in, too."""
    seen = {room for node in _inputs(graph) for room in _rooms(node)}
    found = set()
    for node in graph.output_node().all_input_nodes:
        rooms = _rooms(node)
        found |= rooms & seen
        seen |= rooms
    return found


def _rooms(node: torch.fx.Node) -> set[int]:
    """Which memory the tensors of a node lie in; empty for numbers."""
    values = pytree.tree_leaves(node.meta.get("example_value"))
    tensors = (one for one in values if isinstance(one, torch.Tensor))
    return {one.untyped_storage()._cdata for one in tensors if one.layout == torch.strided}


def _root(node: torch.fx.Node, room: int) -> torch.fx.Node:
    """The tensor that a node is a view of, through functions that are known."""
    root = node
    while _is_view(node):
        sources = [one for one in node.all_input_nodes if room in _rooms(one)]
        if not sources:
            break
        node = sources[0]
        if isinstance(node.meta.get("example_value"), torch.Tensor):
            root = node
    return root


def _is_input(node: torch.fx.Node) -> bool:
    return node.op in ("placeholder", "get_attr")


def _inputs(graph: torch.fx.Graph) -> list[torch.fx.Node]:
    return [node for node in graph.nodes if _is_input(node)]


def _is_view(node: torch.fx.Node) -> bool:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in ("call_function", "call_method") and name in _VIEWS


def _lies_in_order(root: torch.fx.Node) -> bool:
    """Whether a compiled network returns it as it lies in torch, for there to be the same views."""
    return _is_input(root) or root.meta["example_value"].is_contiguous()


def _all_in(room: int, graph: torch.fx.Graph) -> str:
    nodes = dict.fromkeys((*_inputs(graph), *graph.output_node().all_input_nodes))
    return " and ".join(node.name for node in nodes if room in _rooms(node))


def _taken(
    node: torch.fx.Node, root: torch.fx.Node, views: dict[torch.fx.Node, torch.fx.Node]
) -> torch.fx.Node:
    """A copy of what leads from a root to a view, sizes included; what computes stays there."""
    if node in views:
        return views[node]
    is_size = node.op.startswith("call") and not _rooms(node)
    if node is root or not (is_size or _rooms(node) & _rooms(root)):
        return node
    copies = {one: _taken(one, root, views) for one in node.all_input_nodes}
    views[node] = node.graph.node_copy(node, copies.__getitem__)
    return views[node]


def computing(whole: torch.fx.GraphModule) -> Any:
    """The call of `COMPUTES`; None where there is none."""
    calls = whole.graph.find_nodes(op="call_module", target=COMPUTES)
    return calls[0] if calls else None
