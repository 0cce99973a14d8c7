"""Turn what users pass into a target that can be tuned for, or say what is wrong."""

from __future__ import annotations

import difflib
import json
from typing import Any

from tvm.target import Target, list_tags

from mschedx.error_text import last_line
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
