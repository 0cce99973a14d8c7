"""Decisions: a traced design space opened up into integer columns, and back.

A design space is a ``Schedule`` whose trace holds sampling instructions. :class:`Design` turns each
of them into columns: one per factor of a tile, one for a categorical (holding the candidate's
*value*), one for a compute location (holding TVM's code: -2 inline, -1 root, otherwise the index of
the consumer's loop). What an instruction can return is a :class:`SampleTable`. Locations are
fixed within a design, for they change the program's structure.

TVM repairs an invalid decision in silence, for instance ``[2, 5]`` of 16 becomes ``[1, 16]``. Every
replay here reads its decisions back and refuses such a config.

Notation: D is the number of decisions, the columns of a config.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.s_tir import Schedule, Trace

from ..algebra.constraints import Constraint
from ..errors import InvalidSchedule, UnsupportedTrace
from ..sampling.sampler import Sampler
from .instructions import (
    Raw,
    as_raw,
    decision_of,
    inspect,
    plain,
    replay,
    searched_part,
    signature,
    touch,
    unscheduled,
    with_decisions,
)
from .materialize import Postprocs
from .prefix import Tail, tail
from .tables import Decision, DecisionKind, SampleTable, open_instructions

__all__ = ["Decision", "DecisionKind", "Design", "SampleTable"]

IntArray = NDArray[np.int64]

_VERIFIED = 12
"""Random configs that a design with fitted constraints is checked by."""


@dataclass(eq=False)
class Design:
    """A traced design space whose decisions are integer columns.

    Build it with :meth:`from_schedule`, or several with :func:`.splitting.split`.

    Parameters
    ----------
    mod : tvm.IRModule
        The unscheduled module.
    target : tvm.target.Target
    trace : tvm.s_tir.Trace
        Instructions without postprocs and dead code; its decisions are those of ``base``.
    decisions : tuple of Decision
    tables : tuple of SampleTable
        One per sampling instruction, in trace order; together they cover every column once.
    base : int64 array [D]
        A config that has been replayed.
    constraints : tuple of Constraint
        What the structure of the trace itself demands: that the tiles of a loop which an earlier
        decision made multiply to that loop's extent, that a compute location exists.
    postprocs : Postprocs, optional
        The target's own when left out.
    notes : tuple of str
        What a reader should know about how the design space was opened.
    doubtful : bool
        Whether TVM's postprocs may refuse some configs for what nothing learns of, see
        :func:`.splitting.refused_somewhere`.
    """

    mod: tvm.IRModule
    target: tvm.target.Target
    trace: Trace
    decisions: tuple[Decision, ...]
    tables: tuple[SampleTable, ...]
    base: IntArray
    constraints: tuple[Constraint, ...] = ()
    postprocs: Postprocs | None = None
    notes: tuple[str, ...] = ()
    doubtful: bool = False

    @classmethod
    def from_schedule(
        cls,
        schedule: Schedule | Trace,
        mod: tvm.IRModule,
        target: tvm.target.Target,
        postprocs: Postprocs | None = None,
    ) -> Design:
        """Open up a design space; compute locations stay as the schedule has them.

        Raises
        ------
        UnsupportedTrace
            Without a trace, with an unknown sampling instruction, or with dynamic shapes.
        EmptySpace
            When a sampling instruction can return nothing.
        """
        trace = searched_part(schedule)
        sampled = inspect(mod, trace)
        opened = open_instructions(mod, trace, sampled)
        design = cls(
            mod,
            target,
            trace,
            opened.decisions,
            opened.tables,
            opened.base,
            opened.constraints,
            postprocs,
        )
        if opened.constraints:
            design._verify()
        return design

    def _verify(self) -> None:
        """Replay random configs: extents that depend on decisions were fitted to a few replays."""
        for config in self.sampler().sample(_VERIFIED, np.random.default_rng(2)):
            refused = refusal(self.replay, config)
            if refused is not None and refused.reason == "repaired":
                raise UnsupportedTrace(
                    "the extent of a loop that is tiled depends on earlier decisions in a way that "
                    f"was not found: {refused.detail}"
                )

    def sampler(self) -> Sampler:
        """Make a sampler of the configs that its tables and constraints allow."""
        return Sampler(self.tables, self.constraints, len(self.decisions))

    def within(self, constraints: Sequence[Constraint]) -> Design:
        """Return the same design with more constraints, which its default config keeps too.

        Raises
        ------
        EmptySpace
            When nothing satisfies them.
        """
        if not constraints:
            return self
        narrowed = replace(self, constraints=(*self.constraints, *constraints))
        if not all(c.holds(self.base[None])[0] for c in constraints):
            narrowed.base = narrowed.sampler().sample(1, np.random.default_rng(3))[0]
        narrowed._tail = self._tail  # it does not depend on what configs there are
        return narrowed

    @property
    def names(self) -> tuple[str, ...]:
        """The decisions' names by column."""
        return tuple(decision.name for decision in self.decisions)

    @property
    def locations(self) -> dict[str, int]:
        """The fixed compute locations by name."""
        kind = DecisionKind.LOCATION
        return {d.name: d.domain[0] for d in self.decisions if d.kind is kind}

    @property
    def lattice(self) -> dict[int, tuple[int, ...]]:
        """The values that each decision can take, by column."""
        return {d.column: tuple(sorted(set(d.domain))) for d in self.decisions}

    def default_config(self) -> IntArray:
        """Return a config [D] that is known to replay."""
        return self.base.copy()

    def trace_for(self, config: IntArray) -> Trace:
        """Return the trace with these decisions.

        Raises
        ------
        ValueError
            When the config has the wrong length or a categorical value that is no candidate.
        """
        return with_decisions(self.trace, self.raw(config))

    def replay(self, config: IntArray) -> Schedule:
        """Apply the trace with these decisions, without postprocs.

        Raises
        ------
        InvalidSchedule
            ``"primitive"`` when a primitive refuses, ``"repaired"`` when TVM changed a decision.
        """
        schedule = replay(self.mod, self.trace_for(config))
        self._refuse_repairs(schedule, config)
        return schedule

    def replayed_mod(self, config: IntArray) -> tvm.IRModule:
        """Make the module that :meth:`replay` makes, in less time, but without its trace.

        Of configs at which TVM does not offer the design's compute locations, which
        ``constraints`` exclude, it makes the module with these locations all the same.

        Raises
        ------
        InvalidSchedule
            As :meth:`replay`.
        """
        start, trace, places = self._tail
        wanted = {places[i]: raw for i, raw in self.raw(config).items() if i in places}
        schedule = replay(start, with_decisions(trace, wanted))
        self._refuse_repairs(schedule, config, places)
        return schedule.mod

    @cached_property
    def _tail(self) -> Tail:
        return tail(self.mod, self.trace, self.fixed_locations)

    def materialize(self, config: IntArray) -> Schedule:
        """Replay the config and apply the postprocs.

        Raises
        ------
        InvalidSchedule
            As :meth:`replay`, or with the name of the postproc that rejects the program.
        """
        schedule = self.replay(config)
        if not self.trace.insts:
            touch(schedule)
        self._own_postprocs.apply(schedule)
        return schedule

    def postprocess(self, config: IntArray) -> None:
        """As :meth:`materialize`, in less time, to see whether it is refused."""
        self._own_postprocs.apply(unscheduled(self.replayed_mod(config)))

    @property
    def _own_postprocs(self) -> Postprocs:
        if self.postprocs is None:
            self.postprocs = Postprocs.of_target(self.mod, self.target)
        return self.postprocs

    def config_of(self, trace: Trace) -> IntArray | None:
        """Read a config back from a trace, for instance a database record's.

        Returns
        -------
        int64 array [D] or None
            None when the trace has other instructions than this design, another compute location,
            or a decision that the sampling instruction would not return.
        """
        trace = searched_part(trace)
        config = self.decided(trace) if signature(trace) == self.signature else None
        if config is None:
            return None
        for table in self.tables:
            if not (table.rows == config[list(table.columns)]).all(axis=1).any():
                return None
        return config

    def decided(self, trace: Trace) -> IntArray | None:
        """Read the decisions [D] of a trace with this design's instructions, unchecked.

        None where the trace leaves one open, or has another number of values than the columns.
        """
        decisions = trace.decisions
        return self.decided_by(lambda index: decision_of(trace, index, decisions))

    def decided_by(self, decision: Callable[[int], Raw | None]) -> IntArray | None:
        """As :meth:`decided`, of a function that gives the decision of an instruction."""
        config = np.empty(len(self.decisions), dtype=np.int64)
        for table in self.tables:
            raw = decision(table.instruction)
            row = raw and self._row(table, raw)
            if row is None:
                return None
            config[list(table.columns)] = row
        return config

    @cached_property
    def signature(self) -> str:
        """The trace's instructions without decisions; the same for all traces of the design."""
        return signature(self.trace)

    @cached_property
    def fixed_locations(self) -> dict[int, int]:
        """The fixed compute locations' codes by instruction, in trace order."""
        kind = DecisionKind.LOCATION
        return {d.instruction: d.domain[0] for d in self.decisions if d.kind is kind}

    @cached_property
    def _candidates(self) -> dict[int, tuple[int, ...]]:
        """The candidate lists of the categoricals by instruction."""
        insts = self.trace.insts
        wanted = {t.instruction for t in self.tables if self._kind(t) is DecisionKind.CATEGORICAL}
        return {i: plain(insts[i].attrs)[0] for i in sorted(wanted)}

    def _kind(self, table: SampleTable) -> DecisionKind:
        return self.decisions[table.columns[0]].kind

    def _row(self, table: SampleTable, raw: Raw) -> Raw | None:
        """Turn TVM's form of a decision into the columns' values."""
        candidates = self._candidates.get(table.instruction)
        if candidates is not None:
            return (candidates[raw[0]],) if 0 <= raw[0] < len(candidates) else None
        return raw if len(raw) == len(table.columns) else None

    def raw(self, config: IntArray) -> dict[int, Raw]:
        """Turn the columns' values into TVM's form of the decisions, by instruction.

        Raises
        ------
        ValueError
            For another number of values than decisions.
        InvalidSchedule
            For a value that is no whole number or no candidate.
        """
        config = np.asarray(config)
        if config.shape != (len(self.decisions),):
            raise ValueError(
                f"expected a config of {len(self.decisions)} values, got shape {config.shape}"
            )
        raw = {}
        for table in self.tables:
            values = tuple(self._whole(config[column], column) for column in table.columns)
            candidates = self._candidates.get(table.instruction)
            if candidates is not None:
                if values[0] not in candidates:
                    name = self.decisions[table.columns[0]].name
                    text = f"{name} must be one of {candidates}, got {values[0]}"
                    raise InvalidSchedule("decision", text)
                values = (candidates.index(values[0]),)
            raw[table.instruction] = values
        return raw

    def _whole(self, value: Any, column: int) -> int:
        if not math.isfinite(value) or value != int(value):
            name = self.decisions[column].name
            text = f"{name} must be a whole number, got {value}: see Sketch.nearest"
            raise InvalidSchedule("decision", text)
        return int(value)

    def _refuse_repairs(
        self, schedule: Schedule, config: IntArray, places: dict[int, int] | None = None
    ) -> None:
        """Compare the decisions with those made, at ``places`` of the schedule's trace if given."""
        trace = schedule.trace
        assert trace is not None
        decisions, insts = trace.decisions, trace.insts[:]
        for instruction, wanted in self.raw(config).items():
            at = instruction if places is None else places.get(instruction)
            if at is None:
                continue
            got = as_raw(decisions.get(insts[at], None))
            if got != wanted:
                table = next(t for t in self.tables if t.instruction == instruction)
                name = self.decisions[table.columns[0]].name
                raise InvalidSchedule("repaired", f"TVM made {got} of {wanted} for {name}")


def refusal(made: Callable[[IntArray], Any], config: IntArray) -> InvalidSchedule | None:
    """Say why a config does not replay or materialise; None when it does."""
    try:
        made(config)
    except InvalidSchedule as refused:
        return refused
    return None
