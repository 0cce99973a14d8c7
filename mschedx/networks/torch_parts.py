"""A graph of torch with operators that TVM does not know, cut into parts around these.

Every operator gets a level: even ones are for TVM, odd ones for torch, and no operator has a lower
level than what it reads. Operators of one level are one part, so that parts call each other in one
order. Operators on complex numbers, which TVM has not, are torch's as well::

    linear, relu │ rfft, mul (complex), irfft │ linear
        0        │            1               │   2
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx.passes.split_module import split_module

from .translation import call_text, decomposed, is_random, quiet_export

READS_NUMBERS = "it reads numbers, which may be others at the next call"
"""Why a part for TVM is none to tune."""


@dataclass(frozen=True)
class CutGraph:
    """A graph as a sequence of parts.

    Attributes
    ----------
    whole : torch.fx.GraphModule
        Calls the parts, which are submodules of it, and returns the outputs as a flat tuple.
    for_tvm, for_torch : tuple of str
        Names of the submodules, in the order of their calls.
    """

    whole: torch.fx.GraphModule
    for_tvm: tuple[str, ...]
    for_torch: tuple[str, ...]


def cut(
    module: torch.nn.Module, inputs: Sequence[torch.Tensor], unknown: Collection[str]
) -> CutGraph:
    """Cut a module where operators are unknown to TVM.

    Parameters
    ----------
    module : torch.nn.Module
        In inference mode.
    inputs : sequence of tensor
        What it is called with, for the shapes.
    unknown : collection of str
        Operators as the importer names them, ``"i0.default"``, or calls as `call_text` spells them.
    """
    with torch.no_grad(), quiet_export():
        program = decomposed(torch.export.export(module, tuple(inputs)))
        graph = program.module(check_guards=False)
    assert isinstance(graph, torch.fx.GraphModule)
    levels = _levels(graph.graph, unknown)
    whole = split_module(graph, module, lambda node: levels.get(node, 0))
    names = _renamed(whole)
    ours = {name: int(name.removeprefix("part_")) % 2 == 0 for name in names}
    return CutGraph(
        whole,
        tuple(name for name in names if ours[name]),
        tuple(name for name in names if not ours[name]),
    )


def _renamed(whole: torch.fx.GraphModule) -> list[str]:
    """Call the submodules parts, and name them in the order of their calls."""
    names = []
    for node in whole.graph.find_nodes(op="call_module", sort=True):
        given = str(node.target)
        node.target = given.replace("submod", "part")
        whole.add_submodule(node.target, whole.get_submodule(given))
        whole.delete_submodule(given)
        names.append(node.target)
    whole.recompile()
    return names


def to_tune(
    parts: CutGraph, inputs: Sequence[torch.Tensor]
) -> dict[str, tuple[Frozen, tuple[torch.Tensor, ...]]]:
    """Give every part for TVM as a module, its weights buffers of it, and what it is called with.

    Those that read numbers are left out (`READS_NUMBERS`).

    Parameters
    ----------
    parts : CutGraph
    inputs : sequence of tensor
        What the whole is called with.

    Returns
    -------
    dict
        Names, in the order of the calls.
    """
    arguments: dict[str, tuple[Any, ...]] = {}

    class Recorder(torch.fx.Interpreter):
        def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
            arguments[target] = args
            return super().call_module(target, args, kwargs)

    gpus = sorted({one.get_device() for one in inputs if one.is_cuda})
    with torch.no_grad(), torch.random.fork_rng(devices=gpus):  # the caller's numbers stay
        Recorder(parts.whole).run(*inputs)
    found = {}
    for node in parts.whole.graph.find_nodes(op="call_module", sort=True):
        name = str(node.target)
        args, fixed = arguments[name], _are_weights(node)
        if name in parts.for_tvm and all(isinstance(arg, torch.Tensor) for arg in args):
            part = parts.whole.get_submodule(name)
            assert isinstance(part, torch.fx.GraphModule)
            given = tuple(arg for arg, weight in zip(args, fixed) if not weight)
            found[name] = Frozen(part, fixed, args).eval(), given
    return found


def draws(parts: CutGraph) -> list[str]:
    """Names of the operators that draw random numbers, one for each call."""
    modules = map(parts.whole.get_submodule, parts.for_torch)
    graphs = [module.graph for module in modules if isinstance(module, torch.fx.GraphModule)]
    calls = (node for graph in graphs for node in graph.nodes if node.op == "call_function")
    return [node.target.__name__ for node in calls if is_random(node)]


def assemble(
    parts: CutGraph, functions: Mapping[str, Callable[..., Any]]
) -> Callable[..., tuple[Any, ...]]:
    """Put functions in the place of some parts; `parts` stay as they are.

    Parameters
    ----------
    parts : CutGraph
    functions : mapping of str to callable
        Names of parts to functions of what they are called with but for weights, as `to_tune` gives
        it.

    Returns
    -------
    callable
        The whole, as a function of its input tensors.
    """
    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(parts.whole.graph, {}))
    for node in graph.find_nodes(op="call_module", sort=True):
        if node.target in functions:
            weights = _are_weights(node)
            node.args = tuple(arg for arg, weight in zip(node.args, weights) if not weight)
    for node in graph.find_nodes(op="get_attr"):
        if not node.users:
            graph.erase_node(node)
    root: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            name = str(node.target)
            made = functions.get(name)
            root[name] = _attribute(parts.whole, name) if made is None else Called(made)
    return torch.fx.GraphModule(root, graph)


def own_weights(parts: CutGraph, left: Collection[str]) -> None:
    """Copy the weights that torch goes on reading, as TVM's importer copies all others.

    Parameters
    ----------
    parts : CutGraph
        Whose weights are replaced.
    left : collection of str
        Names of the parts that torch runs.
    """
    copies: dict[str, torch.Tensor] = {}
    for node in parts.whole.graph.find_nodes(op="get_attr"):
        name = str(node.target)
        if any(user.op == "output" or user.target in left for user in node.users):
            copies[name] = _attribute(parts.whole, name).detach().clone()
    for name, copy in copies.items():
        place, _, last = name.rpartition(".")
        holder = parts.whole.get_submodule(place)
        delattr(holder, last)
        holder.register_buffer(last, copy)


def _are_weights(node: torch.fx.Node) -> list[bool]:
    return [isinstance(arg, torch.fx.Node) and arg.op == "get_attr" for arg in node.args]


def _attribute(module: torch.nn.Module, name: str) -> Any:
    """An attribute by its dotted name."""
    place, _, last = name.rpartition(".")
    return getattr(module.get_submodule(place), last)


def about_parts(operators: Collection[str], count: int) -> str:
    """Say which operators are torch's, and in how many parts the rest is tuned."""
    return (
        f"the operators {', '.join(operators)} are left to torch, for TVM cannot import them; what "
        f"is around them is tuned, in {count} part" + "s" * (count != 1)
    )


