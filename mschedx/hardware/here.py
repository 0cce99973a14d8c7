"""Whether this machine runs what is compiled for a CPU target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mschedx import compat

from . import host
from .tables import ANY_CPU
from .targets import llvm_features

if TYPE_CHECKING:
    from tvm.target import Target

_INSTRUCTION_SETS = (
    *("sse", "avx", "fma", "f16c", "xop", "amx", "bmi", "lzcnt", "popcnt", "movbe"),
    *("neon", "dotprod", "fullfp16", "i8mm", "bf16", "sve", "sme"),
)
"""How features of LLVM begin that are instructions; others say what is fast."""
_NO_INSTRUCTIONS = ("sse-unaligned-mem",)


def other_architecture(target: Target) -> str:
    """Say that the code of a CPU target cannot be loaded here; empty where it can.

    Parameters
    ----------
    target : Target
        Of any kind; of others than ``llvm`` nothing is said.
    """
    if target.kind.name != "llvm" or compat.same_architecture(target):
        return ""
    return f"the target is for {compat.architecture_of(target)}, which this machine is not"


def lacking(target: Target) -> tuple[str, ...]:
    """Instruction sets, as LLVM calls them, that a CPU target has and this machine's CPU has not.

    Parameters
    ----------
    target : Target
        Of others than CPUs of this architecture nothing is known, nor where LLVM does not know
        this machine's CPU.
    """
    from tvm.target import Target

    cpu = host.system_cpu()
    if target.kind.name != "llvm" or other_architecture(target) or cpu in ANY_CPU:
        return ()
    here = llvm_features(str(Target({"kind": "llvm", "mcpu": cpu})))
    missing = llvm_features(str(target)) - here
    sets = (name for name in missing if name.startswith(_INSTRUCTION_SETS))
    return tuple(sorted(name for name in sets if name not in _NO_INSTRUCTIONS))


def lacking_here(target: Target) -> str:
    """Say what `lacking` found; empty where that is nothing."""
    missing = lacking(target)
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    names = ", ".join(missing[:3]) + more
    return f"this CPU ({host.system_cpu()}) lacks {names} of the target's" if missing else ""


def notes_on_machine(target: Target) -> tuple[str, ...]:
    """What a run that measures on this machine says where it is less than the target."""
    notes: list[str] = []
    if missing := lacking_here(target):
        notes.append(f"{missing}: programs that use them crash here")
    asked = int(target.attrs.get("num-cores", 0)) if target.kind.name == "llvm" else 0
    usable = compat.available_cores()
    if asked > usable:
        notes.append(
            f"the target has {asked} cores and this process may use {usable}: trials are measured "
            f"on {usable}"
        )
    return tuple(notes)
