"""TVM traces: replaying them, reading decisions back, naming what is sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import tirx
from tvm.s_tir import Schedule, Trace
from tvm.s_tir.stmt import SBlockRealize

from mschedx.error_text import last_line

from ..annotation_keys import COOPERATIVE_FETCH, UNROLL_EXPLICIT, UNROLL_IMPLICIT, UNROLL_LIMIT
from ..errors import InvalidSchedule, UnsupportedTrace

TILES = ("SamplePerfectTile", "SamplePartitionedTile")
SAMPLERS = (*TILES, "SampleCategorical", "SampleComputeLocation")

# Annotations whose last word does not say what the decision is about.
_SHORT = {
    UNROLL_EXPLICIT: "unroll",
    UNROLL_IMPLICIT: "unroll",
    COOPERATIVE_FETCH: "fetch",
    UNROLL_LIMIT: "unroll",
}

Raw = tuple[int, ...]
"""A decision as TVM stores it: the factors of a tile, a candidate's index, a location's code."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One sampling instruction as seen in a replay.

    Parameters
    ----------
    instruction : int
        Index in the trace.
    kind : str
        The instruction's kind, one of ``SAMPLERS``.
    attributes : tuple
        Its static attributes, as plain Python values.
    name : str
        What it decides: ``"matmul.i"``, ``"unroll"``, ``"A_shared.fetch"``, ``"pad.location"``.
    """

    instruction: int
    kind: str
    attributes: tuple[Any, ...]
    name: str


def plain(value: Any) -> Any:
    """Turn FFI containers and immediates into tuples and Python numbers."""
    if isinstance(value, tirx.IntImm):
        return int(value.value)
    if isinstance(value, tirx.FloatImm):
        # float32 attributes come back from JSON as doubles with other digits.
        return round(float(value.value), 6)
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, bool):
        # Records hold 0 and 1.
        return int(value)
    if isinstance(value, (str, bytes, int)) or value is None:
        return value
    if isinstance(value, dict) or hasattr(value, "items"):
        return tuple(sorted((str(plain(k)), plain(v)) for k, v in value.items()))
    if isinstance(value, Sequence):
        return tuple(plain(item) for item in value)
    return str(value)


def searched_part(schedule_or_trace: Schedule | Trace) -> Trace:
    """Return the trace without postprocs and dead instructions, the form that records keep."""
    trace = schedule_or_trace
    if isinstance(trace, Schedule):
        trace = trace.trace
    if trace is None:
        raise UnsupportedTrace(
            "expected a traced schedule, got one without a trace: build it with "
            "tvm.s_tir.Schedule(mod), whose trace is on by default"
        )
    return trace.simplified(remove_postproc=True)


def touch(schedule: Schedule) -> None:
    """Look up the root block: TVM passes over records whose trace has no instruction."""
    (variable,) = schedule.mod.get_global_vars()
    root = schedule.mod[variable].body.block.name_hint
    schedule.get_sblock(root, func_name=variable.name_hint)


def sampling_instructions(trace: Trace) -> list[int]:
    """List the indices of the sampling instructions.

    Raises
    ------
    UnsupportedTrace
        When an instruction samples or carries a decision, and its kind is not known here.
    """
    found = []
    decisions = trace.decisions
    for index, instruction in enumerate(trace.insts):
        kind = instruction.kind.name
        if kind in SAMPLERS:
            found.append(index)
        elif kind.startswith("Sample") or instruction in decisions:
            raise UnsupportedTrace(
                f"instruction {index} of the trace, {kind}, makes a decision that is not one of "
                f"{', '.join(SAMPLERS)}: express the choice with one of these"
            )
    return found


def signature(trace: Trace) -> str:
    """Write the trace's instructions, without decisions, as a string to compare structures by."""
    return repr(plain(trace.as_json(remove_postproc=True)[0]))


def decision_of(trace: Trace, index: int, decisions: Any = None) -> Raw | None:
    """Read the decision of instruction ``index``; None when the trace leaves it open.

    ``decisions`` are the trace's, for who reads many: asking the trace for them copies them.
    """
    decisions = trace.decisions if decisions is None else decisions
    return as_raw(decisions.get(trace.insts[index], None))


def as_raw(decision: Any) -> Raw | None:
    """Give a decision as TVM or JSON has it as a tuple; None for none."""
    if decision is None:
        return None
    value = plain(decision)
    return value if isinstance(value, tuple) else (value,)


def unscheduled(mod: tvm.IRModule, seed: int = 1) -> Schedule:
    """Begin a schedule whose steps are not checked twice and whose errors are short."""
    return Schedule(mod, seed=seed, debug_mask="none", error_render_level="none")


