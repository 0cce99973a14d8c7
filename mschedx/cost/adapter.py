"""Cost models as TVM cost models: the one adapter between them and TVM.

`TVMCostModel` makes any `CostModel` an ``ms.CostModel``. Strategies of ours ask the model itself
(`conversation_behind`); TVM's pass it candidates, which become sketches and configs here.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn, Protocol

import numpy as np
from tvm.s_tir.meta_schedule.cost_model.cost_model import _PyCostModel

from mschedx.latency import latency_s
from mschedx.run_stages import covered_by_tvm
from mschedx.space.resolver import Resolver
from mschedx.space.sketch import Sketch
from mschedx.space.task import Task
from mschedx.told import pass_on

from .base import CostModel, FloatArray, Logarithmic, Measured, checked_model, joined
from .traced_trials import TracedTrials

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.cost")


class Driver(Protocol):
    """A search that knows what it has measured, and when that is to be taught."""

    def learn(self) -> None:
        """Have `Conversation.learn` called if anything is new."""
        ...

    def measured(self) -> list[Measured]:
        """All trials so far, as `CostModel.learn` takes them."""
        ...


class Conversation:
    """What one model and TVM have said to each other, task by task.

    While a search of ours drives a task, it has the model taught, failed builds and earlier
    runs included; what TVM reports of the same trials then only says that it is time. Functions
    that differ in their names only are one task to a model and several to TVM: each is driven, and
    the model learns from all of them together. What was measured before a search began, by another
    search or into another folder, is taught with what it measures.

    Parameters
    ----------
    model : CostModel
    """

    def __init__(self, model: CostModel) -> None:
        self.model = model
        self._trials: dict[str, TracedTrials] = {}
        self._drivers: dict[str, list[weakref.ref[Driver]]] = {}
        self._taught: dict[str, list[Measured]] = {}

    def begin(self, task: Task, sketches: Sequence[Sketch], driver: Driver) -> None:
        """Leave the teaching of a task to ``driver``, until `end` or as long as it lives."""
        others = self._driving(task)
        if not others:
            self._trials[task.key] = self._undriven(task).of_sketches(sketches)
        self._drivers[task.key] = [weakref.ref(one) for one in (*others, driver)]

    def learn(self, task: Task) -> None:
        """Teach the model what all drivers of a task have measured, after what was before."""
        drivers = self._driving(task)
        own = [part for driver in drivers for part in driver.measured()]
        self._taught[task.key] = _without_analysis(own)  # drivers may die before they end
        before = self._known(task).measured()
        alone = len(drivers) == 1 and not any(len(part.configs) for part in before)
        self.model.learn(task, own if alone else joined(before, own))

    def end(self, task: Task, driver: Driver) -> None:
        """Take the teaching back from a driver, with everything it has measured."""
        self._keep(task, _without_analysis(driver.measured()))
        left = [one for one in self._driving(task) if one is not driver]
        self._drivers[task.key] = [weakref.ref(one) for one in left]
        if not left:
            self._taught.pop(task.key, None)

    def _known(self, task: Task) -> TracedTrials:
        """What is known of a task beside that of its drivers."""
        return self._trials.setdefault(task.key, TracedTrials())

    def _keep(self, task: Task, measured: Sequence[Measured]) -> None:
        """Add what a driver has measured."""
        trials = self._known(task).of_sketches([part.sketch for part in measured])
        trials.replace(joined(trials.measured(), measured))
        self._trials[task.key] = trials

    def _undriven(self, task: Task) -> TracedTrials:
        """What is known of a task without drivers, with what those taught that did not end."""
        taught = self._taught.pop(task.key, None)
        if taught:
            self._keep(task, taught)
        return self._known(task)

    def _driving(self, task: Task) -> list[Driver]:
        """The drivers of a task that live, in the order in which they began."""
        found = [known() for known in self._drivers.get(task.key, [])]
        return [driver for driver in found if driver is not None]

    # As TVM calls it.

    def load(self, path: str) -> None:
        self.model.load(path)
        # It is what the file says, to which is added what is measured from now on.
        self._trials.clear()
        self._taught.clear()

    def save(self, path: str) -> None:
        self.model.save(path)

    def update(self, context: Any, candidates: Sequence[Any], results: Sequence[Any]) -> None:
        if len(candidates) != len(results):
            raise ValueError(
                f"expected one result per candidate, got {len(candidates)} candidates "
                f"and {len(results)} results"
            )
        task = Task.of(context.mod, context.target, context.task_name)
        drivers = self._driving(task)
        with covered_by_tvm():
            for driver in drivers:
                # Now and not before the next round: there may be none.
                driver.learn()
            if drivers or not candidates:
                return
            trials = self._undriven(task)
            seconds = np.array([latency_s(result) for result in results])
            trials.add(candidates, seconds, _space_of(context))
            trials.teach(self.model, task)

    def predict(self, context: Any, candidates: Sequence[Any]) -> FloatArray:
        task = Task.of(context.mod, context.target, context.task_name)
        if not self.model.ready(task):
            return np.ones(len(candidates))
        trials = self._known(task)
        with covered_by_tvm():
            scores = trials.score(self.model, task, candidates, _space_of(context))
        unit = self.model.logarithmic if isinstance(self.model, Logarithmic) else None
        return as_weights(scores, unit)


def _without_analysis(measured: Sequence[Measured]) -> list[Measured]:
    """Trials of new sketches: a driver's own would keep their analysis in memory, task by task."""
    return [replace(part, sketch=Sketch(part.sketch.design)) for part in measured]


