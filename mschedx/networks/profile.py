"""Every operator of a compiled network, timed where it runs.

A task is tuned alone, its arguments in its core's cache; in the network all that other operators
read and write passes through the caches between two calls of it. So each is timed a third way
(:mod:`mschedx.measure.rotation`): alone, with arguments that left these caches in the same way.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm_ffi
from tvm import relax
from tvm.runtime import device_from_target

from mschedx import compat
from mschedx.hardware import Hardware
from mschedx.measure.rotation import time_rotated
from mschedx.ranges import require_count
from mschedx.report.progress import format_seconds

from .caches import rotation_bytes
from .choices import Choice, Origin
from .errors import NetworkError
from .machines import machine_of
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
        Median seconds of all its calls together, measured in the network.
    rotated_s : float
        Seconds of all its calls, measured alone with arguments in turn; 0 where it is not called.
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
        """Sum of the operators alone, arguments in turn: what the network should take."""
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
            less the sum with it.
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
    "clock": "the whole has no clock around each call",
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
    passing = rotation_bytes(result.fused, Hardware.from_target(result.target))

    def measure() -> tuple[list[dict[str, float]], list[float], dict[str, float]]:
        machine = machine_of(result.executable, device)
        _settle(lambda: machine["main"](*tensors), device)
        whole = [_timed(lambda: machine["main"](*tensors), device) for _ in range(runs + 1)]
        clock = _Clock(device)
        machine.set_instrument(tvm_ffi.convert(clock.note))
        parts = []
        for _ in range(runs + 1):
            clock.begin()
            machine["main"](*tensors)
            parts.append(clock.seconds)
        seen = _Calls(names)
        machine.set_instrument(tvm_ffi.convert(seen.note))
        machine["main"](*tensors)
        alone = {
            name: seen.count[name] * time_rotated(function, device, args, passing)
            for name, (function, args) in seen.first.items()
        }
        return parts[1:], whole[1:], alone  # the first of each finds cold caches

    parts, whole, rotated = compat.on_cores(None, measure)
    called = sorted({name for part in parts for name in part})
    medians = {name: statistics.median(part.get(name, 0.0) for part in parts) for name in called}
    operators = []
    for choice, predicted_s in zip(choices, result.predict(choices)):
        own = [f"{name}{end}" for name in choice.task.functions for end in _ENDS]
        seconds = sum(medians.pop(name, 0.0) for name in own)
        turns = sum(rotated.get(name, 0.0) for name in own)
        predicted_s *= choice.task.weight
        operators.append(Operator(choice, predicted_s, seconds, turns))
    operators.sort(key=lambda one: -one.in_place_s)
    return Profile(tuple(operators), medians, statistics.median(whole))


def _settle(call: Any, device: Any) -> None:
    """Let older threads stop spinning, then work until the new pool's have a core each.

    A network of 2 or 17 ms takes twice as long until then, however many runs that is.
    """
    time.sleep(compat.SETTLE_S)
    spent = 0.0
    while spent < compat.SETTLE_S:
        spent += _timed(call, device)


def _timed(call: Any, device: Any) -> float:
    begin = time.perf_counter()
    call()
    device.sync()
    return time.perf_counter() - begin


class _Calls:
    """Keeps the first call of each of some functions, arguments and all, and counts them."""

    def __init__(self, names: set[str]) -> None:
        self._names = names
        self.first: dict[str, tuple[Any, tuple[Any, ...]]] = {}
        self.count: dict[str, int] = {}

    def note(self, func: Any, name: str, before_run: bool, ret_value: Any, *args: Any) -> int:
        """Called before and after every function."""
        del ret_value
        if before_run and str(name) in self._names:
            self.first.setdefault(str(name), (func, args))
            self.count[str(name)] = self.count.get(str(name), 0) + 1
        return int(relax.VMInstrumentReturnKind.NO_OP)


class _Clock:
    """Adds up the seconds of each function that a virtual machine calls."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self.seconds: dict[str, float] = {}
        self._since = 0.0

    def begin(self) -> None:
        """Forget what was before."""
        self.seconds = {}

    def note(self, func: Any, name: str, before_run: bool, ret_value: Any, *args: Any) -> int:
        """Called before and after every function."""
        del func, ret_value, args
        self._device.sync()
        if before_run:
            self._since = time.perf_counter()
        else:
            spent = time.perf_counter() - self._since
            self.seconds[str(name)] = self.seconds.get(str(name), 0.0) + spent
        return int(relax.VMInstrumentReturnKind.NO_OP)
