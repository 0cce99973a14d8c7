"""The Sketch: one program structure, its decisions, and everything known about them as arrays.

Notation
--------
n : number of configs.
D : number of decisions.
F : number of features.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tvm.s_tir import Schedule, Trace

from .algebra.constraints import Constraint, equal
from .algebra.expression import Expression, column
from .algebra.tape import Tape
from .describe import loop_nests
from .errors import EmptySpace, InvalidSchedule
from .miscompiled import REFUSED_INTRINSICS
from .sampling.nearest import nearest
from .sampling.sampler import Sampler
from .statements import Statement
from .task import Task, digest
from .trace.design import Decision, Design
from .trace.materialize import in_threads, useful_threads

if TYPE_CHECKING:
    from .analysis import Analysis

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.space")

# Defects of one kind that are worth a warning each; the counter knows the rest.
_LOUD = 3

_HOLD_BLOCKS = {"Blockize", "Tensorize"}
"""Instructions that put a block into another."""


class Sketch:
    """A design space as exact integer arithmetic.

    A config is a row of int64 values, one per decision. Everything but :meth:`schedule` and
    :meth:`schedules` is array arithmetic; the analysis behind it runs once, when it is first
    needed.

    Parameters
    ----------
    design : Design
        The traced design space opened up into decisions.
    analysis : Analysis, optional
        Quantities and constraints; derived from the design when left out.
    extra : sequence of Constraint
        More constraints to obey, see :meth:`narrowed`.

    Attributes
    ----------
    failures : Counter
        By reason, the configs that did not become schedules.
    """

    def __init__(
        self,
        design: Design,
        analysis: Analysis | None = None,
        extra: Sequence[Constraint] = (),
    ) -> None:
        self.design = design
        self.failures: Counter[str] = Counter()
        self._given = analysis
        self._extra = tuple(extra)

    @cached_property
    def analysis(self) -> Analysis:
        """Quantities, constraints and what could not be expressed exactly."""
        if self._given is not None:
            return self._given
        from .analysis import analyse

        # Our own programs are mostly analysed before anything is sampled: unless their loops were
        # asked for before, the analysis finds them among its own replays.
        if self._on_cpu and not self._says_its_loops:
            return analyse(self.design, loops=self._constant_loops)
        return analyse(self.design, loops=self.__dict__.get("_constant_loops"))

    @property
    def is_analysed(self) -> bool:
        """Whether quantities and statements are known, so that asking for them costs nothing."""
        return self._given is not None or "analysis" in self.__dict__

    @cached_property
    def task(self) -> Task:
        """The workload and target this is a sketch of."""
        return Task.of(self.design.mod, self.design.target)

    @cached_property
    def key(self) -> str:
        """Name the structure: 16 hexadecimal digits, the same in every process.

        Made of the task, the trace's instructions without decisions, and the fixed compute
        locations; not of constraints, so that :meth:`narrowed` keeps it.
        """
        design = self.design
        return digest(
            f"{self.task.key} {design.signature} {sorted(design.fixed_locations.items())}"
        )

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What is open, by column."""
        return self.design.decisions

    @property
    def names(self) -> tuple[str, ...]:
        """The decisions' names, by column."""
        return self.design.names

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """What may not happen; ``str(constraint)`` reads like a formula with its origin.

        On a CPU no postproc of TVM rejects a program for its sizes, only for loops of varying
        extent, so that sampling there needs no analysis. What compilers reject of tensorised
        programs is among those of :meth:`compilable`.
        """
        sampled = self._on_cpu and self._given is None
        derived = self._constant_loops if sampled else self.analysis.constraints
        extra = (replace(c, names=c.names or self.names) for c in self._extra)
        return (*self.design.constraints, *derived, *extra)

    @cached_property
    def _constant_loops(self) -> tuple[Constraint, ...]:
        from .analysis.derive.limits import named
        from .analysis.derive.varying_loops import constant_loops

        found = constant_loops(self.design, np.random.default_rng(0))
        return named(found, self.names)

    @property
    def _on_cpu(self) -> bool:
        return "cpu" in self.design.target.keys

    @property
    def _says_its_loops(self) -> bool:
        """Whether the trace itself unrolls or parallelises, so that a CPU has advice for it."""
        return bool(self._trace_kinds & {"Unroll", "Parallel"})

    @property
    def _trace_kinds(self) -> set[str]:
        return {str(instruction.kind.name) for instruction in self.design.trace.insts}

    def compilable(self) -> Sketch:
        """Return this sketch without configs of which it is known that they do not compile.

        Those of tensorised blocks on a CPU, in TVM's own space: ``VectorizeLoop`` refuses more than
        half of them. Only the analysis knows. Others are returned as they are.

        Raises
        ------
        EmptySpace
            Where none does: LLVM refuses the instruction that all are made of.
        """
        if self._given is not None or not (self._on_cpu and self._trace_kinds & _HOLD_BLOCKS):
            return self
        # Found as for sampling, so that the analysis adds to the constraints and changes none.
        _ = self._constant_loops
        refused = sorted({one.intrinsic for one in self.statements} & REFUSED_INTRINSICS)
        if refused:
            raise EmptySpace(
                f"LLVM refuses {refused[0]}, which performs the blocks of every config"
            )
        return Sketch(self.design, self.analysis, self._extra)

    def narrowed(self, *, canonical: bool = True, preferences: bool = False) -> Sketch:
        """Return this sketch without configs that are another's program or can hardly be fast.

        On a CPU where postprocs unroll and parallelise, as in TVM's own space, this is the sketch
        itself: nothing is known there of either kind, so that it need not be analysed.

        Parameters
        ----------
        canonical : bool
            Keep one config per program where the analysis knows that several give the same.
        preferences : bool
            Drop configs that are valid but can hardly be fast. A preference that no config of
            this shape can meet is left out.

        Raises
        ------
        UnsupportedTrace
            When the analysis finds no config that replays.
        """
        if self._on_cpu and not self._says_its_loops:
            return self
        narrowed = Sketch(self.design, self.analysis, self._extra)
        if canonical:
            narrower = Sketch(self.design, self.analysis, [*self._extra, *self.analysis.canonical])
            # Of several configs of one program, a fixed decision may leave the other ones.
            narrowed = narrowed if self._extra and narrower.count() == 0 else narrower
        for preference in self.analysis.preferences if preferences else ():
            narrower = Sketch(self.design, self.analysis, [*narrowed._extra, preference])
            if narrower.count() != 0:
                narrowed = narrower
        return narrowed

    def fix(self, values: Mapping[str, int] | None = None, /, **named: int) -> Sketch:
        """Return this sketch with some decisions made: ``sketch.fix({"m.2": 8}, unroll=16)``.

        Parameters
        ----------
        values : mapping of str to int, optional
            Value of each decision by its name in `names`.
        **named : int
            The same, for names that are Python identifiers.

        Raises
        ------
        ValueError
            For a name that is no decision's, or a value that the decision never takes.
        EmptySpace
            When no valid config has these values together.
        """
        wanted = {**(values or {}), **named}
        origin = "fixed by the user"
        fixed = [equal(column(self._column(name, v)), v, origin) for name, v in wanted.items()]
        sketch = Sketch(self.design, self._given, (*self._extra, *fixed))
        # What is known stays known, and constraints are the same whether it is or not.
        known = ("analysis", "_constant_loops")
        vars(sketch).update({name: vars(self)[name] for name in known if name in vars(self)})
        sketch.sample(1, np.random.default_rng(0))
        return sketch

    def _column(self, name: str, value: int) -> int:
        """Find a decision that may take a value."""
        if name not in self.names:
            raise ValueError(f"expected one of the decisions {list(self.names)}, got {name!r}")
        found = self.names.index(name)
        domain = self.decisions[found].domain
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise ValueError(f"expected a whole number for {name}, got {value!r}")
        if value not in domain:
            raise ValueError(f"expected {name} to be one of {list(domain)}, got {value}")
        return found

    @property
    def quantities(self) -> Mapping[str, Expression]:
        """Every extent, footprint and count by name, as an expression of the decisions."""
        return self.analysis.quantities

    @property
    def statements(self) -> tuple[Statement, ...]:
        """What the program computes, in its order, as it will be lowered."""
        return self.analysis.statements

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler over tables and constraints."""
        return Sampler(self.design.tables, self.constraints, len(self.decisions))

    def count(self) -> int | None:
        """Return the exact number of valid configs, or None when it cannot be counted."""
        return self.sampler.count()

    def sample(self, n: int, rng: np.random.Generator) -> IntArray:
        """Draw ``n`` valid configs, with replacement, uniformly; int64 [n, D].

        Raises
        ------
        EmptySpace
            When nothing is valid; says which constraints exclude everything, and by how much.
        SparseSpace
            When ``n`` of them would take too many draws.
        """
        return self.sampler.sample(n, rng)

    def recombine(self, parents: IntArray, keys: BoolArray, rng: np.random.Generator) -> IntArray:
        """Draw one valid child per group of parents.

        Parameters
        ----------
        parents : int64 array [m, P, D]
            Valid configs.
        keys : bool array [m, D]
            Child ``i``'s column ``d`` takes one of ``parents[i, :, d]`` where ``keys[i, d]``.

        Returns
        -------
        int64 array [m, D]

        Raises
        ------
        ValueError
            For other shapes, or a parent with values that no row of a table has.
        """
        return self.sampler.recombine(parents, keys, rng)

    def nearest(self, configs: ArrayLike, rng: np.random.Generator) -> IntArray:
        """Return a valid config near each of ``configs`` [n, D], whole numbers or not.

        Near in log2 of the values, see :mod:`.sampling.nearest`; a valid config is its own answer.

        Raises
        ------
        ValueError
            For another shape, or values that are not finite.
        EmptySpace
            When nothing is valid.
        """
        return nearest(self.sampler, configs, rng)

    def is_valid(self, configs: IntArray) -> BoolArray:
        """Tell which configs [n, D] are rows of the tables and satisfy the constraints; [n].

        Raises
        ------
        ValueError
            For another shape; values that are no whole numbers are only not valid.
        """
        return self.sampler.is_valid(configs)

    def extents(self, configs: IntArray, *, replay: bool = False) -> dict[str, IntArray]:
        """Evaluate every quantity on configs [n, D]; int64 [n] by name.

        Parameters
        ----------
        configs : int64 array [n, D]
        replay : bool
            Read what has no expression (``analysis.unresolved``) off the programs of the configs,
            at some milliseconds each; -1 where a config does not replay.
        """
        known = dict(zip(self.quantities, Tape(list(self.quantities.values()))(configs)))
        if not replay or not self.analysis.unresolved:
            return known
        from .analysis.replayed import replayed_quantities

        return {**known, **replayed_quantities(self.design, self.analysis, configs)}

    @cached_property
    def _features(self) -> tuple[tuple[str, Expression], ...]:
        varying = {d.column for d in self.decisions if len(d.domain) > 1}
        own = [(self.names[c], column(c)) for c in sorted(varying)]
        derived = [(k, e) for k, e in self.quantities.items() if e.columns & varying]
        return (*own, *derived)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What the columns of :meth:`features` are; F names."""
        return tuple(name for name, _ in self._features)

    @property
    def feature_columns(self) -> tuple[frozenset[int], ...]:
        """Which decisions each feature reads; F sets of columns."""
        return tuple(expression.columns for _, expression in self._features)

    def features(self, configs: IntArray) -> FloatArray:
        """Return log2(1 + x) of every varying decision and quantity; float64 [n, F].

        Quantities are counts and sizes, >= 0; a negative one is taken as 0.
        """
        features = np.empty((len(configs), len(self._features)))
        for start, values in self._feature_tape.pieces(configs):
            np.maximum(values, 0, out=values)
            features[start : start + values.shape[1]] = np.log2(values + 1.0).T
        return features

    @cached_property
    def _feature_tape(self) -> Tape:
        return Tape([expression for _, expression in self._features])

    def schedule(self, config: IntArray) -> Schedule:
        """Materialise one config, postprocs applied.

        Raises
        ------
        InvalidSchedule
            When a primitive, a read-back or a postproc refuses; counted in ``failures``.
        ValueError
            For another number of values than decisions.
        """
        outcome = self._attempt(config)
        if isinstance(outcome, InvalidSchedule):
            self._record(config, outcome)
            raise outcome
        return outcome

    def schedules(
        self, configs: IntArray, threads: int | None = None
    ) -> list[Schedule | InvalidSchedule]:
        """Materialise many configs [n, D]; failures take their place in the list.

        In parallel on ``threads`` threads, by default as many as there are cores, up to 8: TVM
        works outside the interpreter lock (measured on 2 cores: 1.8 times faster for tensor cores,
        where a config takes longest, 1.0 times for plain CPU GEMM, where Python's share is most).

        Raises
        ------
        ValueError
            For another number of values than decisions.
        """
        threads = useful_threads() if threads is None else threads
        outcomes = list(in_threads(self._attempt, list(configs), threads))
        for config, outcome in zip(configs, outcomes):
            if isinstance(outcome, InvalidSchedule):
                self._record(config, outcome)
        return outcomes

    def _attempt(self, config: IntArray) -> Schedule | InvalidSchedule:
        try:
            return self.design.materialize(config)
        except InvalidSchedule as failure:
            return failure

    def _record(self, config: IntArray, failure: InvalidSchedule) -> None:
        """Count a failure, and say so when the constraints had not foreseen it."""
        self.failures[failure.reason] += 1
        if not self.is_valid(np.asarray(config)[None])[0]:
            return
        level = logging.WARNING if self.failures[failure.reason] <= _LOUD else logging.DEBUG
        logger.log(
            level,
            "the constraints allow what is refused: %s; config %s",
            failure,
            dict(zip(self.names, np.asarray(config).tolist())),
        )

    def config_of(self, trace: Trace) -> IntArray | None:
        """Read a config [D] back from a trace; None when it is not one of this sketch's design.

        Whether constraints hold for it, those that were fixed too, is for `is_valid` to say.
        """
        return self.design.config_of(trace)

    def describe(self, config: IntArray | None = None) -> str:
        """Say what is open and what constrains it; of a config [D], what its program looks like.

        The program is written as the loop nests that lowering makes, each line with the bytes that
        are touched while its loop runs.

        Raises
        ------
        ValueError
            For another number of values than decisions.
        """
        if config is None:
            return self._description()
        config = np.asarray(config)
        if config.shape != (len(self.decisions),):
            raise ValueError(
                f"expected a config of {len(self.decisions)} values, got shape {config.shape}"
            )
        decisions = ", ".join(f"{name} = {int(v)}" for name, v in zip(self.names, config))
        return "\n".join([decisions, *loop_nests(self.statements, config)])

    def _description(self) -> str:
        count = self.count()
        lines = [f"{len(self.decisions)} decisions, {count if count is not None else '?'} configs"]
        for decision in self.decisions:
            values = ", ".join(map(str, decision.domain[:12]))
            more = ", …" if len(decision.domain) > 12 else ""
            lines.append(f"  {decision.name} in {{{values}{more}}}")
        lines.append(f"{len(self.constraints)} constraints")
        lines += [f"  {constraint}" for constraint in self.constraints]
        lines += [f"  note: {note}" for note in self.design.notes]
        for name, reason in self.analysis.unresolved.items():
            lines.append(f"  not expressed exactly: {name}: {reason}")
        return "\n".join(lines)