def replay(
    start: tvm.IRModule | Schedule, trace: Trace, provider: Callable | None = None, seed: int = 1
) -> Any:
    """Apply ``trace`` without its postprocs to a fresh schedule of a module.

    Parameters
    ----------
    start : tvm.IRModule or Schedule
        A schedule is left as it is: to copy one takes a hundredth of the time of reading a module.
    trace : Trace
    provider : callable, optional
    seed : int
        Of what the trace leaves to chance.

    Raises
    ------
    InvalidSchedule
        With reason ``"primitive"`` when a schedule primitive refuses.
    """
    if isinstance(start, Schedule):
        schedule = start.copy()
        schedule.seed(seed)
    else:
        schedule = unscheduled(start, seed)
    mistakes: list[Exception] = []
    watch = None if provider is None else _guarded(provider(schedule), mistakes)
    try:
        trace.apply_to_schedule(schedule, True, watch)
    except Exception as error:  # TVM's schedule errors share no base class with its FFI errors.
        if mistakes:
            raise mistakes[0] from error
        raise InvalidSchedule("primitive", last_line(error)) from error
    return schedule


def _guarded(watch: Callable, mistakes: list[Exception]) -> Callable:
    """Keep what a callback raises apart from what TVM raises."""

    def call(*arguments: Any) -> Any:
        try:
            return watch(*arguments)
        except Exception as error:
            mistakes.append(error)
            raise

    return call


def seed_of(number: int) -> int:
    """Return the ``number``-th of a fixed list of seeds.

    TVM's generator is linear congruential: small consecutive seeds give nearly equal first draws.
    """
    return int(np.random.default_rng(number).integers(1, 2**31 - 1))


def with_decisions(trace: Trace, raw: dict[int, Raw]) -> Trace:
    """Return the same instructions with the given decisions; the rest are left open."""
    instructions = trace.insts[:]
    decisions = {}
    for index, value in raw.items():
        tile = instructions[index].kind.name in TILES
        decisions[instructions[index]] = list(value) if tile else value[0]
    return Trace(instructions, decisions)


def inspect(mod: tvm.IRModule, trace: Trace) -> list[Sampled]:
    """Replay ``trace`` once and say what each sampling instruction decides.

    Raises
    ------
    UnsupportedTrace
        For an unknown sampling instruction, or a tile of a loop whose extent is not a constant.
    InvalidSchedule
        When the trace does not replay on ``mod``.
    """
    indices = sampling_instructions(trace)
    names: list[str] = []

    def provider(schedule: Any) -> Callable:
        def watch(instruction: Any, inputs: Any, attributes: Any, decision: Any) -> Any:
            kind = instruction.kind.name
            if kind in TILES:
                names.append(_loop_name(schedule, inputs[0]))
            elif kind == "SampleComputeLocation":
                names.append(f"{schedule.get(inputs[0]).name_hint}.location")
            elif kind == "SampleCategorical":
                names.append("")
            return decision

        return watch

    done = replay(mod, trace, provider)
    if len(done.trace.insts) != len(trace.insts):
        raise UnsupportedTrace("the trace's instructions change their number when it is replayed")
    sampled = []
    for index, name in zip(indices, _unique(_name_choices(done, indices, names))):
        instruction = trace.insts[index]
        attributes = plain(instruction.attrs)
        sampled.append(Sampled(index, instruction.kind.name, attributes, name))
    return sampled


def _loop_name(schedule: Any, loop_rv: Any) -> str:
    loop = schedule.get(loop_rv)
    block = _first_block(loop.body)
    name = f"{block}.{loop.loop_var.name}" if block else loop.loop_var.name
    if not isinstance(loop.extent, tirx.IntImm):
        raise UnsupportedTrace(
            f"loop {name} has extent {loop.extent}, not a constant: shapes must be static to be "
            "tuned; bind the symbolic dimensions first"
        )
    return name


def _first_block(statement: Any) -> str | None:
    while statement is not None:
        if isinstance(statement, SBlockRealize):
            return statement.block.name_hint
        statement = (
            statement.seq[0]
            if isinstance(statement, tirx.SeqStmt)
            else (getattr(statement, "body", None))
        )
    return None


def _name_choices(done: Any, indices: list[int], names: list[str]) -> list[str]:
    """Name the categoricals by the instruction that uses them."""
    instructions = list(done.trace.insts)
    named = []
    for index, name in zip(indices, names):
        if not name:
            output = instructions[index].outputs[0]
            users = [
                other
                for other in instructions[index + 1 :]
                if any(getattr(item, "same_as", lambda _: False)(output) for item in other.inputs)
            ]
            name = _choice_name(done, users[0]) if users else "choice"
        named.append(name)
    return named


def _choice_name(done: Any, user: Any) -> str:
    kind = user.kind.name
    word = kind.lower()
    if kind == "Annotate":
        key = str(plain(user.attrs)[0])
        word = _SHORT.get(key, key.rsplit(".", 1)[-1])
    try:
        target = done.get(user.inputs[0])
    except ValueError:  # The block was inlined or the loop fused later: its name is gone.
        return word
    if isinstance(target, tirx.For):
        return f"{target.loop_var.name}.{word}"
    name = getattr(target, "name_hint", "root")
    return word if name == "root" else f"{name}.{word}"


def _unique(names: list[str]) -> list[str]:
    """Number the repetitions: ``unroll``, ``unroll#2``."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return unique
