"""Every operator of a compiled network, timed where it runs.

A task is tuned alone, its inputs in the cache; in the network its weights come from memory and its
input from the operator before. This is what lies between the sum of the tasks and the whole.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm_ffi
from tvm import relax
from tvm.runtime import device_from_target

from mschedx import compat
from mschedx.report.progress import format_seconds

from .choices import Choice, Origin
from .machines import machine_of
from .rewrites.pipeline import PACKED

if TYPE_CHECKING:
    from .result import NetworkResult


@dataclass(frozen=True)
class Operator:
    """What one task takes, in one run of the network.

    Parameters
    ----------
    choice : Choice
    in_place_s : float
        Median seconds of all its calls together, measured in the network.
    """

    choice: Choice
    in_place_s: float

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

    def table(self) -> str:
        """As text, one operator a line."""
        lines = [f"{'operator':48} {'calls':>5} {'alone':>9} {'in place':>9} {'GFLOP/s':>8}  from"]
        for one in self.operators:
            choice = one.choice
            rate = choice.task.flops * choice.task.weight / max(one.in_place_s, 1e-12) / 1e9
            alone = f"{'~' if choice.origin is Origin.RANKED else ''}{format_seconds(one.alone_s)}"
            lines.append(
                f"{choice.task.name[:48]:48} {choice.task.weight:5} {alone:>9} "
                f"{format_seconds(one.in_place_s):>9} {rate:8.1f}  {choice.origin.value}"
            )
        for name, seconds in sorted(self.other_s.items(), key=lambda item: -item[1]):
            lines.append(f"{name[:48]:48} {'':5} {'':>9} {format_seconds(seconds):>9}")
        lines.append(
            f"{'sum':48} {'':5} {format_seconds(self.alone_s):>9} "
            f"{format_seconds(self.in_place_s + sum(self.other_s.values())):>9}"
        )
        return "\n".join([*lines, f"{'whole':48} {'':5} {'':>9} {format_seconds(self.whole_s):>9}"])


def profile_network(result: NetworkResult, args: Sequence[Any], runs: int) -> Profile:
    """Run a compiled network with a clock around every call; see `NetworkResult.profile`."""
    if runs < 1:
        raise ValueError(f"expected runs of at least 1, got {runs}")
    device = device_from_target(result.target)
    network = result.compile()
    given = network.signature.tensors(tuple(args), {}) if args else _random(result)
    tensors = [
        network.prepared(tensor, parameter)
        for tensor, parameter in zip(given, result.signature.inputs)
    ]

    def measure() -> tuple[list[dict[str, float]], list[float]]:
        machine = machine_of(result.executable, device)
        whole = [_timed(lambda: machine["main"](*tensors), device) for _ in range(runs + 1)]
        clock = _Clock(device)
        machine.set_instrument(tvm_ffi.convert(clock.note))
        parts = []
        for _ in range(runs + 1):
            clock.begin()
            machine["main"](*tensors)
            parts.append(clock.seconds)
        return parts[1:], whole[1:]  # the first of each finds cold caches

    parts, whole = compat.on_cores(None, measure)
    names = sorted({name for part in parts for name in part})
    medians = {name: statistics.median(part.get(name, 0.0) for part in parts) for name in names}
    operators = []
    for choice in result.tasks:
        names = [f"{name}{end}" for name in choice.task.functions for end in ("", PACKED)]
        seconds = sum(medians.pop(name, 0.0) for name in names)
        operators.append(Operator(choice, seconds))
    operators.sort(key=lambda one: -one.in_place_s)
    return Profile(tuple(operators), medians, statistics.median(whole))


def _random(result: NetworkResult) -> list[Any]:
    from .checking import random_arrays

    return random_arrays(result.signature.inputs, np.random.default_rng(0))


def _timed(call: Any, device: Any) -> float:
    begin = time.perf_counter()
    call()
    device.sync()
    return time.perf_counter() - begin


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
