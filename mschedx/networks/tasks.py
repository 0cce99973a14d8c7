"""Tasks of a network: each different function once, with how often it is called."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.s_tir.stmt import SBlockRealize
from tvm.target import Target

from mschedx.inputs import normalize_mod
from mschedx.measure.timing import unfillable
from mschedx.space.task import Task


@dataclass(frozen=True)
class NetworkTask:
    """A function of a network, to be tuned.

    Parameters
    ----------
    task : Task
        Its key is the same in every network that has the function.
    mod : IRModule
        The function as "main", as :func:`mschedx.tune` takes it.
    functions : tuple of str
        What the functions of the network are called that are this one.
    weight : int
        How often one run of the network calls it, > 0.
    flops : float
        Arithmetic operations of one call.
    """

    task: Task
    mod: tvm.IRModule
    functions: tuple[str, ...]
    weight: int
    flops: float

    @property
    def key(self) -> str:
        return self.task.key

    @property
    def name(self) -> str:
        return self.task.name


@dataclass(frozen=True)
class Tasks:
    """What was cut out of a network.

    Parameters
    ----------
    tunable : tuple of NetworkTask
        The most arithmetic first.
    fixed : tuple of (str, str)
        Functions that stay as they are, and why.
    """

    tunable: tuple[NetworkTask, ...]
    fixed: tuple[tuple[str, str], ...]


def tasks_of(mod: tvm.IRModule, target: Target) -> Tasks:
    """Cut a fused network into tasks.

    Parameters
    ----------
    mod : IRModule
        A Relax function "main" that calls PrimFuncs.
    target : Target
    """
    from tvm.s_tir.analysis import estimate_tir_flops

    found: dict[str, list[Any]] = {}
    fixed: list[tuple[str, str]] = []
    for name, func, calls in called_functions(mod):
        try:
            alone = as_task(func)
        except ValueError as error:
            fixed.append((name, str(error)))
            continue
        task = Task.of(alone, target, name)
        found.setdefault(task.key, [task, alone, [], 0])
        found[task.key][2].append(name)
        found[task.key][3] += calls
    tasks = [
        NetworkTask(task, alone, tuple(names), weight, float(estimate_tir_flops(alone)))
        for task, alone, names, weight in found.values()
    ]
    tasks.sort(key=lambda one: (-one.flops * one.weight, one.name))
    return Tasks(tuple(tasks), tuple(fixed))


def as_task(func: Any) -> tvm.IRModule:
    """Give a function of a network as what is tuned: the same in all networks that have it.

    Raises
    ------
    ValueError
        If it cannot be tuned: no blocks, scheduled already, dynamic shapes, a parameter that no
        trial can be given.
    """
    if func.attrs is not None and func.attrs.get("tirx.is_scheduled", False):
        raise ValueError("the function is scheduled already")
    if not (isinstance(func.body, SBlockRealize) and func.body.block.name_hint == "root"):
        raise ValueError("the function has no root block to schedule, as a sort has none")
    mod = normalize_mod(func.with_attr("global_symbol", "main"))
    if why := unfillable(mod["main"]):
        raise ValueError(why)
    return mod


def called_functions(mod: tvm.IRModule) -> list[tuple[str, tirx.PrimFunc, int]]:
    """The PrimFuncs of a fused network, tasks or not, by name, and how often one run calls each."""
    calls = _calls(mod["main"])
    named = {str(g.name_hint): func for g, func in mod.functions.items()}
    return [
        (name, func, calls[name])
        for name, func in sorted(named.items())
        if calls[name] and isinstance(func, tirx.PrimFunc)
    ]


def _calls(main: Any) -> Counter[str]:
    """How often "main" calls each function of the module."""
    counts: Counter[str] = Counter()

    def visit(expr: Any) -> None:
        if isinstance(expr, relax.Call):
            for callee in (expr.op, *expr.args):
                if isinstance(callee, tvm.ir.GlobalVar):
                    counts[str(callee.name_hint)] += 1

    relax.analysis.post_order_visit(main, visit)
    return counts
