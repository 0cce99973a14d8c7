"""``tune_parts``: a network with operators that TVM does not know, tuned around them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm.error import InternalError

from mschedx.kernel import Parameter
from mschedx.report.progress import format_seconds
from mschedx.report.result_text import result_text

from .arrays import array_of
from .checking import Check, compared
from .compiled_parts import CompiledParts
from .deadline import Deadline
from .errors import DynamicShape, NetworkError, UnsupportedOperators, reason_of
from .importing import import_network, sizes_of_examples
from .progress import staged
from .result import NetworkResult, compiled, said_of_output, warn_of_changes, warn_of_wrong
from .signature import Signature
from .tuning import tune_model

if TYPE_CHECKING:
    from .exported import Program
    from .torch_parts import CutGraph


@dataclass(frozen=True, kw_only=True, repr=False)
class PartsResult:
    """What tuning the parts of a network found.

    Attributes
    ----------
    results : dict of str to NetworkResult
        The parts that are tuned, in the order of their calls; torch runs those that are wrong.
    operators : tuple of str
        What is left to torch because TVM cannot import it.
    verified : bool
        Whether the outputs for the example inputs were compared with torch's and found right.
    wrong : str
        How they differ; empty where they are right, or were not compared.
    max_error, tolerance : float
        Largest difference of an output, and the largest allowed; NaN where nothing was compared.
    notes : tuple of str
        Parts that are left to torch, and why; what else was found.
    """

    name: str
    results: dict[str, NetworkResult]
    operators: tuple[str, ...]
    notes: tuple[str, ...] = ()
    verified: bool = False
    wrong: str = ""
    max_error: float = math.nan
    tolerance: float = math.nan
    parts: CutGraph = field(repr=False)
    signature: Signature = field(repr=False)
    changed: Callable[[], list[str]] = field(repr=False, default=list)

    @property
    def latency_s(self) -> float:
        """Sum over the parts that are not torch's, seconds; what torch runs is not in it."""
        return sum(result.latency_s for result in self._right().values())

    @property
    def measured(self) -> int:
        """Trials that this call measured."""
        return sum(result.measured for result in self.results.values())

    @property
    def work_dir(self) -> Path:
        """Where the records of all parts are."""
        return next(iter(self.results.values())).work_dir

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it: parts that were not reached are torch's then."""
        return any(result.interrupted for result in self.results.values())

    def __repr__(self) -> str:
        facts = {
            name: f"{format_seconds(result.latency_s)} in {len(result.tasks)} tasks"
            for name, result in self._right().items()
        }
        facts["by torch"] = ", ".join(self.operators)
        facts["trials"] = f"{self.measured} measured"
        facts["work_dir"] = str(self.work_dir)
        found = f"{self.name}, {len(self._right())} parts tuned, output {said_of_output(self)}"
        return result_text("PartsResult", found, facts, self.notes)

    def compile(self, cores: int | None = None) -> CompiledParts:
        """Give the network as a function, called as the network itself is.

        It computes with the weights that it was tuned with, as `NetworkResult.compile` does.

        Parameters
        ----------
        cores : int, optional
            That kernels use, as for `NetworkResult.compile`. Torch has its own number.

        Warns
        -----
        UserWarning
            As `NetworkResult.compile`.
        """
        from .torch_parts import assemble

        warn_of_wrong(self.wrong)
        warn_of_changes(self.changed(), "tune_parts")
        functions = {name: compiled(result, cores) for name, result in self._right().items()}
        return CompiledParts(assemble(self.parts, functions), self.signature)

    def _right(self) -> dict[str, NetworkResult]:
        """The tuned parts that are not left to torch."""
        return {name: result for name, result in self.results.items() if not result.wrong}


def tune_parts(
    model: Any, example_inputs: Any = None, target: Any = None, **tuning: Any
) -> PartsResult | NetworkResult:
    """Tune a network around the operators that TVM cannot import, which torch goes on running.

    The network is cut at these operators and each part between them is tuned like a network, all in
    one work_dir. The whole is compared with torch's for the example inputs.

    Parameters
    ----------
    model : nn.Module or ExportedProgram
    example_inputs : tensor, tuple or dict, optional
        As `tune_model` takes them. An ``nn.Module`` needs them.
    target : Target | dict | str, optional
        This machine when None.
    tuning
        What else `tune_model` takes; ``timeout_s`` is shared by all parts, and nothing is measured
        for those that it does not reach.

    Returns
    -------
    PartsResult or NetworkResult
        The latter, of `tune_model`, where TVM knows all operators.

    Raises
    ------
    TypeError
        For a network that is not torch's: nothing could run what TVM cannot import.
    UnsupportedOperators
        Where torch's operators leave no part to tune, or the importer does not name what it misses.
    NetworkError, ValueError
        As `tune_model`.

    Examples
    --------
    >>> found = mschedx.tune_parts(model, (x,), work_dir="nets")
    >>> found.operators
    ('_fft_c2r.default', '_fft_r2c.default')
    >>> fast = found.compile()
    >>> fast(x).shape
    torch.Size([1, 64])
    """
    fix_shapes = bool(tuning.pop("fix_shapes", False))
    with staged(tuning.get("progress", True), "reading the network"):
        program = _program(model, example_inputs)
        try:
            network, unknown = program.network(), None
        except UnsupportedOperators as error:
            if not error.operators:
                raise
            network, unknown = None, error
    if network is not None:
        imported = network.fixed(sizes_of_examples(network.mod, network.tensors, fix_shapes))
        return tune_model(imported, None, target, **tuning)
    assert unknown is not None
    if not fix_shapes:
        _require_constant_shapes(program)
    return _around(program, unknown, target, tuning)


