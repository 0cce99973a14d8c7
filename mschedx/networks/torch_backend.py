"""``torch.compile(model, backend="mschedx")``: each graph that torch captures, tuned and compiled.

Torch hands over a graph with its weights as arguments. They are taken for constants, as with its
own freezing; a call with other weights, or with weights that were written to, makes a new artefact
from the same records. There is one artefact for each combination of input shapes, up to a bound;
beyond it, and for what cannot be tuned, torch runs the graph itself, and a warning says so. Around
operators that TVM does not know the graph is cut into parts, of which torch runs theirs alone.

Processes that are given one ``work_dir`` tune in turn: the others wait for the folder, and find
what was measured in it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tvm.runtime import device_from_target

from mschedx import compat
from mschedx.hardware import lacking_here, other_architecture
from mschedx.inputs import normalize_target
from mschedx.measure.failures import MachineTrouble
from mschedx.record.errors import WorkDirInUse
from mschedx.record.lock import wait_until_free
from mschedx.user_warnings import warn_user

from .errors import NetworkError, UnsupportedOperators, reason_of
from .torch_artefacts import Artefacts, NotNow
from .torch_folder import own_folder
from .torch_options import BackendOptions
from .torch_parts import READS_NUMBERS, Called, Frozen, about_parts, assemble, cut, to_tune
from .torch_views import COMPUTES, SharedMemory, computing, views_apart
from .tuning import tune_model


def backend(
    graph: torch.fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    options: dict[str, Any] | None = None,
    mode: str | None = None,
) -> Callable[..., Any]:
    """Give a function in the place of a captured graph; it is tuned when it is first called.

    Parameters
    ----------
    graph : torch.fx.GraphModule
    example_inputs : sequence
        One for each placeholder: weights, inputs, and symbolic sizes.
    options : dict, optional
        See `BackendOptions`.
    mode : str, optional
        Torch's word for effort, of which this backend knows none.

    Raises
    ------
    ValueError, TypeError
        For options that are not known, and values that no graph could be tuned with.
    """
    if mode not in (None, "default"):
        raise ValueError(f"the mschedx backend has options but no modes, got mode={mode!r}")
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    fixed = [
        isinstance(example, torch.nn.Parameter) or _is_static(node)
        for node, example in zip(placeholders, example_inputs)
    ]
    read = BackendOptions.of(options)
    try:
        whole = views_apart(graph)
    except SharedMemory as error:
        return _Dispatch(graph, fixed, read, why_not=str(error))
    if whole is graph:
        return _Dispatch(graph, fixed, read)
    call = computing(whole)
    if call is not None:
        of = dict(zip(whole.graph.find_nodes(op="placeholder"), fixed))
        part = whole.get_submodule(COMPUTES)
        assert isinstance(part, torch.fx.GraphModule)
        dispatch = _Dispatch(part, [of.get(arg, False) for arg in call.args], read)
        whole.add_submodule(COMPUTES, Called(dispatch))
    return whole


def _is_static(node: torch.fx.Node) -> bool:
    """Whether torch marks a placeholder as a weight or buffer of a module."""
    return "_dynamo_static_input_type" in (node.meta.get("tensor_dict") or {})


class _Dispatch:
    """One captured graph: an artefact for each combination of shapes and weights.

    Parameters
    ----------
    graph : torch.fx.GraphModule
    fixed : list of bool
        Which of its arguments are weights.
    options : BackendOptions
    why_not : str
        Why there can be no artefact; empty where there can.
    """

    def __init__(
        self,
        graph: torch.fx.GraphModule,
        fixed: list[bool],
        options: BackendOptions,
        why_not: str = "",
    ) -> None:
        self._why_not = why_not
        self._graph, self._fixed, self._options = graph, fixed, options
        self._artefacts = Artefacts(
            options.max_artefacts, lambda why: self._leave("a graph", graph, why)
        )
        self._warned: set[str] = set()

    def __call__(self, *args: Any) -> Any:
        if self._why_not:
            self._leave("a graph", self._graph, self._why_not)
            return self._graph(*args)
        if _needs_gradients(args):
            self._leave(
                "a graph",
                self._graph,
                "gradients are asked for; call it under torch.no_grad() to use the artefact",
            )
            return self._graph(*args)
        weights = [arg for arg, fixed in zip(args, self._fixed) if fixed]
        inputs = [arg for arg, fixed in zip(args, self._fixed) if not fixed]
        artefact = self._artefacts.find(weights, inputs, partial(self._make, args, inputs))
        if artefact is None:
            return self._graph(*args)
        return artefact(*(value for value in inputs if isinstance(value, torch.Tensor)))

    def _make(self, args: Sequence[Any], inputs: Sequence[Any]) -> Callable[..., Any] | None:
        """Tune and compile for these inputs; None, and a warning, where that is not possible."""
        tensors = tuple(value for value in inputs if isinstance(value, torch.Tensor))
        frozen = Frozen(self._graph, self._fixed, args).eval()
        return self._or_torch("a graph", self._whole_or_parts, frozen, tensors)

    def _or_torch(
        self,
        what: str,
        make: Callable[[Frozen, tuple[torch.Tensor, ...]], Callable[..., Any]],
        module: Frozen,
        tensors: tuple[torch.Tensor, ...],
    ) -> Callable[..., Any] | None:
        """What `make` gives for a module and its inputs; None, and a warning, where it fails.

        Raises
        ------
        NotNow
            Where what failed may pass: a folder in use, a disk that is full, no linker.
        """
        try:
            return make(module, tensors)
        except NotNow:
            raise
        except (MachineTrouble, WorkDirInUse, OSError) as error:
            self._leave(what, module.graph_module, error, "torch for now")
            raise NotNow from error
        except Exception as error:  # of torch.export and of TVM's importer there are many kinds
            self._leave(what, module.graph_module, error)
            return None

    def _whole_or_parts(
        self, module: Frozen, tensors: tuple[torch.Tensor, ...]
    ) -> Callable[..., Any]:
        """Tune a graph, or what is around its unknown operators where it has some."""
        # Where nothing is given, outputs are expected where the weights are.
        places = tensors or tuple(module.buffers())
        _require_here(places, self._options.tuning.get("target"))
        try:
            return self._tuned(module, tensors)
        except UnsupportedOperators as error:
            if not error.operators:
                raise
            unknown = error
        return self._in_parts(module, tensors, unknown)

    def _tuned(self, module: torch.nn.Module, tensors: Sequence[torch.Tensor]) -> Any:
        given = self._options.work_dir
        folder = Path(own_folder(self._options.tuning) if given is None else given)
        call = partial(
            tune_model,
            module,
            tuple(tensors),
            trials_per_task=self._options.trials_per_task,
            work_dir=folder,
            **{"progress": False, **self._options.tuning},
        )
        with _turn_of(folder):
            result = self._when_free(call, folder)
        if result.interrupted:
            # Tasks that were not measured are unscheduled: nothing to go on with.
            raise KeyboardInterrupt(f"what was measured is in {result.work_dir}")
        if result.wrong:
            raise NetworkError(f"what was tuned does not compute what torch does: {result.wrong}")
        return result.compile(self._cores())

    def _cores(self) -> int:
        """How many cores kernels use: as many as torch's, whose place they take."""
        if self._options.cores is not None:
            return self._options.cores
        return min(torch.get_num_threads(), compat.available_cores())

    def _when_free(self, call: Callable[[], Any], folder: Path) -> Any:
        """What a call gives once no other process tunes into its folder.

        Raises
        ------
        WorkDirInUse
            Where one still does after ``timeout_s``.
        """
        limit_s = self._options.tuning.get("timeout_s")
        end = math.inf if limit_s is None else time.monotonic() + limit_s
        while True:
            try:
                return call()
            except WorkDirInUse as error:
                left = end - time.monotonic()
                if left > 0:
                    used = str(error).partition(";")[0]  # the rest says what else to do
                    self._warn(f"a graph waits for its folder: {used}")
                if not wait_until_free(folder, left):
                    raise

    def _in_parts(
        self, module: Frozen, tensors: tuple[torch.Tensor, ...], error: UnsupportedOperators
    ) -> Callable[..., Any]:
        """Tune the parts around unknown operators, which torch runs.

        Raises
        ------
        UnsupportedOperators
            The one given, where no part is tuned.
        """
        parts = cut(module, tensors, error.operators)
        modules = to_tune(parts, tensors)
        for name in parts.for_tvm:
            if name not in modules:
                self._leave("a part", parts.whole.get_submodule(name), READS_NUMBERS)
        made = {
            name: self._or_torch("a part", self._tuned, part, given)
            for name, (part, given) in modules.items()
        }
        tuned = {name: function for name, function in made.items() if function is not None}
        if not tuned:
            raise error
        whole = assemble(parts, tuned)
        self._warn(about_parts(error.operators, len(tuned)))
        return whole

    def _leave(
        self, what: str, graph: torch.nn.Module, why: Exception | str, to: str = "torch"
    ) -> None:
        assert isinstance(graph, torch.fx.GraphModule)
        if isinstance(why, Exception):
            why = reason_of(why)  # the rest advises this backend
        calls = [node for node in graph.graph.nodes if node.op.startswith("call")]
        first = f" beginning with {calls[0].name}" if calls else ""
        self._warn(f"{what} of {len(calls)} operators{first} is left to {to}: {why}")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            warn_user(text)


