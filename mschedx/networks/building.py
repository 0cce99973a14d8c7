"""Compile a network whose functions are scheduled, on all cores.

LLVM works on one module at a time, and TVM puts all functions into one. Here the functions are
dealt out to a module for each core, compiled side by side (TVM and LLVM run outside the
interpreter lock), and imported by the network. An exported library holds them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import tvm
from tvm import relax, tirx
from tvm.target import Target

from mschedx import compat

_FEWEST = 4
"""Functions of a module that is worth a thread."""

_CONFIG = {"tirx.disable_assert": True}
"""Functions called by a network need not check their arguments: it was compiled with them."""


def executable(mod: tvm.IRModule, target: Target) -> relax.VMExecutable:
    """Compile a network whose functions are scheduled.

    Parameters
    ----------
    mod : IRModule
        A Relax function "main" that calls PrimFuncs.
    target : Target
    """
    passes = [
        relax.transform.ToNonDataflow(),
        relax.transform.RemovePurityChecking(),
        relax.transform.CallTIRRewrite(),
        *relax.pipeline.finalize_passes(target),
    ]
    with _context(), target:
        lowered = tvm.transform.Sequential(passes)(mod)
    parts = _dealt(lowered, target)
    libraries = _built(parts, target)
    if libraries:
        lowered = _without(lowered, parts).with_attr(
            "external_mods", [*_external(lowered), *libraries]
        )
    with _context():
        found = tvm.compile(lowered, target, relax_pipeline=tvm.transform.Sequential([]))
    assert isinstance(found, relax.VMExecutable)
    return found


def _context() -> tvm.transform.PassContext:
    return tvm.transform.PassContext(opt_level=3, config=_CONFIG)


def _dealt(mod: tvm.IRModule, target: Target) -> list[tvm.IRModule]:
    """The functions to be compiled in threads, by module; none where that does not pay.

    One stays with the network: where TVM compiles none with it, it takes the result for one that
    has to be linked anew before it runs. Options of LLVM are the whole process's while they hold,
    so a target that sets some has its functions compiled one after the other.
    """
    if target.kind.name != "llvm" or target.attrs.get("cl-opt", None):
        return []
    functions = sorted(
        ((place, func) for place, func in mod.functions.items() if isinstance(func, tirx.PrimFunc)),
        key=lambda one: one[0].name_hint,
    )
    count = min(compat.available_cores(), len(functions) // _FEWEST)
    if count < 2:
        return []
    return [tvm.IRModule(dict(functions[1:][start::count])) for start in range(count)]


def _built(parts: Sequence[tvm.IRModule], target: Target) -> list[tvm.runtime.Module]:
    """Compile every module in a thread, down to machine code where that can run here."""
    here = compat.same_architecture(target)

    def build(part: tvm.IRModule) -> tvm.runtime.Module:
        with _context():
            library = tvm.tirx.build(part, target=target)
        if here:  # LLVM emits a module's code when a function of it is first asked for
            first = next(iter(part.functions.values()))
            library.get_function(str(first.attrs["global_symbol"]))
        return library

    if not parts:
        return []
    with ThreadPoolExecutor(len(parts), "mschedx-building") as threads:
        return list(threads.map(build, parts))


def _without(mod: tvm.IRModule, parts: Sequence[tvm.IRModule]) -> tvm.IRModule:
    apart = {place.name_hint for part in parts for place in part.functions}
    kept = {p: func for p, func in mod.functions.items() if p.name_hint not in apart}
    return tvm.IRModule(kept, attrs=mod.attrs)


def _external(mod: tvm.IRModule) -> list[tvm.runtime.Module]:
    """Modules that the network imports already."""
    return list((mod.attrs or {}).get("external_mods", None) or [])