def _program(model: Any, example_inputs: Any) -> Program:
    from .exported import export_module, is_exported, is_module, program_of

    if is_exported(model):
        return program_of(model, example_inputs)
    if is_module(model):
        return export_module(model, example_inputs)
    raise TypeError(
        "expected a torch.nn.Module or an ExportedProgram, since torch runs what TVM cannot "
        f"import, got {type(model).__name__}"
    )


def _require_constant_shapes(program: Program) -> None:
    """Refuse symbolic sizes: parts are cut for the example inputs'."""
    said = [
        f"{name}[{axis}] = {extent}"
        for name, shape in _input_shapes(program).items()
        for axis, extent in enumerate(shape)
        if not isinstance(extent, int)
    ]
    if said:
        raise DynamicShape(said)


def _around(
    program: Program, unknown: UnsupportedOperators, target: Any, tuning: dict[str, Any]
) -> PartsResult:
    """Cut, tune the parts, and compare the whole."""
    from .torch_parts import READS_NUMBERS, about_parts, cut, own_weights, to_tune

    tensors = program.tensors
    parts = cut(program.of_tensors().module(), tensors, unknown.operators)
    own_weights(parts, parts.for_torch)
    modules = to_tune(parts, tensors)
    left = [name for name in parts.for_tvm if name not in modules]
    results, notes = _tuned(program.name, modules, target, tuning)
    notes = [*(f"{name} is left to torch: {READS_NUMBERS}" for name in left), *notes]
    tuned = [name for name, result in results.items() if not result.wrong]
    own_weights(parts, [name for name in parts.for_tvm if name not in tuned])
    if not results:
        raise UnsupportedOperators(
            unknown.operators, "; ".join(notes), instead="run the whole network by torch"
        )
    found = PartsResult(
        name=program.name,
        results=results,
        operators=unknown.operators,
        notes=(about_parts(unknown.operators, len(tuned)), *notes),
        parts=parts,
        signature=replace(program.signature, inputs=_parameters(program)),
        changed=program.changed,
    )
    if found.interrupted or not tuning.get("verify", True):
        return found
    with staged(tuning.get("progress", True), "comparing the output"):
        check = _check(found, program)
    return replace(found, notes=(*found.notes, *check.said("torch's")), **check.fields())


def _tuned(
    name: str, modules: Mapping[str, tuple[Any, Any]], target: Any, tuning: dict[str, Any]
) -> tuple[dict[str, NetworkResult], list[str]]:
    """Tune every part, in one work_dir; a line on each that is left to torch."""
    options = dict(tuning)
    deadline = Deadline(options.pop("timeout_s", None))
    if options.get("work_dir") is None:
        options["work_dir"] = tempfile.mkdtemp(prefix="mschedx-")
    results: dict[str, NetworkResult] = {}
    notes = []
    for done, (part, (module, given)) in enumerate(modules.items()):
        try:
            # Weights are the whole's, which says whether they have changed.
            with staged(options.get("progress", True), f"reading {part}"):
                imported = import_network(module, given)
            imported = replace(imported, name=f"{name}, {part}", changed=list)
            limited = {**options, **deadline.options(part, len(modules) - done)}
            result = tune_model(imported, None, target, **limited)
        except (NetworkError, InternalError) as error:  # the latter is TVM's, when it compiles
            notes.append(f"{part} is left to torch: {reason_of(error)}")
            continue
        results[part] = result
        if result.wrong:
            notes.append(f"{part} is left to torch: it does not compute what torch does")
        notes += [f"{part}: {note}" for note in result.notes]
        if result.interrupted:
            notes.append("interrupted: the parts behind it are left to torch")
            break
    return results, [*notes, *deadline.notes]


def _parameters(program: Program) -> tuple[Parameter, ...]:
    return tuple(
        Parameter(name, str(one.dtype).removeprefix("torch."), tuple(one.shape), written=False)
        for name, one in zip(_input_shapes(program), program.tensors)
    )


def _input_shapes(program: Program) -> dict[str, tuple[Any, ...]]:
    """Shapes of the inputs that are tensors, as exported: extents may be symbolic."""
    inputs = set(program.exported.graph_signature.user_inputs)
    values = {
        node.name: node.meta.get("val")
        for node in program.exported.graph.nodes
        if node.name in inputs
    }
    return {name: tuple(one.shape) for name, one in values.items() if hasattr(one, "shape")}


def _check(found: PartsResult, program: Program) -> Check:
    """Compare with torch on the example inputs: a factorisation may not take random ones.

    Where one call draws random numbers, it draws the same ones on both sides; the order of several
    is not kept.
    """
    from .torch_parts import draws

    target = next(iter(found.results.values())).target
    if target.kind.name != "llvm":
        return Check.nothing("parts are compared on CPUs alone")
    random = draws(found.parts)
    if len(random) > 1:
        return Check.nothing(f"its parts draw random numbers, with {', '.join(random)}")

    def call() -> list[Any]:
        return [array_of(one) for one in found.compile().outputs(program.tensors)]

    mods = [result.fused for result in found.results.values()]
    reference = partial(program.reference, program.tensors)
    return compared(partial(_seeded, call), partial(_seeded, reference), mods, target)


def _seeded(call: Callable[[], list[Any]]) -> list[Any]:
    """A call with torch's generator in a known state; the user's stays as it is."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return call()
