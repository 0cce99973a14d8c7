"""Every operator of a compiled network, timed where it runs.

A task is tuned alone, its input in its core's cache; in the network all that other operators
read and write passes through the caches between two calls of it. So each is timed a third way
(:mod:`mschedx.measure.rotation`): alone, with arguments that come from as far as the network's do
(`Distances`). The three take turns, since a shared machine is faster in one second than in the
next.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.runtime import device_from_target

from mschedx import compat
from mschedx.hardware import Hardware
from mschedx.ranges import require_count
from mschedx.report.progress import format_seconds

from .caches import Distances, constant_arguments
from .choices import Choice, Origin
from .errors import NetworkError
from .readings import read
from .result import NetworkResult, compiled
from .rewrites.pipeline import PACKED

_ENDS = ("", PACKED)
"""What a task's functions may end with in the compiled network."""


@dataclass(frozen=True)
class Operator:
    """What one task takes, in one run of the network.

    Parameters
    ----------
    choice : Choice
    predicted_s : float
        Seconds of all its calls by PSA; NaN where it predicts nothing.
    in_place_s : float
        Median seconds of all its calls together, measured in the network, less those of the clock.
    rotated_s : float
        Seconds of all its calls, measured alone with weights and activations that come from as far
        as in the network (`Distances`); 0 where it is not called.
    """

    choice: Choice
    predicted_s: float
    in_place_s: float
    rotated_s: float

    @property
    def alone_s(self) -> float:
        """Seconds of all its calls by the record (or the prediction) of its choice."""
        return self.choice.task.weight * self.choice.latency_s


@dataclass(frozen=True)
class Profile:
    """Where a run of the network spends its time.

    Parameters
    ----------
    operators : tuple of Operator
        The longest in place first.
    other_s : dict[str, float]
        Seconds by function that is no task: reshapes, allocations, what is not tuned.
    whole_s : float
        Median seconds of a run, without the measuring of its parts.
    """

    operators: tuple[Operator, ...]
    other_s: dict[str, float]
    whole_s: float

    @property
    def in_place_s(self) -> float:
        """Sum of the operators, in place."""
        return sum(one.in_place_s for one in self.operators)

    @property
    def alone_s(self) -> float:
        """Sum of the operators, as they were measured or predicted alone."""
        return sum(one.alone_s for one in self.operators)

    @property
    def rotated_s(self) -> float:
        """Sum of the operators alone, arguments from as far as in the network."""
        return sum(one.rotated_s for one in self.operators)

    @property
    def predicted_s(self) -> float:
        """Sum of the operators by PSA; NaN where one of them has no prediction."""
        return sum(one.predicted_s for one in self.operators)

    def between(self) -> dict[str, float]:
        """What lies between the sum of the operators alone and the whole, in seconds.

        The parts add up to ``whole_s - alone_s``, where the time rotated stands for that alone of
        operators of which nothing is known; one that is negative says that the figure before it
        is an upper bound.

        Returns
        -------
        dict[str, float]
            ``"caches"``: what operators find no longer in the caches, since others passed through
            them (rotated less alone). ``"place"``: what they wait for in the network only, lines
            that another core wrote and threads that wake up (in place less rotated). ``"others"``:
            functions that are no tasks. ``"clock"``: the whole without a clock around every call,
            less the sum with it, from which the clock's own time was taken as far as it is known.
        """
        others = sum(self.other_s.values())
        known = [one for one in self.operators if math.isfinite(one.alone_s)]
        return {
            "caches": sum(one.rotated_s - one.alone_s for one in known),
            "place": self.in_place_s - self.rotated_s,
            "others": others,
            "clock": self.whole_s - self.in_place_s - others,
        }

    def table(self) -> str:
        """As text, one operator a line, and what lies between their sum and the whole."""
        lines = [_HEAD]
        for one in self.operators:
            choice = one.choice
            rate = choice.task.flops * choice.task.weight / max(one.in_place_s, 1e-12) / 1e9
            about = "~" if choice.origin is Origin.RANKED else ""
            lines.append(
                _line(
                    choice.task.name[:48],
                    calls=choice.task.weight,
                    predicted=format_seconds(one.predicted_s),
                    alone=f"{about}{format_seconds(one.alone_s)}",
                    rotated=format_seconds(one.rotated_s),
                    in_place=format_seconds(one.in_place_s),
                    rate=f"{rate:.1f}",
                    origin=choice.origin.value,
                )
            )
        for name, seconds in sorted(self.other_s.items(), key=lambda item: -item[1]):
            lines.append(_line(name[:48], in_place=format_seconds(seconds)))
        in_place = format_seconds(self.in_place_s + sum(self.other_s.values()))
        alone, rotated = format_seconds(self.alone_s), format_seconds(self.rotated_s)
        predicted = format_seconds(self.predicted_s)
        lines.append(
            _line("sum", predicted=predicted, alone=alone, rotated=rotated, in_place=in_place)
        )
        lines.append(_line("whole", in_place=format_seconds(self.whole_s)))
        return "\n".join([*lines, "", *self._said_between()])

    def _said_between(self) -> list[str]:
        """A line for each part of `between`."""
        lines = ["between the sum alone and the whole:"]
        for name, seconds in self.between().items():
            share = seconds / max(self.whole_s, 1e-12)
            sign = "-" if seconds < 0 else ""
            time_of = f"{sign}{format_seconds(abs(seconds))}"
            lines.append(f"  {time_of:>9} {share:7.1%}  {_MEANINGS[name]}")
        return lines