class Frozen(torch.nn.Module):
    """A graph as a module of its input tensors; weights and sizes are part of it.

    Parameters
    ----------
    graph : torch.fx.GraphModule
    fixed : sequence of bool
        Which of its arguments are weights.
    args : sequence
        Arguments of a call: tensors, or sizes.
    """

    def __init__(
        self, graph: torch.fx.GraphModule, fixed: Sequence[bool], args: Sequence[Any]
    ) -> None:
        super().__init__()
        self.graph_module = graph
        self._plan: list[Any] = []
        for place, (arg, is_fixed) in enumerate(zip(args, fixed)):
            if is_fixed:
                self.register_buffer(f"weight_{place}", arg.detach())
                self._plan.append(f"weight_{place}")
            else:
                self._plan.append(None if isinstance(arg, torch.Tensor) else arg)

    def _get_name(self) -> str:
        """What torch prints for the class; here what tells graphs of one model apart."""
        nodes = self.graph_module.graph.nodes
        first = next((node.name for node in nodes if node.op.startswith("call")), None)
        return "graph" if first is None else f"graph from {first}"

    def forward(self, *tensors: torch.Tensor) -> Any:
        given = iter(tensors)
        args = []
        for planned in self._plan:
            if planned is None:
                args.append(next(given))
            else:
                args.append(getattr(self, planned) if isinstance(planned, str) else planned)
        return self.graph_module(*args)


class Called(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def _levels(graph: torch.fx.Graph, unknown: Collection[str]) -> dict[torch.fx.Node, int]:
    """Level of every operator; those of weights alone are copied, one for each level."""
    levels: dict[torch.fx.Node, int] = {}
    of_weights: set[torch.fx.Node] = set()
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        sources, foreign = node.all_input_nodes, _is_foreign(node, unknown)
        weights_alone = all(s.op == "get_attr" or s in of_weights for s in sources)
        if weights_alone and not foreign and not is_random(node):
            of_weights.add(node)
        elif _takes_apart(node):  # parts hand tensors to each other, and no tuples of them
            levels[node] = levels.get(sources[0], 0)
        else:
            least = max((levels.get(source, 0) for source in sources), default=0)
            levels[node] = least + (least % 2 != foreign)
    # What is made of weights alone belongs to every part that reads it, where it is folded.
    for node in reversed(list(graph.nodes)):
        if node in of_weights:
            first, *others = sorted({levels[user] for user in node.users if user in levels}) or [0]
            levels[node] = first
            for level in others:
                _copy_for(node, level, levels)
    return levels


def _copy_for(node: torch.fx.Node, level: int, levels: dict[torch.fx.Node, int]) -> None:
    """Let the readers of a level read a copy of their own."""
    with node.graph.inserting_after(node):
        copy = node.graph.node_copy(node, lambda source: source)
    levels[copy] = level
    for user in [user for user in node.users if levels.get(user) == level]:
        user.replace_input_with(node, copy)


def _takes_apart(node: torch.fx.Node) -> bool:
    return getattr(node.target, "__name__", "") == "getitem"


def _is_foreign(node: torch.fx.Node, unknown: Collection[str]) -> bool:
    values = [one.meta.get("val") for one in (node, *node.all_input_nodes)]
    complex_numbers = any(isinstance(v, torch.Tensor) and v.is_complex() for v in values)
    name = getattr(node.target, "__name__", "")
    return complex_numbers or name in unknown or (bool(name) and call_text(node) in unknown)
