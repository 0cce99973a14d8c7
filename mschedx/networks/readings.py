"""Clock readings of a network: of whole runs, of its functions in them, and of these alone.

The three take turns, since a shared machine is faster in one second than in the next.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import tvm_ffi
from tvm import relax

from mschedx import compat
from mschedx.measure.rotation import time_rotated

from .machines import machine_of

_TURNS = 3
"""How often the network, its parts in place and its parts alone are timed in turn; by hand."""

_BUILTIN = "vm.builtin."


class Readings:
    """Seconds of runs of a network, of the functions in them, and of these alone."""

    def __init__(self) -> None:
        self.whole: list[float] = []
        self.parts: list[dict[str, float]] = []
        self.alone: dict[str, list[float]] = defaultdict(list)
        self.calls: Counter[str] = Counter()

    def in_place(self) -> dict[str, float]:
        """Median seconds of a run's calls of each function, less those of the clock around each.

        The builtin that takes least does next to nothing: what it takes is the clock's.
        """
        medians = {
            name: statistics.median(part.get(name, 0.0) for part in self.parts)
            for name in sorted(self.calls)
        }
        a_call = [medians[name] / n for name, n in self.calls.items() if name.startswith(_BUILTIN)]
        clock = min(a_call, default=0.0)
        return {name: max(s - clock * self.calls[name], 0.0) for name, s in medians.items()}

    def rotated(self, name: str) -> float:
        """Median seconds of a run's calls of a function, alone; 0 where it is not called."""
        turns = self.alone.get(name)
        return self.calls[name] * statistics.median(turns) if turns else 0.0


def read(
    executable: Any,
    device: Any,
    inputs: Sequence[Any],
    names: set[str],
    far: Callable[[str, int], list[int]],
    runs: int,
) -> Readings:
    """Time runs of a network, its functions in place, and these alone, in turn.

    Parameters
    ----------
    executable : relax.VMExecutable
    device : tvm.runtime.Device
    inputs : sequence of Tensor
        As "main" takes them.
    names : set of str
        Functions to time alone.
    far : callable
        Bytes that pass before an argument is used again, by the function's name and the number of
        its arguments (`time_rotated`).
    runs : int
        Of the whole, and of its parts, >= 1.
    """
    plain, clocked = (machine_of(executable, device) for _ in range(2))
    clock, seen = _Clock(device), _Calls(names)
    clocked.set_instrument(tvm_ffi.convert(seen.note))
    _settle(lambda: clocked["main"](*inputs), device)
    clocked.set_instrument(tvm_ffi.convert(clock.note))
    readings = Readings()
    for turn in range(min(_TURNS, runs)):
        number = len(range(turn, runs, _TURNS))
        # The first of each finds cold caches.
        whole = [_timed(lambda: plain["main"](*inputs), device) for _ in range(number + 1)]
        parts = [clock.of(lambda: clocked["main"](*inputs)) for _ in range(number + 1)]
        readings.whole += whole[1:]
        readings.parts += parts[1:]
        for name, (function, args) in seen.first.items():
            apart = far(name, len(args))
            readings.alone[name].append(time_rotated(function, device, args, apart, repeats=1))
    readings.calls = clock.calls
    return readings


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
    """Keeps the first call of each of some functions, arguments and all."""

    def __init__(self, names: set[str]) -> None:
        self._names = names
        self.first: dict[str, tuple[Any, tuple[Any, ...]]] = {}

    def note(self, func: Any, name: str, before_run: bool, ret_value: Any, *args: Any) -> int:
        """Called before and after every function."""
        del ret_value
        if before_run and str(name) in self._names:
            self.first.setdefault(str(name), (func, args))
        return int(relax.VMInstrumentReturnKind.NO_OP)


class _Clock:
    """Adds up the seconds and the calls of each function that a virtual machine calls."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._seconds: dict[str, float] = {}
        self.calls: Counter[str] = Counter()
        self._since = 0.0

    def of(self, run: Callable[[], Any]) -> dict[str, float]:
        """Seconds by function of one run, whose calls are counted."""
        self._seconds, self.calls = {}, Counter()
        run()
        return self._seconds

    def note(self, func: Any, name: str, before_run: bool, ret_value: Any, *args: Any) -> int:
        """Called before and after every function."""
        del func, ret_value, args
        self._device.sync()
        if before_run:
            self._since = time.perf_counter()
        else:
            spent = time.perf_counter() - self._since
            self._seconds[str(name)] = self._seconds.get(str(name), 0.0) + spent
            self.calls[str(name)] += 1
        return int(relax.VMInstrumentReturnKind.NO_OP)