def _space_of(context: Any) -> Callable[[], Resolver]:
    """Opens the space that candidates of a context are of; no sketch where that fails.

    TVM asks for the scores of all tasks of a run, and what is raised for one ends it.
    """

    def opened() -> Resolver:
        try:
            return Resolver.of_space(
                context.mod, context.target, context.space_generator, context.task_name
            )
        except Exception as error:  # a function that the analysis does not understand, whatever why
            lines = str(error).strip().splitlines() or [repr(error)]
            line = (
                f"task {context.task_name}: its space cannot be opened, so its programs have no "
                f"sketches: {lines[0]}"
            )
            logger.warning("%s", line)
            pass_on(line)
            return Resolver([])

    return opened


_LEAST = 1e-30
"""Of what a score of 0 becomes for TVM."""

_MOST = 600.0
"""Exponent from which on weights are alike: thousands of ``e^600`` still have a sum in float64."""


def as_weights(scores: FloatArray, logarithmic: float | None = None) -> FloatArray:
    """Make scores positive, in the same order: float64 [n].

    TVM's evolution draws parents in proportion to scores, takes all that are not positive for 0,
    and keeps the best of several calls: the weight of a score does not depend on the others.

    Parameters
    ----------
    scores : float64 array [n]
    logarithmic : float, optional
        Of a `Logarithmic` model: ``e^(score / logarithmic)`` is a speed, and a program that is
        twice as fast weighs twice as much. When None a positive score stays as it is, to rounding;
        those below are less than any of these.
    """
    if logarithmic is not None:
        return np.exp(np.clip(scores / logarithmic, -_MOST, _MOST))
    return np.where(scores > 0, scores + _LEAST, _LEAST / (1.0 - np.minimum(scores, 0.0)))


# TVM hands a strategy another Python object for the same C++ object, without our attributes. Its
# address finds the conversation. Nothing but the callbacks inside the C++ object keeps that alive,
# so that an entry goes with its object, before the address can be another's.
_CONVERSATIONS: weakref.WeakValueDictionary[int, Conversation] = weakref.WeakValueDictionary()


class TVMCostModel(_PyCostModel):
    """A `CostModel` as ``cost_model=`` of ``ms.tune_tir``, with any strategy.

    Parameters
    ----------
    model : CostModel
        Kept as the attribute ``model``.

    Raises
    ------
    TypeError
        When methods of a `CostModel` are missing.
    """

    __slots__ = ("__dict__", "__weakref__")

    def __init__(self, model: CostModel) -> None:
        conversation = Conversation(checked_model(model))
        super().__init__(
            conversation.load, conversation.save, conversation.update, conversation.predict
        )
        self.model = model
        _CONVERSATIONS[self.__chandle__()] = conversation

    # A copy of TVM's object has no callbacks, and searches would not find the model behind it.

    def __copy__(self) -> NoReturn:
        raise TypeError(
            f"expected a {type(self).__name__} to be used as it is, and it cannot be copied or "
            "pickled: make another one, and have it load what this one saves"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        self.__copy__()

    def __reduce__(self) -> NoReturn:
        self.__copy__()

    # Called on this side they need not pass through TVM, which turns errors into others.

    def save(self, path: str) -> None:
        """Write what was learnt to a file."""
        self.model.save(path)

    def load(self, path: str) -> None:
        """Read what `save` wrote, in the place of what was learnt before."""
        conversation = conversation_behind(self)
        assert conversation is not None
        conversation.load(path)


def model_behind(given: Any) -> CostModel:
    """Return a `CostModel`; of a `TVMCostModel`, the one behind it.

    Raises
    ------
    TypeError
        When methods of a `CostModel` are missing, as TVM's own models miss them.
    """
    return checked_model(given.model if isinstance(given, TVMCostModel) else given)


def conversation_behind(cost_model: Any) -> Conversation | None:
    """Find the model behind a TVM cost model; None when it is not one of ours."""
    return None if cost_model is None else _CONVERSATIONS.get(cost_model.__chandle__())


def is_ready(cost_model: Any, task: Task) -> bool:
    """Whether a TVM cost model is one of ours and already has something to say of a task."""
    conversation = conversation_behind(cost_model)
    return conversation is not None and conversation.model.ready(task)
