"""Turn what users pass into a function and a target that can be tuned, or say what is wrong."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator
from typing import Any

from tvm import IRModule, tirx
from tvm.ir import PointerType
from tvm.target import Target, list_tags

from mschedx.error_text import last_line
from mschedx.ranges import is_whole
from mschedx.user_warnings import warn_user

_UNNAMED_ARCH = "sm_50"
"""What TVM takes a GPU for that is not named where none is there to ask, one of 2014."""

_NO_ARCH = (
    'expected a cuda target with the "arch" of its GPU, since there is none here to ask: a tag '
    'such as "nvidia/nvidia-a100" or {{"kind": "cuda", "arch": "sm_80", ...}}, got {target!r}'
)

_NAMED: set[str] = set()
"""Texts of targets made here, which have said what they are for."""


def normalize_target(target: Target | dict[str, Any] | str | None) -> Target:
    """Give the target as an object that MetaSchedule can tune for.

    Parameters
    ----------
    target : Target | dict | str | None
        A target, its JSON form, a tag ("nvidia/nvidia-a100"), or None for this machine.

    Raises
    ------
    ValueError
        For the command-line form, an unknown kind, option or mcpu, a kind that cannot be tuned, an
        llvm target without ``num-cores``, and a cuda target without ``arch`` where no GPU tells it.
    """
    from mschedx.hardware import host_target

    if target is None:
        return host_target()
    if not isinstance(target, Target):
        _require_arch(target)
        target = _parse(target)
        _NAMED.add(str(target))
    elif _is_of_no_gpu(target):
        raise ValueError(_NO_ARCH.format(target=target))
    kind = target.kind.name
    if kind == "llvm":
        _require_cores(target)
        _require_known_cpu(target)
        if not target.attrs.get("mcpu", None):
            warn_user(
                "the llvm target names no mcpu, so kernels use the oldest instruction set of the "
                f'machine; on this one write "mcpu": "{_host_cpu()}"'
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
        # By its name alone TVM gives a target that no longer says which of its tags it is.
        named = isinstance(target, str) and target in (list_tags() or {})
        return Target({"tag": target} if named else target)
    except (ValueError, TypeError) as error:
        kind = target.get("kind", "(none)") if isinstance(target, dict) else target
        raise ValueError(
            f"TVM does not know this target: {last_line(error)} "
            f'Expected a kind ("llvm", "cuda"), a tag ("nvidia/nvidia-a100") or JSON '
            f'({{"kind": "llvm", "mcpu": "{_host_cpu()}", "num-cores": 2}}), got {kind!r}'
        ) from error


def _from_command_line(text: str) -> dict[str, Any]:
    """Translate ``llvm -mcpu=x -mattr=+fma,+avx2 -num-cores 2`` for the error message."""
    kind, *words = text.split()
    options: dict[str, Any] = {"kind": kind}
    while words:
        key, equals, value = words.pop(0).lstrip("-").partition("=")
        if not equals and words and not words[0].startswith("-"):
            value = words.pop(0)
        options[key] = _option(key, value) if value else True
    return options


def _option(key: str, value: str) -> Any:
    if key in ("mattr", "keys", "libs", "cl-opt"):
        return value.split(",")
    return int(value) if value.isdigit() else value


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
    if features := target.attrs.get("mattr", None):
        wanted["mattr"] = [str(feature) for feature in features]
    wanted["num-cores"] = host_cores()
    got = "no num-cores" if cores is None else f"num-cores {int(cores)}"
    raise ValueError(
        f"an llvm target needs num-cores of at least 1, the cores that kernels may use; got {got}. "
        f"For this machine: Target({json.dumps(wanted)}) or target=None"
    )


def _require_known_cpu(target: Target) -> None:
    """Refuse a CPU for which LLVM would silently generate code for any other."""
    from tvm.target import codegen

    cpu, triple = target.attrs.get("mcpu", None), target.attrs.get("mtriple", None)
    if not cpu:
        return
    triple = str(triple or codegen.llvm_get_system_triple())
    if codegen.llvm_is_valid_cpu(str(cpu), triple):
        return
    host = Target({"kind": "llvm", "mtriple": triple})
    known = [str(name) for name in codegen.llvm_get_cpu_archlist(host)]
    close = difflib.get_close_matches(str(cpu), known, 5, 0.4) or known[:5]
    raise ValueError(
        f"LLVM knows no mcpu {str(cpu)!r} for {triple}, and would generate code for a generic CPU; "
        f'close to it: {", ".join(close)}; this machine is "{_host_cpu()}"'
    )


def _require_arch(target: dict[str, Any] | str) -> None:
    """Refuse a GPU that is not named."""
    config = target
    if isinstance(target, str) and target.lstrip().startswith("{"):
        try:
            config = json.loads(target)
        except ValueError:
            return  # what is wrong with it is said where it is parsed
    named = isinstance(config, dict) and config.get("arch")
    is_cuda = config == "cuda" or (isinstance(config, dict) and config.get("kind") == "cuda")
    if is_cuda and not named and not has_gpu():
        raise ValueError(_NO_ARCH.format(target=target))


def _is_of_no_gpu(target: Target) -> bool:
    """Whether a target is as ``Target("cuda")`` makes it without a GPU; one may say so in JSON."""
    return (
        target.kind.name == "cuda"
        and not target.tag
        and str(target.attrs.get("arch", _UNNAMED_ARCH)) == _UNNAMED_ARCH
        and str(target) not in _NAMED
        and not has_gpu()
    )


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU that this process can use."""
    import tvm

    return bool(tvm.cuda().exist)