_TURNS: dict[Path, threading.Lock] = {}
"""Of folders: graphs are captured in several threads, which then need not look at locks."""


def _turn_of(folder: Path) -> AbstractContextManager[Any]:
    """Wait until no other graph of this process is tuned in a folder."""
    return _TURNS.setdefault(folder.resolve(), threading.Lock())


def _require_here(tensors: Sequence[torch.Tensor], target: Any) -> None:
    """Refuse tensors that do not lie where an artefact for a target would run, if here at all.

    Raises
    ------
    NetworkError
    """
    resolved = normalize_target(target)
    if why := other_architecture(resolved) or lacking_here(resolved):
        raise NetworkError(f"{why}; name a target of this machine in options")
    is_host, device = resolved.kind.name == "llvm", device_from_target(resolved)
    for tensor in tensors:
        place = tensor.device
        as_host = place.type == "cpu"
        if as_host != is_host or (not is_host and (place.index or 0) != device.index):
            raise NetworkError(
                f"expected inputs on {device}, where the target {resolved.kind.name} runs, got a "
                f"tensor on {place}; name the target of that device in options, or move the model"
            )


def _needs_gradients(args: Sequence[Any]) -> bool:
    return torch.is_grad_enabled() and any(
        isinstance(arg, torch.Tensor) and arg.requires_grad for arg in args
    )
