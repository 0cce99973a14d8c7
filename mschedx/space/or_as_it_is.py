"""A space generator whose failures cost one task, not a run of many."""

from __future__ import annotations

import logging
from typing import Any

import tvm
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.space_generator.space_generator import _PySpaceGenerator

from mschedx.error_text import last_line

from .task import canonical_json
from .trace.instructions import touch

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.space")


class OrAsItIs(_PySpaceGenerator):
    """Another generator's design spaces; where it makes none, the function as it is.

    TVM generates the spaces of all tasks before it measures any, and what is raised for one of them
    ends the run: a network would not be tuned because rules look blocks up by name and a function
    of it has two of one name. Such a task gets one design space without a decision, and a warning
    that names it and the reason.

    Parameters
    ----------
    inner : ms.SpaceGenerator
        Its rules, postprocs and mutators are this one's.
    target : tvm.target.Target
        What the rules were made for: a context for another one is refused.

    Attributes
    ----------
    inner : ms.SpaceGenerator
    target : tvm.target.Target
        Of this object as it was made; what TVM hands on has no such attributes.
    """

    __slots__ = ("__dict__", "__weakref__")

    def __init__(self, inner: ms.SpaceGenerator, target: tvm.target.Target) -> None:
        self.inner, self.target = inner, target
        # TVM keeps these callbacks: were they methods of this object, it would keep itself alive.
        spaces = _Spaces(inner, target)
        super().__init__(
            inner.sch_rules or [],
            inner.postprocs or [],
            inner.mutator_probs or {},
            spaces.initialize,
            spaces.generate,
            lambda: OrAsItIs(inner.clone(), target),
        )

    # What it does lies in callbacks that TVM's object holds, and that no copy of TVM's would have.

    def __copy__(self) -> OrAsItIs:
        return OrAsItIs(self.inner.clone(), self.target)

    def __deepcopy__(self, memo: dict[int, Any]) -> OrAsItIs:
        return self.__copy__()

    def __reduce__(self) -> Any:
        raise TypeError(
            "expected a space to be used in the process that made it, and it cannot be pickled: "
            "make it in the other process, with mschedx.space.for_target(target)"
        )


def raising(space: Any) -> Any:
    """The generator whose errors an `OrAsItIs` keeps from a run; anything else as it is.

    For callers that tune one task, or that take what is raised for one task themselves.
    """
    return space.inner if isinstance(space, OrAsItIs) else space


def require_made_for(space: Any, target: tvm.target.Target) -> None:
    """Refuse a space of ours in a run for another target than its rules were made for.

    They ask their own target for instructions, vector lengths and cores, where TVM's rules ask the
    context's.

    Raises
    ------
    ValueError
        Both targets, and what to pass.
    """
    if isinstance(space, OrAsItIs):
        _require_same(space.target, target)


def _require_same(made_for: tvm.target.Target, target: tvm.target.Target) -> None:
    found, wanted = canonical_json(made_for), canonical_json(target)
    if found != wanted:
        raise ValueError(
            f"expected a space for the target that is tuned for, {wanted}, got one that was made "
            f"for {found}: pass space=mschedx.space.for_target(target) of that target"
        )


class _Spaces:
    """What TVM calls of an `OrAsItIs`."""

    def __init__(self, inner: ms.SpaceGenerator, target: tvm.target.Target) -> None:
        self._inner, self._target, self._task = inner, target, "main"
        self._mod: tvm.IRModule | None = None
        self._seed = -1

    def initialize(self, context: Any) -> None:
        if context.target is not None:
            _require_same(self._target, context.target)
        self._inner._initialize_with_tune_context(context)
        self._mod, self._seed = context.mod, context.rand_state
        self._task = str(context.task_name)

    def generate(self, mod: tvm.IRModule) -> list[Schedule]:
        if self._mod is not None and not self._mod.same_as(mod):
            self._begin_anew(mod)
        try:
            found = list(self._inner.generate_design_space(mod))
            reason = "" if found else "no rule left a design space"
        except Exception as error:  # of TVM's checks as of any rule, and they share no class
            found, reason = [], f"{type(error).__name__}: {last_line(error)}"
        if found:
            return found
        logger.warning(
            "task %s: the rules make no design space, so the function stays as it is: %s",
            self._task,
            reason,
        )
        return [_as_it_is(mod)]

    def _begin_anew(self, mod: tvm.IRModule) -> None:
        """Have the rules know this module: that of another context of this object came last."""
        context = ms.TuneContext(
            mod, target=self._target, task_name=self._task, rand_state=self._seed, num_threads=1
        )
        self._inner._initialize_with_tune_context(context)
        self._mod = mod


def _as_it_is(mod: tvm.IRModule) -> Schedule:
    schedule = Schedule(mod)
    touch(schedule)
    return schedule