def require_device(target: Target) -> None:
    """Refuse to measure on this machine what it cannot run.

    Raises
    ------
    ValueError
        For a cuda target where there is no GPU, and a CPU of another architecture.
    """
    from mschedx.hardware import other_architecture

    if target.kind.name == "cuda" and not has_gpu():
        raise ValueError(
            f"the target {target.attrs.get('arch', '')} needs an NVIDIA GPU to measure on, and "
            "this machine shows none. Run on a machine with one, or pass a runner= that reaches "
            "one (ms.runner.RPCRunner)"
        )
    if other := other_architecture(target):
        raise ValueError(
            f"{other}: to measure pass a runner= that reaches one (ms.runner.RPCRunner) and a "
            "builder= that makes libraries for it, or ask for no trials, and configs are ranked"
        )


def normalize_mod(mod: IRModule | tirx.PrimFunc) -> IRModule:
    """Give a module with the one function to tune, named "main".

    Raises
    ------
    TypeError
        For anything but a PrimFunc or an IRModule.
    ValueError
        For a module with no or several PrimFuncs, scalar parameters, dynamic shapes, strides, and
        a function without blocks.
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
    _require_static(mod)
    _require_blocks(mod)
    # The same form that TuneContext gives it, so that stock look-ups find the records.
    named = mod.attrs and "global_symbol" in mod.attrs
    func = mod if named else mod.with_attr("global_symbol", "main")
    return IRModule({"main": func.with_attr("tirx.noalias", True)})


def _require_blocks(func: tirx.PrimFunc) -> None:
    from tvm.s_tir import Schedule

    root = func.body if type(func.body).__name__ == "SBlockRealize" else None
    if root is not None:
        schedule = Schedule(IRModule({"main": func}))
        root_rv = schedule.get_sblock(root.block.name_hint, func_name="main")
        if len(schedule.get_child_blocks(root_rv)) > 0 or root.block.name_hint != "root":
            return  # a single block that is opaque, as te.extern makes it, is the root itself
    raise ValueError(
        "the PrimFunc has no blocks, so there is nothing to schedule; it must be written with "
        "T.sblock (or te.create_prim_func) and not be lowered yet"
    )


_SCHEDULED = {
    tirx.ForKind.PARALLEL: "parallel",
    tirx.ForKind.VECTORIZED: "vectorized",
    tirx.ForKind.THREAD_BINDING: "bound to threads",
}


def scheduled_already(mod: IRModule) -> str:
    """Say which loops around blocks are parallel and so on, which no search can undo; "" if none.

    Such a function is measured as it is.
    """
    func = mod["main"]
    found = [
        f'loop "{loop.loop_var.name}" is {_SCHEDULED[loop.kind]}'
        for loop in _loops_around_blocks(func.body)
        if loop.kind in _SCHEDULED
    ]
    if not found:
        return ""
    return (
        f"the function is scheduled already ({', '.join(found[:3])}), so that there is little to "
        "search; pass it as it was before, its loops serial, and the search decides about them"
    )


def _loops_around_blocks(node: Any) -> Iterator[Any]:
    """Loops outside of all blocks but the root; what is inside belongs to the computation."""
    if isinstance(node, tirx.For):
        yield node
        yield from _loops_around_blocks(node.body)
    elif isinstance(node, tirx.SeqStmt):
        for part in node.seq:
            yield from _loops_around_blocks(part)
    elif hasattr(node, "block") and node.block.name_hint == "root":
        yield from _loops_around_blocks(node.block.body)


def _require_static(func: tirx.PrimFunc) -> None:
    for param in func.params:
        if isinstance(param.ty, PointerType):
            raise ValueError(
                f'parameter "{param.name}" is a bare pointer; tuning needs buffers with constant '
                "shapes: give it one with T.match_buffer or T.Buffer"
            )
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
        if not _is_compact(param):
            raise ValueError(
                f'buffer "{param.name}" has the strides {[str(n) for n in param.strides]}; but '
                "arrays of trials are compact: declare it without strides, where it is part of "
                "something larger with the shape of all of it"
            )


def _is_compact(buffer: Any) -> bool:
    """Whether elements may lie row after row without gaps; a variable stride may be any."""
    shape = [int(n) for n in buffer.shape]
    compact = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    constant = [getattr(stride, "value", None) for stride in buffer.strides]
    return all(stride in (None, step) for stride, step in zip(constant, compact))


def check_seconds(name: str, seconds: float | None) -> None:
    """Check a limit of time, seconds; None for none."""
    if seconds is None:
        return
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(
            f"expected {name} as seconds above 0, or None for no limit; got {seconds!r}"
        )


def check_seed(seed: int) -> int:
    """Check the seed of a run: TVM's generator wraps around beyond 31 bits."""
    if not is_whole(seed) or not 0 <= seed < 2**31:
        raise ValueError(f"expected seed as an int from 0 to 2**31 - 1, got {seed!r}")
    return int(seed)


def check_trials(trials: int, name: str = "trials") -> int:
    """Check a number of measurements."""
    if not is_whole(trials) or trials < 1:
        raise ValueError(f"expected {name} as an int of at least 1, got {trials!r}")
    return int(trials)
