"""Whether a compiled network computes what the framework does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.runtime import device_from_target
from tvm.target import Target

from mschedx import compat
from mschedx.error_text import first_line
from mschedx.hardware import lacking_here, other_architecture
from mschedx.measure.provenance import Provenance
from mschedx.measure.reference import precision, quick
from mschedx.measure.timing import numpy_dtype
from mschedx.measure.tolerance import Difference, compare

from .arrays import tensor_of
from .assembly import compiled
from .choices import Choice, Origin
from .importing import Imported
from .machines import flat, machine_of
from .provenance import output_provenances, unread_provenances
from .signature import Signature
from .tasks import Tasks, called_functions

LOOSE = 0.1
"""A tolerance of which more would let wrong outputs pass."""


@dataclass(frozen=True)
class Check:
    """How a network's output compares.

    Parameters
    ----------
    done : bool
        Whether anything was compared.
    wrong : bool
        Whether an output differs by more than rounding explains.
    max_error, tolerance : float
        Of the output that is nearest to its tolerance; NaN where nothing was compared.
    reason : str
        Why it is wrong, or was not compared.
    """

    done: bool
    wrong: bool
    max_error: float
    tolerance: float
    reason: str

    @classmethod
    def nothing(cls, reason: str = "") -> Check:
        """Nothing was compared."""
        return cls(False, False, math.nan, math.nan, reason)

    @property
    def right(self) -> bool:
        """Whether the outputs were compared, and none found wrong."""
        return self.done and not self.wrong

    def said(self, whose: str) -> list[str]:
        """What is to be noted of it; nothing where it is right.

        Parameters
        ----------
        whose : str
            Output it was compared with: ``"torch's"``.
        """
        if self.right:
            return []
        what = f"is not {whose}" if self.wrong else "could not be compared"
        return [f"the network's output {what}: {self.reason}"]

    def fields(self) -> dict[str, Any]:
        """What a result keeps of it, by the names of its fields."""
        return {
            "verified": self.right,
            "wrong": self.reason if self.wrong else "",
            "max_error": self.max_error,
            "tolerance": self.tolerance,
        }


@dataclass(frozen=True)
class Reference:
    """Inputs of a check, and what the outputs should be.

    Parameters
    ----------
    fused : IRModule
        The network, for the tolerance.
    arrays : list of array
        Random inputs, integers as in the examples.
    outputs : callable
        Gives the outputs as arrays, computed once; raises where there are none for these inputs.
    provenances : tuple of Provenance
        Of the outputs.
    positive : Reference or None
        The same for floats above 0, for networks that make most others NaN or infinite.
    """

    fused: tvm.IRModule
    arrays: list[np.ndarray]
    outputs: Callable[[], list[Any]]
    provenances: tuple[Provenance, ...]
    positive: Reference | None = None


def reference_of(
    imported: Imported, fused: tvm.IRModule, tasks: Tasks, target: Target, seed: int
) -> Reference:
    """Run the framework in a thread of its own, so that the network is compiled meanwhile.

    Where it came from no framework, the reference is the network as it was before scheduling,
    compiled and run when it is asked for.
    """
    arrays = random_arrays(imported.signature, np.random.default_rng(seed))
    above = random_arrays(imported.signature, np.random.default_rng(seed), low=0.1)
    follows = output_provenances(fused)
    if imported.reference is None or why_not_here(target):
        first, second = (
            cache(partial(_unscheduled, fused, tasks, given, target)) for given in (arrays, above)
        )
        return Reference(fused, arrays, first, follows, Reference(fused, above, second, follows))
    second = cache(partial(_by_framework, imported.reference, above))
    apart = ThreadPoolExecutor(1, "mschedx-reference")
    outputs = apart.submit(_by_framework, imported.reference, arrays)
    apart.shutdown(wait=False)
    positive = Reference(fused, above, second, follows)
    return Reference(fused, arrays, outputs.result, follows, positive)


def check_output(reference: Reference, executable: relax.VMExecutable, target: Target) -> Check:
    """Run the network on the reference's inputs, and compare the outputs.

    Where that shows nothing, as of outputs that are NaN, on its positive inputs too.
    """
    call = partial(run, executable, reference.arrays, target)
    check = compared(call, reference.outputs, [reference.fused], target, reference.provenances)
    if check.done or reference.positive is None:
        return check
    again = check_output(reference.positive, executable, target)
    return again if again.done else check


def compared(
    network: Callable[[], list[Any]],
    reference: Callable[[], list[Any]],
    mods: Sequence[tvm.IRModule],
    target: Target,
    provenances: Sequence[Provenance] | None = None,
) -> Check:
    """Run a reference and a network, and compare their outputs.

    The reference goes first: where it refuses the inputs, kernels, which check nothing, might end
    the process.

    Parameters
    ----------
    network, reference : callable
        Give the outputs as arrays. An error of the reference is none of the network's.
    mods : sequence of IRModule
        The network, fused, for the tolerance; several where it was cut into parts.
    target : Target
        What the network runs on; nothing is compared where that is not here.
    provenances : sequence of Provenance, optional
        Of the outputs; by the dtypes of the functions when None.
    """
    if why := why_not_here(target):
        return Check.nothing(why)
    try:
        expected = reference()
    except Exception as error:  # a framework's, of any kind: what was tuned is kept
        kind = type(error).__name__
        return Check.nothing(f"the reference fails on these inputs: {kind}: {first_line(error)}")
    try:
        found = network()
    except RuntimeError as error:
        return Check(True, True, math.nan, math.nan, f"it cannot be run: {first_line(error)}")
    if provenances is None:
        provenances = unread_provenances(mods, expected)
    functions = [(func, calls) for mod in mods for _, func, calls in called_functions(mod)]
    return compare_outputs(found, expected, relative_tolerance(functions), provenances)


def relative_tolerance(functions: Iterable[tuple[tvm.tirx.PrimFunc, int]]) -> float:
    """What rounding may do to a network's output, over the largest value of the output.

    The sum, over the functions and how often one run calls each, of what
    :mod:`mschedx.measure.tolerance` allows it, tasks or not: what stays as it is rounds, too.
    Hundreds of functions of half precision may sum to more than the output itself, with which
    nothing would be wrong; beyond `LOOSE` their roundings are taken for independent, and the root
    of the sum of squares is what counts.
    """
    each = [
        (calls, precision(tvm.IRModule({"main": func})).relative_tolerance())
        for func, calls in functions
    ]
    worst = sum(calls * one for calls, one in each)
    if worst <= LOOSE:
        return worst
    return max(LOOSE, math.sqrt(sum(calls * one**2 for calls, one in each)))


def compare_outputs(
    found: list[Any], expected: list[Any], relative: float, provenances: Sequence[Provenance] = ()
) -> Check:
    """Compare outputs, arrays both, under a tolerance relative to their largest value.

    Complex numbers are compared as pairs of real ones. Where no output is shown to be wrong, one of
    which nothing is shown leaves the network unchecked: numbers where the framework has NaN, which
    maxima of TVM pass over, show nothing. Without `provenances` all integers must be equal.
    """
    if len(found) != len(expected):
        return Check(True, True, math.nan, math.nan, f"{len(found)} outputs, not {len(expected)}")
    provenances = provenances or (Provenance.EXACT,) * len(expected)
    worst, unclear = Check(True, False, 0.0, 0.0, ""), ""
    for number, (one, other, follows) in enumerate(zip(found, expected, provenances, strict=True)):
        if one.shape != other.shape:
            why = f"output {number} has shape {one.shape}, not {other.shape}"
            return Check(True, True, math.nan, math.nan, why)
        if one.dtype != other.dtype:
            why = f"output {number} is of {one.dtype}, not {other.dtype}"
            return Check(True, True, math.nan, math.nan, why)
        difference = compare(
            _reals(one), _reals(other), relative, provenance=follows, passes_nan=True
        )
        why = f"output {number}: {difference.reason}"
        if difference.reason and not difference.shown:
            unclear = unclear or why
        elif difference.reason:
            return Check(True, True, difference.max_error, difference.tolerance, why)
        elif _share(difference) >= _share(worst):
            worst = Check(True, False, difference.max_error, difference.tolerance, "")
    return Check.nothing(unclear) if unclear else worst


def _share(of: Check | Difference) -> float:
    """How much of its tolerance an output uses."""
    return of.max_error / of.tolerance if of.tolerance else 0.0


def _reals(array: np.ndarray) -> np.ndarray:
    """Complex numbers as pairs of real ones; any other array as it is."""
    return np.stack([array.real, array.imag]) if array.dtype.kind == "c" else array


def random_arrays(
    signature: Signature, rng: np.random.Generator, low: float = -1.0
) -> list[np.ndarray]:
    """Inputs for a check or a profile.

    Floats in [`low`, 1). Integers, which may be indices, are those of the example inputs,
    or drawn from them where the shape is another; 0 and 1 where there are none.
    """
    arrays = []
    for place, parameter in enumerate(signature.inputs):
        known = signature.examples[place] if place < len(signature.examples) else None
        if parameter.dtype.startswith(("float", "bfloat")):
            array = rng.uniform(low, 1, parameter.shape)
        elif known is None or not known.size:
            array = rng.integers(0, 2, parameter.shape)
        elif known.shape == parameter.shape:
            array = known
        else:
            array = rng.choice(known.ravel(), parameter.shape)
        arrays.append(np.array(array, numpy_dtype(parameter.dtype)))
    return arrays


def run(executable: relax.VMExecutable, arrays: list[np.ndarray], target: Target) -> list[Any]:
    """Outputs of a compiled network, as arrays."""

    def call() -> list[Any]:
        device = device_from_target(target)
        machine = machine_of(executable, device)
        outputs = machine["main"](*(tvm.runtime.tensor(array, device) for array in arrays))
        return [output.numpy() for output in flat(outputs)]

    return compat.on_cores(None, call)


def why_not_here(target: Target) -> str:
    """Why code for a target does not run in this process, which it might even end; or nothing."""
    if target.kind.name == "llvm":
        return other_architecture(target) or lacking_here(target)
    return "" if device_from_target(target).exist else "there is no such device here"


def _by_framework(call: Callable[[list[Any]], list[Any]], arrays: list[np.ndarray]) -> list[Any]:
    return call([tensor_of(array) for array in arrays])


def _unscheduled(
    fused: tvm.IRModule, tasks: Tasks, arrays: list[np.ndarray], target: Target
) -> list[Any]:
    plain = [Choice(task, quick(task.mod), Origin.UNSCHEDULED, math.inf) for task in tasks.tunable]
    return run(compiled(fused, plain, target), arrays, target)