_MEANINGS = {
    "caches": "what leaves the caches between two calls (rotated less alone)",
    "place": "what another core wrote, threads that wake up (in place less rotated)",
    "others": "functions that are no tasks",
    "clock": "what the clock around each call took that was not seen",
}
"""Of the parts of `Profile.between`."""


def _line(
    name: str,
    *,
    calls: Any = "",
    predicted: str = "",
    alone: str = "",
    rotated: str = "",
    in_place: str = "",
    rate: str = "",
    origin: str = "",
) -> str:
    times = f"{predicted:>9} {alone:>9} {rotated:>9} {in_place:>9}"
    return f"{name:48} {calls:>5} {times} {rate:>8}  {origin}".rstrip()


_HEAD = _line(
    "operator",
    calls="calls",
    predicted="predicted",
    alone="alone",
    rotated="rotated",
    in_place="in place",
    rate="GFLOP/s",
    origin="from",
)


def profile_network(
    result: NetworkResult, args: tuple[Any, ...], kwargs: dict[str, Any], runs: int
) -> Profile:
    """Run a compiled network with a clock around every call; see `NetworkResult.profile`."""
    from .checking import random_arrays, why_not_here

    runs = require_count("runs", runs)
    if why := why_not_here(result.target):
        raise NetworkError(f"{why}: profile the network on a machine that runs it")
    device = device_from_target(result.target)
    network = compiled(result)
    if args or kwargs:
        given = network.signature.tensors(args, kwargs)
    else:
        given = random_arrays(result.signature, np.random.default_rng(0))
    tensors = [
        network.prepared(tensor, parameter)
        for tensor, parameter in zip(given, result.signature.inputs)
    ]

    choices = result.programs()
    names = {f"{name}{end}" for c in choices for name in c.task.functions for end in _ENDS}
    apart = Distances.of(result.fused, Hardware.from_target(result.target))
    constant = constant_arguments(result.fused)

    def far(name: str, count: int) -> list[int]:
        weights = constant.get(name.removesuffix(PACKED), frozenset())
        return [apart.weight if i in weights else apart.activation for i in range(count)]

    readings = compat.on_cores(
        None, lambda: read(result.executable, device, tensors, names, far, runs)
    )
    medians = readings.in_place()
    operators = []
    for choice, predicted_s in zip(choices, result.predict(choices)):
        own = [f"{name}{end}" for name in choice.task.functions for end in _ENDS]
        seconds = sum(medians.pop(name, 0.0) for name in own)
        turns = sum(readings.rotated(name) for name in own)
        predicted_s *= choice.task.weight
        operators.append(Operator(choice, predicted_s, seconds, turns))
    operators.sort(key=lambda one: -one.in_place_s)
    return Profile(tuple(operators), medians, statistics.median(readings.whole))
