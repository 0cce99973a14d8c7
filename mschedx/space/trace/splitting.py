"""One design space with compute locations, split into a design per combination of them.

Where a block is computed changes the program's structure, so that within a design it is fixed. Of
the combinations that TVM may offer, those that a config reaches and TVM accepts become designs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.s_tir import Schedule, Trace

from ..algebra.constraints import Constraint
from ..errors import DYNAMIC_LOOP, InvalidSchedule
from .design import Design, refusal
from .fixed_locations import ROOT
from .instructions import (
    Raw,
    decision_of,
    inspect,
    sampling_instructions,
    searched_part,
    with_decisions,
)
from .location_offers import scales_an_index
from .locations import MAX_COMBINATIONS, LocationChoice, combinations
from .materialize import Postprocs
from .tables import Decision, DecisionKind, SampleTable

IntArray = NDArray[np.int64]

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.space")

# Random configs to learn from where a block may be computed, and to check it by; more of them
# where loops of varying extent, which only some tiles leave, are all that is found.
_DRAWS, _MORE, _CHECKED = 12, 36, 8
_LEARNT = (DYNAMIC_LOOP, "VerifyGPUCode")
"""Postprocs whose refusals become constraints."""


def split(
    schedule: Schedule | Trace,
    mod: tvm.IRModule,
    target: tvm.target.Target,
    postprocs: Postprocs | None = None,
    limit: int = MAX_COMBINATIONS,
) -> list[Design]:
    """Open up a design space into one design per combination of compute locations.

    At most ``limit`` of them, spread over the choices; ``notes`` says where there were more.

    Raises
    ------
    UnsupportedTrace, EmptySpace, InvalidSchedule
        As :meth:`Design.from_schedule`, or when what it was opened with does not replay.
    """
    whole = Design.from_schedule(_at_root(searched_part(schedule)), mod, target, postprocs)
    if not whole.locations:
        return [whole]
    spots = [item for item in inspect(mod, whole.trace) if item.kind == DecisionKind.LOCATION]

    def drawn(more: Sequence[Constraint]) -> list[tuple[dict[int, Raw], IntArray]]:
        return _drawn(whole, more)

    choices, cut = combinations(mod, whole.trace, spots, drawn, limit)
    scales = scales_an_index(whole.replay(whole.base).mod)
    made = (_moved(whole, choice, scales) for choice in choices)
    designs = [design for design in made if design is not None]
    if cut:
        note = f"one of {len(designs)} combinations of compute locations; there are more"
        designs = [replace(design, notes=(*design.notes, note)) for design in designs]
    return designs


def refused_somewhere(design: Design) -> InvalidSchedule | None:
    """What refuses one of a few configs of a doubtful design, and no analysis learns of.

    It takes as long as so many replays; None, at once, of a design that is not doubtful.
    """
    if not design.doubtful:
        return None
    for config in design.sampler().sample(_CHECKED, np.random.default_rng(4)):
        refused = refusal(design.postprocess, config)
        if refused is not None and refused.reason not in _LEARNT:
            return refused
    return None


def _moved(whole: Design, choice: LocationChoice, scales: bool) -> Design | None:
    """Move to other compute locations; None when no config reaches them, or none is accepted.

    What TVM's postprocs make of a location may hang on it alone (a block that is computed at a
    consumer which reads it backwards has bindings that ``RewriteParallelVectorizeUnroll``
    refuses), or on tiles in a way that nothing learns of: where an index ``scales``, what is
    computed below a loop is doubtful.
    """

    def with_code(decision: Decision) -> Decision:
        code = choice.codes.get(decision.instruction)
        return decision if code is None else replace(decision, domain=(code,))

    def with_row(table: SampleTable) -> SampleTable:
        code = choice.codes.get(table.instruction)
        if code is None:
            return table
        return SampleTable(table.instruction, table.columns, np.array([[code]]))

    own = (replace(c, names=whole.names) for c in choice.constraints)
    moved = replace(
        whole,
        decisions=tuple(map(with_code, whole.decisions)),
        tables=tuple(map(with_row, whole.tables)),
        constraints=(*whole.constraints, *own),
        doubtful=scales and max(choice.codes.values()) > ROOT,
    )
    works = _default_of(moved)
    if works is None:
        return None
    moved.base = works
    moved.trace = moved.trace_for(works)
    return moved


def _default_of(design: Design) -> IntArray | None:
    """A config that materialises, or at least fails in a way that analyses learn of.

    None where there is none among a dozen, or only loops of varying extent among some more.
    """
    sampler = design.sampler()
    if sampler.count() == 0:
        return None
    rng = np.random.default_rng(1)
    learnt: dict[str, IntArray] = {}
    seen: set[bytes] = set()
    tiles = [d.column for d in design.decisions if d.kind is not DecisionKind.CATEGORICAL]
    for count in (_DRAWS, _MORE):
        for config in sampler.sample(count, rng):
            if learnt.keys() <= {DYNAMIC_LOOP} and config[tiles].tobytes() in seen:
                continue
            seen.add(config[tiles].tobytes())
            refused = refusal(design.materialize, config)
            if refused is None:
                return config
            logger.info("%s does not materialise: %s", design.locations, refused)
            if refused.reason in _LEARNT:
                learnt.setdefault(refused.reason, config)
        if learnt.keys() != {DYNAMIC_LOOP}:
            break
    learnt.pop(DYNAMIC_LOOP, None)
    return next(iter(learnt.values()), None)


def _drawn(design: Design, more: Sequence[Constraint]) -> list[tuple[dict[int, Raw], IntArray]]:
    """Draw distinct configs that satisfy more constraints, in TVM's form too."""
    sampler = replace(design, constraints=(*design.constraints, *more)).sampler()
    if sampler.count() == 0:
        return []
    configs = sampler.sample(_DRAWS, np.random.default_rng(0))
    _, first = np.unique(configs, axis=0, return_index=True)
    return [(design.raw(config), config) for config in configs[np.sort(first)]]


def _at_root(trace: Trace) -> Trace:
    """Put every compute location at the root, which TVM always offers."""
    decisions = {}
    for index in sampling_instructions(trace):
        raw = decision_of(trace, index)
        if trace.insts[index].kind.name == DecisionKind.LOCATION:
            raw = (-1,)
        if raw is not None:
            decisions[index] = raw
    return with_decisions(trace, decisions)
