"""The round that all strategies share: propose, materialise, measure, learn.

A *search* is an algorithm on arrays: asked for points worth measuring, it answers from what has
been measured and a scorer. `TaskSearch` surrounds it with what every search needs: programs are
never measured twice (structural hash), candidates that cannot be materialised are replaced until
the batch is full, those that would take long to compile (`build_effort`) wait until there are no
others, a run of T trials proposes exactly T unless the space runs out, and earlier
records of the same workload count as measured.

Who calls what, once per round: `TaskSearch.next_batch` → `Scorer.learn` → `Search.propose` →
``materialize``; then `TaskSearch.tell` with the latencies. Learning waits for the next batch, so
that between the two a model can still be asked what it had expected of this one.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mschedx.cost.base import Measured
from mschedx.ranges import require_count
from mschedx.run_stages import LOWER, stage
from mschedx.space.errors import InvalidSchedule

from .build_effort import BuildEffort
from .history import History
from .points import FloatArray, Points, SketchSet
from .request import Request
from .scoring import Scorer, measured_by_sketch

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.search")

_PATIENCE = 8
"""Proposals in a row that add nothing to a batch before it is sent as it is."""

_LOUD = 3
"""Configs that do not materialise for one reason that are said one by one; all are counted."""

_FIRST = 2
"""Candidates of a first round while design spaces are still to be opened."""


class Search(Protocol):
    """An algorithm that decides what to measure next; one object serves one task."""

    def propose(self, request: Request) -> Points:
        """Propose points to measure, most wanted first.

        Parameters
        ----------
        request : Request
            How many are wanted, and what there is to go by.

        Returns
        -------
        Points
            Valid, distinct, none in ``request.history.tried``. More than ``request.count`` when
            spares are at hand for points that do not materialise; fewer, or none, when the space
            has no more.
        """
        ...


@dataclass(frozen=True)
class Candidate:
    """A point with its program.

    Parameters
    ----------
    point : Points [1]
    schedule : tvm.s_tir.Schedule
        Materialised, postprocessors applied.
    program : int
        Structural hash of the scheduled module.
    """

    point: Points
    schedule: Any
    program: int


class Materializer:
    """Points to programs, remembered for a round, failures counted by reason.

    Parameters
    ----------
    space : SketchSet
    program_hash : callable
        Structural hash of a module.
    """

    def __init__(self, space: SketchSet, program_hash: Callable[[Any], int]) -> None:
        self._space, self._hash = space, program_hash
        self._known: dict[bytes, Candidate | None] = {}
        self.failures: Counter[str] = Counter()

    def __call__(self, points: Points) -> list[Candidate | None]:
        """Materialise points [n]: a candidate each, or None where the schedule is refused."""
        return [self._one(points, i, key) for i, key in enumerate(points.codes())]

    def forget(self) -> None:
        """Drop the remembered programs; scores of the next round come from other points."""
        self._known.clear()

    def _one(self, points: Points, position: int, key: bytes) -> Candidate | None:
        if key not in self._known:
            self._known[key] = self._build(points, position)
        return self._known[key]

    def _build(self, points: Points, position: int) -> Candidate | None:
        sketch = self._space.sketches[points.sketch[position]]
        try:
            with stage(LOWER):
                schedule = sketch.schedule(self._space.config(points, position))
        except InvalidSchedule as error:
            self.failures[error.reason] += 1
            level = logging.WARNING if self.failures[error.reason] <= _LOUD else logging.DEBUG
            logger.log(level, "a config the constraints allow does not materialise: %s", error)
            return None
        return Candidate(points.take(np.array([position])), schedule, self._hash(schedule.mod))


class TaskSearch:
    """The rounds of one task.

    Parameters
    ----------
    space : SketchSet
    search : Search
    scorer : Scorer
    materialize : Materializer
    trials : int
        Candidates to propose in all, > 0.
    batch : int
        Most candidates per round, > 0.
    rng : numpy.random.Generator
    history : History, optional
        Points measured before, in another run.
    programs : iterable of int
        Structural hashes measured before, known points or not.
    first : Points, optional
        Points to measure before the search is asked. Those that are not valid in ``space``, or of a
        sketch that is not open, are measured, too; the search does not learn of them.

    Raises
    ------
    ValueError
        For trials or a batch below 1.
    """

    def __init__(
        self,
        space: SketchSet,
        search: Search,
        scorer: Scorer,
        materialize: Materializer,
        *,
        trials: int,
        batch: int,
        rng: np.random.Generator,
        history: History | None = None,
        programs: Sequence[int] = (),
        first: Points | None = None,
    ) -> None:
        trials, batch = require_count("trials", trials), require_count("batch", batch)
        self.space, self.scorer, self.materialize = space, scorer, materialize
        self.history = history if history is not None else History.of(space)
        self._search, self._rng = search, rng
        self._left, self._batch = trials, batch
        self._programs = set(programs)
        self._first = space.empty() if first is None else first
        self._effort, self._held_back = BuildEffort(space), space.empty()
        self._in_flight: dict[int, Candidate] = {}  # by program, which no other has
        self._learnt = 0
        self._begun = False

    @property
    def nothing_found(self) -> bool:
        """Whether there is no program at all, neither of this run nor of an earlier one."""
        return not self._programs

    def next_batch(self) -> list[Candidate] | None:
        """Return the next candidates, at least one; None when trials or space are used up."""
        self.learn()
        wanted = min(self._left, self._batch)
        if self.space.unbegun and not self._begun:
            wanted = min(wanted, _FIRST)
        batch: list[Candidate] = []
        idle = 0
        if self._begun:
            self.space.grow()
        self._begun = True
        while len(batch) < wanted and idle < _PATIENCE:
            missing = wanted - len(batch)
            points = self._given(missing)
            if len(points):
                found = self._admit(points, missing)
            else:
                points = self._proposed(missing)
                found = self._admit(self._without_great_effort(points), missing)
            batch.extend(found)
            if found or self.space.grow():
                idle = 0
            elif len(points):
                idle += 1
            else:
                break
        if not batch:
            batch = self._of_held_back(wanted)
        self.materialize.forget()
        self._left -= len(batch)
        self._in_flight |= {candidate.program: candidate for candidate in batch}
        if not batch and wanted:
            self._explain_end()
        return batch or None

    def tell(self, latency_s: FloatArray, programs: Sequence[int] | None = None) -> None:
        """Record latencies of candidates.

        Parameters
        ----------
        latency_s : float64 array [n]
            Seconds, > 0; ``inf`` for one that failed.
        programs : sequence of n int, optional
            Structural hashes of the modules that were measured, in any order and of any batch;
            those left out may follow later, or never. When None, the latencies are of all
            candidates without one, in the order in which they were proposed.

        Raises
        ------
        ValueError
            For another number of latencies than of candidates, and for a program that was not
            proposed or has its latency.
        """
        programs = list(self._in_flight if programs is None else programs)
        if len(latency_s) != len(programs):
            raise ValueError(
                f"expected results of {len(programs)} candidates, got {len(latency_s)}"
            )
        wrong = len(programs) - len(self._in_flight.keys() & set(programs))
        if wrong:
            raise ValueError(
                "expected results of candidates that wait for them, got "
                f"{wrong} of {len(programs)} that were never proposed or have theirs: hand back "
                "the candidates that were generated, each once"
            )
        if not programs:
            return
        points = Points.concatenate([self._in_flight[program].point for program in programs])
        valid = self.space.is_valid(points)
        self.history.add(points.take(valid), np.asarray(latency_s)[valid])
        for program in programs:
            del self._in_flight[program]

    def learn(self) -> None:
        """Teach the scorer, if there is something new."""
        if len(self.history) > self._learnt:
            self.scorer.learn(self.history)
            self._learnt = len(self.history)

    def measured(self) -> list[Measured]:
        """All trials so far by sketch, as a cost model learns them."""
        return measured_by_sketch(self.history, self.space)

    def _given(self, count: int) -> Points:
        """The next of what is to be measured first."""
        waiting = self._first.distinct(self.history.tried)
        order = np.arange(len(waiting))
        self._first = waiting.take(order[count:])
        return waiting.take(order[:count])

    def _proposed(self, count: int) -> Points:
        return self._search.propose(
            Request(count, self.space, self.history, self.scorer, self._rng)
        )

    def _without_great_effort(self, points: Points) -> Points:
        """Hold back the points [n] that take long to compile; the others, in order."""
        great = self._effort.is_great(points)
        if great.any():
            if not len(self._held_back):
                logger.info(
                    "task %s: programs that LLVM would be busy with for long are held back",
                    self.space.task.name,
                )
            held = points.take(great)
            self._held_back = Points.concatenate([self._held_back, held])
            self.history.tried.update(held.codes())
        return points.take(~great)

    def _of_held_back(self, count: int) -> list[Candidate]:
        """What was held back, least effort first, where there is nothing else."""
        order = np.argsort(self._effort.of(self._held_back), kind="stable")
        waiting = self._held_back.take(order)
        batch = self._admit(waiting, count)
        admitted = {code for candidate in batch for code in candidate.point.codes()}
        self._held_back = waiting.distinct(admitted)
        return batch

    def _admit(self, points: Points, missing: int) -> list[Candidate]:
        """Materialise points in order until ``missing`` new programs are found."""
        found: list[Candidate] = []
        for position, key in enumerate(points.codes()):
            if len(found) == missing:
                break
            self.history.tried.add(key)
            candidate = self.materialize(points.take(np.array([position])))[0]
            if candidate is None or candidate.program in self._programs:
                continue
            self._programs.add(candidate.program)
            found.append(candidate)
        return found

    def _explain_end(self) -> None:
        logger.log(
            logging.WARNING if self.nothing_found else logging.INFO,
            "no new program with %d trials left: %d measured, %d configs tried, not materialised: "
            "%s",
            self._left,
            len(self.history),
            len(self.history.tried),
            dict(self.materialize.failures) or "none",
        )
