"""From whatever names a space to traced design spaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm.s_tir import Schedule, Trace
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.stmt import SBlock

from mschedx import compat

from .errors import UnsupportedTrace
from .or_as_it_is import OrAsItIs, raising, require_made_for
from .postprocs.together import with_ours
from .trace.materialize import Postprocs


def generate(
    mod: Any, target: tvm.target.Target, space: Any = None, name: str = "main"
) -> tuple[list[Schedule], tvm.IRModule, Postprocs | None]:
    """Generate the design spaces of ``mod``.

    Parameters
    ----------
    mod : tvm.IRModule or PrimFunc
    target : tvm.target.Target
    space : optional
        As :func:`mschedx.space.sketches` takes it.
    name : str
        Of the task, for the log.

    Returns
    -------
    schedules : list of Schedule
    mod : tvm.IRModule
        What the schedules' traces apply to.
    postprocs : Postprocs or None
        The generator's; None where it has none of its own.
    """
    if isinstance(space, Schedule):
        space = [space]
    if isinstance(space, (list, tuple)):
        if not space:
            raise UnsupportedTrace("expected design spaces to open, got an empty list as space=")
        return list(space), _as_module(mod), None
    kinds = None
    if space is None:
        from .target import rules_for

        kinds = compat.own_space_kinds(target)
        with compat.only_intrinsics(target, kinds):
            space = rules_for(target)
    elif isinstance(space, ms.SpaceGenerator):
        require_made_for(space, target)
        # A generator remembers the context it was last initialised with.
        space = raising(space).clone()
    require_distinct_names(_as_module(mod), space)
    with compat.only_intrinsics(target, kinds):
        context = ms.TuneContext(
            mod,
            target=target,
            space_generator=space,
            task_name=name,
            rand_state=1,
            num_threads=1,
        )
    schedules = list(context.generate_design_space())
    if not schedules:
        raise UnsupportedTrace(f"the space generator {space} made no design space for this module")
    assert context.space_generator is not None
    assert context.mod is not None
    postprocs = context.space_generator.postprocs
    own = None if postprocs is None else Postprocs(with_ours(postprocs), context)
    return schedules, context.mod, own


def require_distinct_names(mod: tvm.IRModule, space: Any = None) -> None:
    """Refuse a function of which two blocks have one name, where rules make the space.

    TVM looks blocks up by their names when it applies rules. Schedules that a user writes may do
    without.

    Raises
    ------
    UnsupportedTrace
        Which name it is, in which function.
    """
    if not isinstance(space, str | ms.space_generator.PostOrderApply | OrAsItIs | None):
        return
    for variable, function in mod.functions_items():
        if not isinstance(function, tvm.tirx.PrimFunc):
            continue
        blocks: list[Any] = []
        tvm_ffi.structural_walk(function.body, (SBlock, blocks.append))
        names = Counter(str(block.name_hint) for block in blocks)
        twice = [name for name, times in names.items() if times > 1]
        if twice:
            raise UnsupportedTrace(
                f'expected blocks of different names in "{variable.name_hint}", since rules look '
                f'them up by these; {names[twice[0]]} are called "{twice[0]}": rename all but one'
            )


def generator_of(traces: Sequence[Trace]) -> ms.SpaceGenerator:
    """Make a space generator whose design spaces are these traces, all of one function."""

    def design_spaces(schedule: Schedule) -> list[Schedule]:
        found = [schedule.copy() for _ in traces]
        for copy, trace in zip(found, traces):
            trace.apply_to_schedule(copy, remove_postproc=True)
        return found

    return ms.space_generator.ScheduleFn(design_spaces)


def shared_postprocs(
    mod: tvm.IRModule, target: tvm.target.Target, postprocs: Postprocs | Sequence[Any] | None
) -> Postprocs:
    """Prepare the postprocs that all sketches of a task use."""
    if isinstance(postprocs, Postprocs):
        return postprocs
    if postprocs is None:
        return Postprocs.of_target(mod, target)
    return Postprocs(with_ours(postprocs))


def _as_module(mod: Any) -> tvm.IRModule:
    return mod if isinstance(mod, tvm.IRModule) else tvm.IRModule({"main": mod})
