"""The jobs of verification, done in a worker: run both programs and compare their arguments."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from .argument_bounds import argument_bounds
from .provenance import Provenance, entry_of
from .reference import blocked, quick
from .timing import Bounds, numpy_dtype, random_array
from .tolerance import Difference, compare, largest_difference
from .work import choose_cuda_compiler, read_program

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target

NO_DEVICE = "no such device on this machine"


def run_reference(mod_json: str, target_json: str, seed: int, directory: str) -> str:
    """Run the unscheduled program on random arguments; path of what went in and came out.

    Long sums come out of the program that adds them up in blocks, and what the unscheduled one is
    off from that is allowed to candidates too: they may well keep its order.

    Returns
    -------
    str
        An ``.npz`` file: raw bytes ``before_i`` and ``after_i`` of each argument, and ``off_i``,
        how far the unscheduled program is off.
    """
    import tvm

    mod, target = read_program(mod_json, target_json)
    arguments, bounds = _arguments_of(mod), argument_bounds(entry_of(mod))
    rng = np.random.default_rng(seed)
    cpu = _cpu_target(target)
    built = tvm.build(quick(mod), target=cpu)
    before = _random(arguments, bounds, rng, low=-1.0)
    after = _call(built, before, tvm.cpu())
    if _finite_share(after) < 0.5:
        before = _random(arguments, bounds, rng, low=0.1)
        after = _call(built, before, tvm.cpu())
    off = [0.0] * len(after)
    better = blocked(mod)
    if better is not None:
        plain, after = after, _call(tvm.build(quick(better), target=cpu), before, tvm.cpu())
        off = [largest_difference(x, y) for x, y in zip(plain, after, strict=True)]
    os.makedirs(directory, exist_ok=True)  # a cleaner of temporary folders may have been there
    handle, path = tempfile.mkstemp(suffix=".npz", dir=directory)
    raw: dict[str, Any] = {f"before_{i}": _bytes(array) for i, array in enumerate(before)}
    raw |= {f"after_{i}": _bytes(array) for i, array in enumerate(after)}
    raw |= {f"off_{i}": np.float64(error) for i, error in enumerate(off)}
    with os.fdopen(handle, "wb") as file:
        np.savez(file, **raw)
    return path


def run_and_compare(
    mod_json: str,
    target_json: str,
    path: str,
    relative: float,
    provenances: tuple[Provenance, ...] = (),
    multiplies: bool = False,
) -> Difference:
    """Run a candidate on the arguments in `path`, compare all that came out.

    Without `provenances` all integers must be equal.

    Returns
    -------
    Difference
        Of the first argument that is shown to differ, or else of the first of which nothing is
        shown; of the one with the largest error if all agree.
    """
    import tvm

    mod, target = read_program(mod_json, target_json)
    arguments = _arguments_of(mod)
    with np.load(path) as stored:
        before = [_restore(stored[f"before_{i}"], a) for i, a in enumerate(arguments)]
        expected = [_restore(stored[f"after_{i}"], a) for i, a in enumerate(arguments)]
        off = [float(stored[f"off_{i}"]) for i in range(len(arguments))]
    device = tvm.runtime.device_from_target(target)
    if not device.exist:
        raise RuntimeError(f"{target.kind.name}: {NO_DEVICE}")
    if target.kind.name == "cuda":
        choose_cuda_compiler()
    found = _call(tvm.build(mod, target=target), before, device)
    provenances = provenances or (Provenance.EXACT,) * len(expected)
    differences = [
        compare(x, y, relative, error, provenance, multiplies=multiplies)
        for x, y, error, provenance in zip(found, expected, off, provenances, strict=True)
    ]
    reasons = sorted((d for d in differences if d.reason), key=lambda d: not d.shown)
    return reasons[0] if reasons else max(differences, key=lambda d: d.max_error)


def _arguments_of(mod: IRModule) -> list[tuple[str, tuple[int, ...]]]:
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    found = []
    for argument in ArgInfo.from_entry_func(mod, remove_preproc=False):
        _, dtype, shape = argument.as_json()
        found.append((str(dtype), tuple(int(extent) for extent in shape)))
    return found


def _random(
    arguments: list[tuple[str, tuple[int, ...]]],
    bounds: tuple[Bounds, ...],
    rng: np.random.Generator,
    low: float,
) -> list[np.ndarray]:
    bound = min((e for _, shape in arguments for e in shape if e > 1), default=1)
    return [
        random_array(dtype, shape, rng, bound, low=low, bounds=own)
        for (dtype, shape), own in zip(arguments, bounds, strict=True)
    ]


def _call(built: Any, arrays: list[np.ndarray], device: Any) -> list[np.ndarray]:
    import tvm

    tensors = [tvm.runtime.tensor(array, device=device) for array in arrays]
    built[built.entry_name](*tensors)
    device.sync()
    return [tensor.numpy() for tensor in tensors]


def _finite_share(arrays: list[np.ndarray]) -> float:
    floats = [a.astype(np.float64) for a in arrays if a.dtype.kind not in "iub"]
    if not floats:
        return 1.0
    return min(float(np.mean(np.isfinite(array))) for array in floats)


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(array.tobytes(), dtype=np.uint8)


def _restore(raw: np.ndarray, argument: tuple[str, tuple[int, ...]]) -> np.ndarray:
    dtype, shape = argument
    return raw.view(numpy_dtype(dtype)).reshape(shape).copy()


def _cpu_target(target: Target) -> Target:
    """Return `target` if it is a CPU, else this machine's CPU."""
    import tvm

    if target.kind.name == "llvm":
        return target
    cpu = dict(tvm.target.Target.from_device("cpu").export())
    return tvm.target.Target({"kind": "llvm", "num-cores": os.cpu_count() or 1, **_mcpu(cpu)})


def _mcpu(exported: dict[str, Any]) -> dict[str, str]:
    return {"mcpu": str(exported["mcpu"])} if exported.get("mcpu") else {}
