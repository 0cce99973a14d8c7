"""Resolver: from any trace of a task to the sketch and config it is, and back.

Records, and the candidates of strategies that know nothing of sketches, are traces. All traces of
one design space have the same instructions; within it the compute locations tell its sketches
apart. Both are looked up, so that time grows with the traces and not with the sketches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.s_tir import Schedule, Trace

from .design_spaces import generate
from .errors import NOT_SEARCHABLE, UnsupportedTrace
from .opening import given_sketches, sketches_from
from .opening import sketches as opened_sketches
from .sampling.unique_rows import RowIndex
from .sketch import Sketch
from .trace.instructions import Raw, as_raw, decision_of, plain, searched_part, signature

IntArray = NDArray[np.int64]
Locations = tuple[int, ...]


@dataclass(frozen=True)
class Resolved:
    """What traces are.

    Parameters
    ----------
    sketch : int64 array [n]
        Position of each trace's sketch; -1 where none matches.
    configs : tuple of n int64 arrays [D] or None
        D is that of the sketch; None where none matches.
    unknown : frozenset of str
        Structures of traces that no sketch has, whatever their decisions: of other design spaces.
    """

    sketch: IntArray
    configs: tuple[IntArray | None, ...]
    unknown: frozenset[str] = frozenset()

    def of(self, sketch: int) -> tuple[IntArray, IntArray]:
        """Return positions [m] and configs [m, D] of the traces of one sketch.

        Raises
        ------
        ValueError
            When no trace is of this sketch: D is not known then.
        """
        positions = np.flatnonzero(self.sketch == sketch)
        found = [config for i in positions if (config := self.configs[i]) is not None]
        if not found:
            raise ValueError(
                f"expected a sketch that some trace is of, got {sketch}; those are "
                f"{np.unique(self.sketch[self.sketch >= 0]).tolist()}"
            )
        return positions, np.stack(found)


class Resolver:
    """The sketches of one task, found by trace.

    Parameters
    ----------
    sketches : sequence of Sketch
        Of equal ones the first is found.
    """

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        self.sketches = tuple(sketches)
        self._spots: dict[str, tuple[int, ...]] = {}
        self._found: dict[tuple[str, Locations], int] = {}
        self._rows: dict[int, list[tuple[list[int], RowIndex]]] = {}
        for number, sketch in enumerate(self.sketches):
            design = sketch.design
            locations = design.fixed_locations
            self._spots[design.signature] = tuple(locations)
            self._found.setdefault((design.signature, tuple(locations.values())), number)

    @classmethod
    def of_space(
        cls,
        mod: tvm.IRModule,
        target: tvm.target.Target | dict[str, Any] | str,
        space: Any = None,
        name: str = "main",
    ) -> Resolver:
        """Open up the design spaces of a module, leaving out those that cannot be.

        Parameters
        ----------
        mod, target, space
            As :func:`mschedx.space.sketches` takes them.
        name : str
            Of the task, for the log.
        """
        target = target if isinstance(target, tvm.target.Target) else tvm.target.Target(target)
        given = given_sketches(space)
        if given is not None:
            return cls(opened_sketches(mod, target, given))
        try:
            schedules, mod, postprocs = generate(mod, target, space, name)
        except UnsupportedTrace:
            return cls([])

        def opened(schedule: Schedule) -> list[Sketch]:
            try:
                return sketches_from([schedule], mod, target, postprocs)
            except NOT_SEARCHABLE:
                return []

        return cls([sketch for schedule in schedules for sketch in opened(schedule)])

    def resolve(self, traces: Sequence[Trace]) -> Resolved:
        """Find the sketch and read the config of each trace [n].

        None is found for a trace with other instructions or compute locations than the sketches
        have, or with a decision that its sampling instruction would not return. That a config is
        one of its sketch does not say that the sketch's constraints hold.
        """

        def read(trace: Trace) -> tuple[str, Callable[[int], Raw | None]]:
            searched = searched_part(trace)
            decisions = searched.decisions
            return signature(searched), lambda index: decision_of(searched, index, decisions)

        return self._resolve(map(read, traces), len(traces))

    def resolve_records(self, traces: Sequence[Any]) -> Resolved:
        """As :meth:`resolve`, of traces as files keep them, ``[instructions, decisions]`` in JSON.

        Nothing of TVM is asked, so that thousands take a second. A trace with instructions that
        nothing uses is not found.
        """
        known: dict[str, str] = {}

        def read(trace: Any) -> tuple[str, Callable[[int], Raw | None]]:
            instructions = list(takewhile(lambda inst: inst[0] != "EnterPostproc", trace[0]))
            text = repr(instructions)
            if text not in known:
                known[text] = repr(plain(instructions))
            decisions = {index: value for index, value in trace[1]}
            return known[text], lambda index: as_raw(decisions.get(index))

        return self._resolve(map(read, traces), len(traces))

    def _resolve(
        self, read: Iterable[tuple[str, Callable[[int], Raw | None]]], count: int
    ) -> Resolved:
        """Find sketches and configs from structures and functions that give decisions."""
        owners = np.full(count, -1, dtype=np.int64)
        configs: list[IntArray | None] = [None] * count
        unknown: set[str] = set()
        for position, (structure, decision) in enumerate(read):
            if structure not in self._spots:
                unknown.add(structure)
            owner = self._owner(structure, decision)
            config = None if owner is None else self.sketches[owner].design.decided_by(decision)
            if owner is not None and config is not None:
                owners[position], configs[position] = owner, config
        for owner in np.unique(owners[owners >= 0]):
            positions = np.flatnonzero(owners == owner)
            kept = [config for i in positions if (config := configs[i]) is not None]
            for position in positions[~self._returnable(int(owner), np.stack(kept))]:
                owners[position], configs[position] = -1, None
        return Resolved(owners, tuple(configs), frozenset(unknown))

    def trace(self, sketch: int, config: IntArray) -> Trace:
        """Return the trace of a config [D] of a sketch, without postprocs."""
        return self.sketches[sketch].design.trace_for(config)

    def _owner(self, structure: str, decision: Callable[[int], Raw | None]) -> int | None:
        spots = self._spots.get(structure)
        if spots is None:
            return None
        raw = [decision(spot) for spot in spots]
        codes = tuple(code[0] for code in raw if code is not None)
        return self._found.get((structure, codes))

    def _returnable(self, sketch: int, configs: IntArray) -> NDArray[np.bool_]:
        """Tell which configs [m, D] are rows of the sketch's tables; bool [m]."""
        if sketch not in self._rows:
            tables = self.sketches[sketch].design.tables
            self._rows[sketch] = [(list(t.columns), RowIndex(t.rows)) for t in tables]
        inside = np.ones(len(configs), dtype=bool)
        for columns, index in self._rows[sketch]:
            inside &= index.contains(configs[:, columns])
        return inside
