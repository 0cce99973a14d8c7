"""``tune_buckets``: a network with dynamic shapes, tuned for some of its sizes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm.target import Target

from mschedx.kernel import Parameter
from mschedx.report.progress import format_seconds
from mschedx.report.result_text import result_text

from .arrays import tensor_of
from .bucketed import Buckets, CompiledBuckets
from .checking import Check, compared, random_arrays
from .deadline import Deadline
from .dimensions import Dimension, Shapes, dimensions_of, named_dimensions, parse_buckets
from .exported import is_module
from .importing import Network, read_network
from .machines import flat, machine_of
from .progress import staged
from .provenance import output_provenances
from .result import (
    NetworkResult,
    compiled,
    refuse_wrong,
    said_of_output,
    warn_of_changes,
    warn_of_wrong,
    written,
)
from .rewrites.pipeline import fuse
from .tuning import tune_model

MAX_BUCKETS = 64
"""Combinations of sizes that one call tunes."""


@dataclass(frozen=True, kw_only=True, repr=False)
class BucketsResult:
    """What tuning a network for several sizes found.

    Attributes
    ----------
    results : dict
        Sizes, in the order of `dimensions`, to the `NetworkResult` for them.
    dimensions : tuple of str
        Names of the dynamic dimensions, as they were asked for.
    pads : dict of str to bool
        Whether a size between two that were tuned is padded to the larger one.
    notes : tuple of str
        Why a dimension is not padded; notes of single results are theirs.
    """

    results: dict[tuple[int, ...], NetworkResult]
    buckets: Buckets
    pads: dict[str, bool]
    notes: tuple[str, ...] = ()

    @property
    def dimensions(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.buckets.dimensions)

    @property
    def measured(self) -> int:
        """Trials that this call measured."""
        return sum(result.measured for result in self.results.values())

    @property
    def work_dir(self) -> Path:
        """Where the records of all sizes are."""
        return next(iter(self.results.values())).work_dir

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it: sizes may be missing then."""
        return any(result.interrupted for result in self.results.values())

    @property
    def wrong(self) -> str:
        """For which sizes the output is wrong, and how; empty where it is for none."""
        said = {self.buckets.name(sizes): one.wrong for sizes, one in self.results.items()}
        return "; ".join(f"{name}: {why}" for name, why in said.items() if why)

    def __repr__(self) -> str:
        facts = {
            self.buckets.name(sizes): f"{format_seconds(result.latency_s)}, output "
            + said_of_output(result)
            for sizes, result in self.results.items()
        }
        padded = [name for name, pads in self.pads.items() if pads]
        facts["padded"] = ", ".join(padded) or "no dimension"
        facts["trials"] = f"{self.measured} measured"
        facts["work_dir"] = str(self.work_dir)
        return result_text("BucketsResult", f"{len(self.results)} sizes", facts, self.notes)

    def compile(self, cores: int | None = None) -> CompiledBuckets:
        """Give the network as a function of inputs of all these sizes; see `NetworkResult`."""
        warn_of_wrong(self.wrong)
        self._warn_of_changes()
        functions = {sizes: compiled(result, cores) for sizes, result in self.results.items()}
        return CompiledBuckets(functions, self.buckets, self.pads)

    def _warn_of_changes(self) -> None:
        # All sizes have the weights of one import.
        warn_of_changes(next(iter(self.results.values())).changed(), "tune_buckets")

    def export(self, folder: str | Path) -> dict[tuple[int, ...], Path]:
        """Write a shared library for each size, ``x0=8.so``; whoever loads them chooses.

        They run on half of the cores unless told otherwise, see `NetworkResult.export`.

        Raises
        ------
        NetworkError
            Where the output for a size is wrong; nothing is written then. `results` has the others.
        OSError, MachineTrouble
            If one cannot be written.

        Warns
        -----
        UserWarning
            Where weights have changed, as `NetworkResult.compile` says.
        """
        refuse_wrong(self.wrong)
        self._warn_of_changes()
        return {
            sizes: written(result, Path(folder) / f"{self.buckets.name(sizes)}.so")
            for sizes, result in self.results.items()
        }


