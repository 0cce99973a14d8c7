"""Turn what users pass into a function and a target that can be tuned, or say what is wrong."""

from __future__ import annotations

import json
import warnings
from typing import Any

from tvm import IRModule, tirx
from tvm.target import Target


def normalize_target(target: Target | dict[str, Any] | str | None) -> Target:
    """Give the target as an object that MetaSchedule can tune for.

    Parameters
    ----------
    target : Target | dict | str | None
        A target, its JSON form, a tag ("nvidia/nvidia-a100"), or None for this machine.

    Raises
    ------
    ValueError
        For the command-line form, an unknown kind or option, a kind that cannot be tuned, and an
        llvm target without ``num-cores``.
    """
    from mschedx.hardware import host_target

    if target is None:
        return host_target()
    if not isinstance(target, Target):
        target = _parse(target)
    kind = target.kind.name
    if kind == "llvm":
        _require_cores(target)
        if not target.attrs.get("mcpu", None):
            warnings.warn(
                "the llvm target names no mcpu, so kernels use the oldest instruction set of the "
                f'machine; on this one write "mcpu": "{_host_cpu()}"',
                stacklevel=3,
            )
    elif kind != "cuda":
        raise ValueError(f'expected a target of kind "llvm" or "cuda", got "{kind}"')
    return target


def _parse(target: dict[str, Any] | str) -> Target:
    if isinstance(target, str) and target.lstrip().startswith("{"):
        try:
            target = json.loads(target)
        except ValueError as error:
            raise ValueError(
                f"the target looks like JSON but is not: {error}; got {target!r}"
            ) from None
    if isinstance(target, str) and "-" in target and " " in target.strip():
        raise ValueError(
            f"expected a target as JSON or a tag, got the command-line form {target!r}, which this "
            f"TVM no longer reads; write {json.dumps(_from_command_line(target))}"
        )
    try:
        return Target(target)
    except (ValueError, TypeError) as error:
        kind = target.get("kind", "(none)") if isinstance(target, dict) else target
        raise ValueError(
            f"TVM does not know this target: {str(error).strip().splitlines()[-1]} "
            f'Expected a kind ("llvm", "cuda"), a tag ("nvidia/nvidia-a100") or JSON '
            f'({{"kind": "llvm", "mcpu": "{_host_cpu()}", "num-cores": 2}}), got {kind!r}'
        ) from error


def _from_command_line(text: str) -> dict[str, Any]:
    """Translate ``llvm -mcpu=x -num-cores 2`` for the error message."""
    words = text.replace("=", " ").split()
    options: dict[str, Any] = {"kind": words[0]}
    for key, value in zip(words[1::2], words[2::2]):
        options[key.lstrip("-")] = int(value) if value.isdigit() else value
    return options


def _host_cpu() -> str:
    from tvm.target import codegen

    return str(codegen.llvm_get_system_cpu())


def _require_cores(target: Target) -> None:
    from mschedx.hardware import host_cores

    cores = target.attrs.get("num-cores", None)
    if cores is not None and int(cores) >= 1:
        return
    wanted: dict[str, Any] = {
        "kind": "llvm",
        "mcpu": str(target.attrs.get("mcpu", None) or _host_cpu()),
    }
    if target.attrs.get("mattr", None):
        wanted["mattr"] = [str(m) for m in target.attrs["mattr"]]
    wanted["num-cores"] = host_cores()
    got = "no num-cores" if cores is None else f"num-cores {int(cores)}"
    raise ValueError(
        f"an llvm target needs num-cores of at least 1, the cores that kernels may use; got {got}. "
        f"For this machine: Target({json.dumps(wanted)}) or target=None"
    )


def normalize_mod(mod: IRModule | tirx.PrimFunc) -> IRModule:
    """Give a module with the one function to tune, named "main".

    Raises
    ------
    TypeError
        For anything but a PrimFunc or an IRModule.
    ValueError
        For a module with no or several PrimFuncs, a function without blocks, and dynamic shapes.
    """
    if isinstance(mod, IRModule):
        prims = {g.name_hint: f for g, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)}
        if len(prims) != 1:
            raise ValueError(
                f"expected a module with one PrimFunc, got {len(prims)} of {len(mod.functions)} "
                f"functions ({', '.join(sorted(prims)) or 'none'}); pass one PrimFunc, or tune a "
                "whole model with ms.relax_integration.tune_relax and mschedx's space, strategy, "
                "cost model, builder and runner"
            )
        mod = next(iter(prims.values()))
    if not isinstance(mod, tirx.PrimFunc):
        raise TypeError(f"expected a tirx.PrimFunc or an IRModule, got {type(mod).__name__}")
    _require_blocks(mod)
    _require_static(mod)
    # The same form that TuneContext gives it, so that stock look-ups find the records.
    if not (mod.attrs and "global_symbol" in mod.attrs):
        mod = mod.with_attr("global_symbol", "main")
    return IRModule({"main": mod.with_attr("tirx.noalias", True)})


def _require_blocks(func: tirx.PrimFunc) -> None:
    from tvm.s_tir import Schedule

    root = func.body if type(func.body).__name__ == "SBlockRealize" else None
    if root is not None:
        schedule = Schedule(IRModule({"main": func}))
        root_rv = schedule.get_sblock(root.block.name_hint, func_name="main")
        if len(schedule.get_child_blocks(root_rv)) > 0:
            return
    raise ValueError(
        "the PrimFunc has no blocks, so there is nothing to schedule; it must be written with "
        "T.sblock (or te.create_prim_func) and not be lowered yet"
    )


def _require_static(func: tirx.PrimFunc) -> None:
    for param in func.params:
        if not isinstance(param.ty, tirx.BufferType):
            raise ValueError(
                f'parameter "{param.name}" is a scalar; tuning needs functions of buffers with '
                "constant shapes: bind it with PrimFunc.specialize first"
            )
        dynamic = [d for d in param.shape if not isinstance(d, tirx.IntImm)]
        if dynamic:
            raise ValueError(
                f'buffer "{param.name}" has the dynamic shape {[str(d) for d in param.shape]}; '
                f"tuning needs constants: bind {', '.join(sorted({str(d) for d in dynamic}))} with "
                "PrimFunc.specialize, and tune each shape that matters"
            )


def check_trials(trials: int) -> int:
    """Check a budget of measurements."""
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise ValueError(f"expected trials as an int of at least 1, got {trials!r}")
    return trials
