"""Put the chosen programs in the place of a network's functions, and compile it."""

from __future__ import annotations

from collections.abc import Iterable

import tvm
from tvm import relax
from tvm.target import Target

from .building import executable
from .choices import Choice
from .rewrites.own_outputs import own_outputs
from .rewrites.pipeline import packed


def assembled(fused: tvm.IRModule, choices: Iterable[Choice]) -> tvm.IRModule:
    """The fused network with every function replaced by the program that was chosen for it."""
    mod = tvm.IRModule(dict(fused.functions_items()), attrs=fused.attrs)
    for choice in choices:
        func = choice.mod["main"]
        for name in choice.task.functions:
            place = mod.get_global_var(name)
            before = fused[name]
            scheduled = func.with_attr("tirx.is_scheduled", True).without_attr("global_symbol")
            if before.attrs is not None and "global_symbol" in before.attrs:
                scheduled = scheduled.with_attr("global_symbol", before.attrs["global_symbol"])
            mod.update_func(place, scheduled)
    return mod


def compiled(
    fused: tvm.IRModule, choices: Iterable[Choice], target: Target, *, prepack: bool = False
) -> relax.VMExecutable:
    """Compile a network with the chosen programs; its outputs are in memory of their own.

    Parameters
    ----------
    fused : IRModule
    choices : iterable of Choice
    target : Target
    prepack : bool
        Lay constant weights out, now, as the schedules ask for.
    """
    mod = assembled(fused, choices)
    if prepack:
        mod = packed(mod)
    return executable(own_outputs(mod, target), target)
