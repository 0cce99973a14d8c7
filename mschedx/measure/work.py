"""The jobs that workers do. Imported by the zygote, run in its forks."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any, cast

from mschedx import compat

from .argument_bounds import argument_bounds
from .config import MeasureConfig
from .failures import MachineTrouble
from .link import link_shared
from .provenance import entry_of
from .timing import OPEN, ArgsInfo, Arguments, Bounds, Timing, time_candidate, time_single_calls
from .updates import updated_arguments

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.runtime import Module
    from tvm.target import Target

LIBRARY = "candidate.so"
_BOUNDS = "argument_bounds.json"
"""Beside the library, for a runner is shown no more of a program than its arguments' types."""

_UPDATED = "updated_arguments.json"
"""Beside it, too."""

_arguments = Arguments()


def read_program(mod_json: str, target_json: str) -> tuple[IRModule, Target]:
    """Read a module and a target that ``tvm.ir.save_json`` wrote in the parent process."""
    import tvm

    mod, target = tvm.ir.load_json(mod_json), tvm.ir.load_json(target_json)
    return cast("IRModule", mod), cast("Target", target)  # to load_json they are objects


def build_candidate(
    mod_json: str, target_json: str, directory: str, build: bytes | None, whole_blocks: bool
) -> str:
    """Compile a scheduled module and return the path of a shared library in its own directory.

    Parameters
    ----------
    mod_json, target_json : str
        What ``tvm.ir.save_json`` gave for the module and the target.
    directory : str
        Where to put the library; a directory is made in it, which is removed with the candidate
        once that is measured.
    build : bytes, optional
        A pickled function of module and target that returns the runtime module, in place of
        ``tvm.build``.
    whole_blocks : bool
        Whether LLVM schedules blocks of any length as a whole; see
        :func:`mschedx.compat.bounded_scheduling`.
    """
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    mod, target = read_program(mod_json, target_json)
    if target.kind.name == "cuda":
        choose_cuda_compiler()
    mod = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(mod)
    with target:
        built = _load_function(build)(mod, target) if build else _build(mod, target, whole_blocks)
        _compile_cuda_source(built)
    os.makedirs(directory, exist_ok=True)  # a cleaner of temporary folders may have been there
    place = tempfile.mkdtemp(dir=directory)
    path = os.path.join(place, LIBRARY)
    try:
        built.export_library(path, fcompile=link_shared, workspace_dir=place)
        for name in os.listdir(place):
            if name != LIBRARY:
                os.unlink(os.path.join(place, name))
        _write_bounds(argument_bounds(entry_of(mod)), place)
        _write_updated(updated_arguments(entry_of(mod)), place)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return path


def _write_bounds(bounds: tuple[Bounds, ...], place: str) -> None:
    if any(own != OPEN for own in bounds):
        with open(os.path.join(place, _BOUNDS), "w") as file:
            json.dump(bounds, file)


def _write_updated(updated: tuple[int, ...], place: str) -> None:
    if updated:
        with open(os.path.join(place, _UPDATED), "w") as file:
            json.dump(updated, file)


def _updated_by(path: str) -> tuple[int, ...]:
    """Which arguments a built candidate updates; none of one by another builder."""
    try:
        with open(os.path.join(os.path.dirname(path), _UPDATED)) as file:
            return tuple(json.load(file))
    except FileNotFoundError:
        return ()


def _bounds_of(path: str) -> tuple[Bounds, ...]:
    """What is known of the arguments of a built candidate; none of one by another builder."""
    try:
        with open(os.path.join(os.path.dirname(path), _BOUNDS)) as file:
            return tuple((least, most) for least, most in json.load(file))
    except FileNotFoundError:
        return ()


def _build(mod: IRModule, target: Target, whole_blocks: bool) -> Any:
    """Compile without the code that checks the caller's arguments.

    A runner makes them from the candidate's own argument types; compiling the checks takes 13 ms,
    half of the time that a small kernel takes. The kernel's code is the same.
    """
    import tvm

    if not whole_blocks:
        target = compat.bounded_scheduling(target)
    with tvm.transform.PassContext(config={"tirx.disable_assert": True}):
        return tvm.build(mod, target=target)


@functools.lru_cache(maxsize=8)
def _load_function(pickled: bytes) -> Any:
    import cloudpickle

    return cloudpickle.loads(pickled)


def _compile_cuda_source(built: Any) -> None:
    """Compile CUDA source that TVM has left as it is.

    Without a CUDA driver TVM writes the source into the artifact and compiles it where that is
    loaded. A kernel that does not compile is to fail here, as it does on a machine with a GPU.
    """
    import tvm_ffi

    if tvm_ffi.get_global_func("ffi.Module.create.cuda", allow_missing=True) is not None:
        return
    for module in built.imports:
        if module.kind == "cuda":
            tvm_ffi.get_global_func("tvm_callback_cuda_compile")(module.inspect_source())


@functools.cache
def choose_cuda_compiler() -> None:
    """Let TVM call the CUDA compiler that is installed: it asks for NVRTC even without one."""
    import importlib.util
    import shutil

    if "TVM_CUDA_COMPILE_MODE" in os.environ:
        return
    if importlib.util.find_spec("cuda") and importlib.util.find_spec("cuda.bindings"):
        os.environ["TVM_CUDA_COMPILE_MODE"] = "nvrtc"
    elif shutil.which("nvcc") or os.path.exists("/usr/local/cuda/bin/nvcc"):
        os.environ["TVM_CUDA_COMPILE_MODE"] = "nvcc"
    else:
        raise MachineTrouble(
            "no CUDA compiler: neither nvcc on PATH nor the cuda-bindings package (NVRTC). "
            "Install the CUDA toolkit or 'pip install cuda-bindings'."
        )


def run_candidate(
    path: str, device_type: str, info: ArgsInfo, config: MeasureConfig, best_s: float | None
) -> Timing:
    """Load a built candidate, run it on random arguments and time it."""
    import tvm

    device = tvm.runtime.device(device_type, 0)
    if not device.exist:
        raise RuntimeError(f"no {device_type.upper()} device on this machine")
    if not os.path.exists(path):
        raise MachineTrouble(f"the built candidate {path} is gone: who cleans up there?")
    module = cast("Module", tvm.runtime.load_module(path))  # registered as such by TVM
    bounds, updated = _bounds_of(path), _updated_by(path)
    given = functools.partial(_arguments.get, info, device, bounds, updated)
    args = given()
    # Of one that is an index every call moves it on, in the end behind the buffer.
    moves = any(bounds[place] != OPEN for place in updated) if bounds else False

    def evaluator(number: int, repeat: int) -> Any:
        flush = config.flush_cache and device_type == "cpu"
        return module.time_evaluator(
            module.entry_name,
            device,
            number=number,
            repeat=repeat,
            f_preproc="cache_flush_cpu_non_first_arg" if flush else "",
        )

    function = module[module.entry_name]
    if moves:
        return time_single_calls(function, device, args, config, given)
    return time_candidate(function, evaluator, device, args, config, best_s)
