"""Sketches of a workload: its design spaces, each opened up."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import tvm
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from mschedx.told import pass_on

from .design_spaces import generate, shared_postprocs
from .errors import NOT_SEARCHABLE, EmptySpace, InvalidSchedule, UnsupportedTrace
from .sketch import Sketch
from .task import Task
from .trace.locations import MAX_COMBINATIONS
from .trace.materialize import Postprocs
from .trace.splitting import refused_somewhere, split

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.space")

_MOST_SKETCHES = 48
"""Of all design spaces of a task, which share them; each has four at least. By hand."""


def sketches(
    mod: tvm.IRModule,
    target: tvm.target.Target | dict[str, Any] | str,
    space: object = None,
) -> list[Sketch]:
    """Open up every design space of ``mod`` on ``target``, leaving out those that cannot be.

    Parameters
    ----------
    mod : tvm.IRModule or PrimFunc
        The only function of a module is called "main" in what is made of it, as by TVM's tuners.
    target : tvm.target.Target, dict or tag
    space : optional
        Our space for the target when None; otherwise an ``ms.SpaceGenerator``, its name such as
        ``"post-order-apply"``, a schedule function, or a list of traced schedules. A sketch or a
        list of them, such as :meth:`Sketch.fix` makes, is taken as it is.

    Raises
    ------
    ValueError
        For sketches of another workload or target.
    EmptySpace, InvalidSchedule, UnsupportedTrace
        When no design space can be opened, or postprocs refuse some of each; the first one's
        reason.
    TypeError
        For a list of sketches and other things.
    """
    target = target if isinstance(target, tvm.target.Target) else tvm.target.Target(target)
    given = given_sketches(space)
    if given is not None:
        mod = mod if isinstance(mod, tvm.IRModule) else tvm.IRModule({"main": mod})
        return _of_task(given, Task.of(mod, target))
    if not isinstance(space, (Schedule, list, tuple)):  # those are written for its own name
        mod = _called_main(mod)
    schedules, mod, postprocs = generate(mod, target, space)
    found, refused = [], []
    for sketch in sketches_from(schedules, mod, target, postprocs):
        error = refused_somewhere(sketch.design)
        if error is None:
            found.append(sketch)
        else:
            refused.append(error)
    if refused and not found:
        raise refused[0]
    return found


def given_sketches(space: object) -> list[Sketch] | None:
    """Return the sketches that a space consists of; None for what is no list of sketches."""
    if isinstance(space, Sketch):
        return [space]
    if not isinstance(space, (list, tuple)):
        return None
    found = [one for one in space if isinstance(one, Sketch)]
    if found and len(found) < len(space):
        other = next(one for one in space if not isinstance(one, Sketch))
        raise TypeError(f"expected a list of sketches, got a {type(other).__name__} among them")
    return found or None


def require_same_names(given: Sequence[Sketch], mod: tvm.IRModule) -> None:
    """Refuse sketches whose traces would not find their function in ``mod``.

    Functions that differ in their names only are one task, but traces name them.

    Raises
    ------
    ValueError
        What the functions are called, and how sketches are made that fit.
    """
    names = _names(mod)
    for sketch in given:
        if _names(sketch.design.mod) != names:
            raise ValueError(
                f"expected sketches of a function called {_quoted(names)}, got one whose schedule "
                f"was written for {_quoted(_names(sketch.design.mod))}: write it for a module in "
                f"which the function is called {_quoted(names)}"
            )


def _names(mod: tvm.IRModule) -> list[str]:
    return sorted(var.name_hint for var in mod.get_global_vars())


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _called_main(mod: Any) -> Any:
    """A module whose only function is called "main", as ``ms.tune_tir`` makes it; others as is."""
    if not isinstance(mod, tvm.IRModule) or len(names := _names(mod)) != 1 or names == ["main"]:
        return mod
    return tvm.IRModule({"main": mod[names[0]]})


def _of_task(given: list[Sketch], task: Task) -> list[Sketch]:
    for sketch in given:
        if sketch.task.key != task.key:
            raise ValueError(
                f"expected sketches of {task.name} for {task.target}, got one of another workload "
                f"or target, {sketch.task.name} for {sketch.task.target}: open them with "
                "mschedx.space.sketches(mod, target)"
            )
    return given


def sketches_from(
    design_spaces: Sequence[Schedule],
    mod: tvm.IRModule,
    target: tvm.target.Target,
    postprocs: Postprocs | Sequence[ms.Postproc] | None = None,
) -> list[Sketch]:
    """Open up given design spaces, as a search strategy receives them.

    A design space with compute locations becomes a sketch per combination of them, at most 16, or
    about 48 sketches in all where there are many design spaces (but 4 of each); ``describe()``
    says where some were left out. Doubtful ones (`Design.doubtful`) are still among them.

    Parameters
    ----------
    design_spaces : sequence of Schedule
        Traced schedules.
    mod : tvm.IRModule
    target : tvm.target.Target
    postprocs : sequence of ms.Postproc, optional
        Initialised ones to apply when a config is materialised; the target's when None.

    Raises
    ------
    EmptySpace, InvalidSchedule, UnsupportedTrace
        When none can be opened, the first one's reason; of some, it is logged and told.
    """
    shared = shared_postprocs(mod, target, postprocs)
    limit = min(MAX_COMBINATIONS, max(4, _MOST_SKETCHES // max(len(design_spaces), 1)))
    found: list[Sketch] = []
    refused: dict[int, EmptySpace | InvalidSchedule | UnsupportedTrace] = {}
    for index, space in enumerate(design_spaces):
        try:
            found += [Sketch(design) for design in split(space, mod, target, shared, limit)]
        except NOT_SEARCHABLE as error:
            refused[index] = error
    if refused and not found:
        raise next(iter(refused.values()))
    for index, error in refused.items():
        line = f"design space {index} is left out: {error}"
        logger.warning("%s", line)
        pass_on(line)
    return found