def tune_buckets(
    model: Any,
    example_inputs: Any = None,
    buckets: Mapping[str, Iterable[int]] | None = None,
    target: Any = None,
    *,
    pad: bool | None = None,
    **tuning: Any,
) -> BucketsResult:
    """Tune a network for several sizes of its inputs; what comes back is called with any size.

    Every combination of sizes is tuned by itself, in one work_dir: a task that several sizes share
    is measured once. A size between two is computed as the larger one, with zeros behind the
    inputs, where the network computes the same then: rows of a batch do, positions of a sequence
    do if a mask hides them. Whether it does is tried, on random inputs.

    Parameters
    ----------
    model : nn.Module, ExportedProgram, Relax IRModule, or path of an ONNX file
        All but an ``nn.Module`` with dynamic shapes, all of which are named in `buckets`.
    example_inputs : tensor, tuple or dict, optional
        As `tune_model` takes them. An ``nn.Module`` needs them, and is exported with the named
        dimensions dynamic.
    buckets : mapping of str to sizes
        ``{"x[0]": (1, 8, 32)}``: input and axis, as the error about dynamic shapes names them.
        Dimensions that are one size are named by commas: ``"ids[1], mask[1]"``.
    target : Target | dict | str, optional
        This machine when None.
    pad : bool, optional
        True pads without trying, False never does.
    tuning
        What else `tune_model` takes; ``timeout_s`` is shared by all sizes, and nothing is measured
        for those that it does not reach.

    Raises
    ------
    NetworkError
        For a dimension that is not dynamic or has no sizes, and networks that cannot be imported.
    ValueError, TypeError
        For sizes that are none, and as `tune_model`.

    Examples
    --------
    >>> found = mschedx.tune_buckets(model, (x,), {"x[0]": (1, 8, 32)}, work_dir="nets")
    >>> serve = found.compile()
    >>> serve(torch.randn(5, 256)).shape
    torch.Size([5, 10])
    """
    if "fix_shapes" in tuning:
        raise TypeError("tune_buckets takes no fix_shapes: buckets say the sizes")
    asked = parse_buckets(buckets or {})
    progress = tuning.get("progress", True)
    with staged(progress, "reading the network"):
        network = _read(model, example_inputs, asked)
    dimensions = tuple(dimensions_of(network.mod, asked))
    shapes = Shapes.of_inputs(network.mod), Shapes.of_outputs(network.mod)
    made = Buckets(dimensions, *shapes)
    combinations = list(product(*(one.sizes for one in dimensions)))
    if len(combinations) > MAX_BUCKETS:
        raise ValueError(
            f"expected at most {MAX_BUCKETS} combinations of sizes, got {len(combinations)}: name "
            "fewer sizes, or call tune_buckets for some at a time, with one work_dir"
        )
    results: dict[tuple[int, ...], NetworkResult] = {}
    deadline = Deadline(tuning.pop("timeout_s", None))
    if tuning.get("work_dir") is None:
        tuning["work_dir"] = tempfile.mkdtemp(prefix="mschedx-")
    for done, sizes in enumerate(combinations):
        fixed = network.fixed(made.by_symbol(sizes))
        fixed = replace(fixed, name=f"{fixed.name} {made.name(sizes)}")
        options = {**tuning, **deadline.options(made.name(sizes), len(combinations) - done)}
        results[sizes] = tune_model(fixed, None, target, **options)
        if results[sizes].interrupted:
            break
    pads = dict.fromkeys(asked, False)
    found = BucketsResult(results=results, buckets=made, pads=pads, notes=tuple(deadline.notes))
    if found.interrupted or pad is False:
        return found
    if pad:
        return replace(found, pads=dict.fromkeys(asked, True))
    with staged(progress, "trying padded inputs"):
        return _tried(found, network, int(tuning.get("seed", 0)))


def _read(model: Any, example_inputs: Any, asked: Mapping[str, Sequence[int]]) -> Network:
    """Import with symbolic shapes; a module is exported so that they are."""
    if not is_module(model):
        return read_network(model, example_inputs)
    from torch.export import Dim

    dynamic: dict[str, dict[int, Any]] = {}
    for name in asked:
        for part, axis in named_dimensions(name):
            dynamic.setdefault(part, {})[axis] = Dim.DYNAMIC
    return read_network(model, example_inputs, dynamic)


def _tried(found: BucketsResult, network: Network, seed: int) -> BucketsResult:
    """Find out which dimensions may be padded."""
    pads: dict[str, bool] = {}
    notes: list[str] = []
    for place, dimension in enumerate(found.buckets.dimensions):
        check = _check_padding(found, network, place, dimension, seed)
        pads[dimension.name] = check is None or check.right
        if check is not None and not pads[dimension.name]:
            notes.append(
                f"{dimension.name} is not padded, only the sizes "
                f"{', '.join(map(str, dimension.sizes))} are served: {check.reason}"
            )
    return replace(found, pads=pads, notes=(*found.notes, *notes))


def _check_padding(
    found: BucketsResult, network: Network, place: int, dimension: Dimension, seed: int
) -> Check | None:
    """Compare a padded call with the framework's; None where no size would be padded."""
    tried = dimension.to_try_padded()
    if tried is None:
        return None
    dimensions = found.buckets.dimensions
    smaller, bucket = (
        tuple(size if i == place else one.sizes[-1] for i, one in enumerate(dimensions))
        for size in tried
    )
    result = found.results[bucket]
    if result.wrong:
        said = f"the output for {found.buckets.name(bucket)} is wrong by itself: {result.wrong}"
        return Check(True, True, result.max_error, result.tolerance, said)
    shapes = found.buckets.inputs(found.buckets.by_symbol(smaller))
    inputs = tuple(
        Parameter(one.name, one.dtype, shape, written=False)
        for one, shape in zip(result.signature.inputs, shapes)
    )
    arrays = random_arrays(replace(result.signature, inputs=inputs), np.random.default_rng(seed))

    def reference() -> list[Any]:
        if network.reference is not None:
            return network.reference([tensor_of(array) for array in arrays])
        return _unscheduled(network.fixed(found.buckets.by_symbol(smaller)).mod, arrays)

    def padded() -> list[Any]:
        pads = {one.name: True for one in dimensions}
        return CompiledBuckets({bucket: compiled(result)}, found.buckets, pads).outputs(arrays)

    follows = output_provenances(result.fused)
    return compared(padded, reference, [result.fused], result.target, follows)


def _unscheduled(mod: tvm.IRModule, arrays: list[np.ndarray]) -> list[Any]:
    """Outputs of a Relax network as TVM compiles it by itself, on the host."""
    host = Target("llvm")
    machine = machine_of(tvm.compile(fuse(mod, host), target=host), tvm.cpu())
    outputs = machine["main"](*map(partial(tvm.runtime.tensor, device=tvm.cpu()), arrays))
    return [output.numpy() for output in flat(outputs)]
