"""CPU targets: whether this machine runs their code, and LLVM kept from scheduling for seconds."""

from __future__ import annotations

import platform
from typing import Any

# Memory accesses of a region up to which LLVM (1000 by itself) compares each with all others.
_SCHEDULED_TOGETHER = 200
_SCHEDULER_LIMIT = "dag-maps-huge-region"


def triple_of(target: Any) -> str:
    """The triple of a CPU target, or its beginning where that is this machine's."""
    return str(target.attrs.get("mtriple", "")) or _host_architecture()


def same_architecture(target: Any) -> bool:
    """Whether a CPU target's architecture is this machine's, so that its code can be loaded.

    Parameters
    ----------
    target : tvm.target.Target
        Of kind ``llvm``; one without a triple is of this machine.
    """
    return architecture_of(target) == _host_architecture()


def architecture_of(target: Any) -> str:
    """What LLVM calls the architecture of a CPU target; this machine's where it has no triple."""
    return _named(triple_of(target).partition("-")[0])


def _host_architecture() -> str:
    return _named(platform.machine().lower())


def _named(architecture: str) -> str:
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(architecture, architecture)


def bounded_scheduling(target: Any) -> Any:
    """Return `target` with LLVM's instruction scheduler kept from taking seconds for one block.

    Twice per function LLVM compares every memory access of a straight piece of code with every
    other, in pieces of 1000 accesses. Schedules that unroll by hundreds spend most of their
    compile time there. With pieces of 200 a piece that has fewer accesses compiles to the very
    same code; a longer one to the same instructions in an order that may differ where 200
    accesses lie between them.

    Parameters
    ----------
    target : tvm.target.Target
        Returned as it is unless its kind is ``llvm``, and where it sets that limit itself.
    """
    if target.kind.name != "llvm":
        return target
    import tvm

    options = [str(option) for option in target.attrs.get("cl-opt", None) or ()]
    if any(_SCHEDULER_LIMIT in option for option in options):
        return target
    limit = f"-{_SCHEDULER_LIMIT}:uint={_SCHEDULED_TOGETHER}"
    return tvm.target.Target({**dict(target.export()), "cl-opt": [*options, limit]})
