"""Tables: the integer columns of a trace and everything its sampling instructions can return.

Notation
--------
D : number of decisions, the columns of a config.
k : number of replays observed.
r : number of rows of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.s_tir import Trace

from ..algebra.constraints import Constraint, Relation
from ..algebra.expression import Monomial, constant, monomial
from ..errors import EmptySpace, InvalidSchedule, UnsupportedTrace
from .factors import partitioned_tiles, perfect_tiles
from .instructions import (
    TILES,
    Raw,
    Sampled,
    as_raw,
    decision_of,
    replay,
    seed_of,
    with_decisions,
)
from .prefix import tail
from .tile_products import fit_product

IntArray = NDArray[np.int64]

# Replays with fresh random decisions: few show whether a loop's extent depends on an earlier
# decision, many are needed to say how.
_PROBES, _FIT_PROBES = 3, 48
_MOST_ATTEMPTS = 8


class DecisionKind(StrEnum):
    """Which sampling instruction a decision belongs to."""

    TILE = "SamplePerfectTile"
    PARTITIONED = "SamplePartitionedTile"
    CATEGORICAL = "SampleCategorical"
    LOCATION = "SampleComputeLocation"


@dataclass(frozen=True, slots=True)
class Decision:
    """One column of a config.

    Parameters
    ----------
    name : str
        Unique and readable: ``"matmul.i.0"`` is the outermost tile of loop ``i`` of block
        ``matmul``; ``"unroll"``, ``"A_shared.fetch"`` and ``"pad.location"`` are others.
    column : int
        Position in the config.
    kind : DecisionKind
    domain : tuple of int
        The values it can take, sorted.
    instruction : int
        Index of the sampling instruction in the design's trace.
    position : int
        Which of the instruction's outputs; 0 but for tiles.
    """

    name: str
    column: int
    kind: DecisionKind
    domain: tuple[int, ...]
    instruction: int
    position: int


@dataclass(frozen=True, eq=False, slots=True)
class SampleTable:
    """What one sampling instruction can return and TVM keeps without repair.

    Parameters
    ----------
    instruction : int
        Index of the instruction in the design's trace.
    columns : tuple of int
        The columns it decides.
    rows : int64 array [r, len(columns)]
        Distinct tuples, in lexicographic order.
    """

    instruction: int
    columns: tuple[int, ...]
    rows: IntArray


@dataclass(frozen=True, eq=False, slots=True)
class Opened:
    """A trace opened up; the fields are those of :class:`mschedx.space.trace.design.Design`."""

    decisions: tuple[Decision, ...]
    tables: tuple[SampleTable, ...]
    base: IntArray
    constraints: tuple[Constraint, ...]


def open_instructions(mod: tvm.IRModule, trace: Trace, sampled: list[Sampled]) -> Opened:
    """Enumerate what every sampling instruction can return, compute locations being fixed.

    Raises
    ------
    EmptySpace
        When an instruction can return nothing.
    UnsupportedTrace
        When a loop's extent depends on earlier decisions otherwise than as their product.
    """
    layout = layout_of(trace, sampled)
    configs = _varied_configs(mod, trace, sampled, layout)
    tiles = [columns for item, columns in zip(sampled, layout) if item.kind in TILES]
    if any(np.ptp(configs[:, columns].prod(axis=1)) for columns in tiles):
        configs = configs_of(replayed_tables(mod, trace, sampled, _FIT_PROBES), sampled, layout)
    names = _names(sampled, layout)
    tables: list[SampleTable] = []
    constraints: list[Constraint] = []
    for item, columns in zip(sampled, layout):
        if item.kind in TILES:
            extent = _extent(item, configs, columns)
            reachable = _reachable(extent, tables)
            rows = np.concatenate([_tiles(item, value, len(columns)) for value in reachable])
            if len(reachable) > 1:
                constraints.append(_nested(item, columns, extent, names))
        elif item.kind == DecisionKind.CATEGORICAL:
            rows = _candidates(item)
        else:
            rows = configs[:1, columns]
        tables.append(SampleTable(item.instruction, tuple(columns), rows))
    decisions = _decisions(sampled, tables, names)
    return Opened(decisions, tuple(tables), configs[0].copy(), tuple(constraints))


def _varied_configs(
    mod: tvm.IRModule, trace: Trace, sampled: list[Sampled], layout: list[list[int]]
) -> IntArray:
    """Replay with random decisions until every tile but the last has shown two of its rows.

    Of a prime there are two tiles: three draws of it are the same one time in four, and what
    depends on it looks constant then.
    """
    tiles = [(item, columns) for item, columns in zip(sampled, layout) if item.kind in TILES]
    wanted = _PROBES
    while True:
        configs = configs_of(replayed_tables(mod, trace, sampled, wanted), sampled, layout)
        steady = [
            item
            for item, columns in tiles[:-1]
            if not np.ptp(configs[:, columns], axis=0).any()
            and len(_tiles(item, int(configs[0, columns].prod()), len(columns))) > 1
        ]
        if not steady or wanted >= _FIT_PROBES:
            return configs
        wanted *= 2


def replayed_tables(
    mod: tvm.IRModule, trace: Trace, sampled: list[Sampled], n: int
) -> list[dict[int, Raw]]:
    """Let TVM draw every decision but the locations, ``n`` times.

    Returns
    -------
    list of dict
        By instruction, what was drawn; draws whose replay fails or moves a location are left out.
    """
    fixed = {
        item.instruction: raw
        for item in sampled
        if item.kind == DecisionKind.LOCATION
        and (raw := decision_of(trace, item.instruction)) is not None
    }
    # The head draws nothing, so that the tail draws from a seed what the whole trace does.
    start, opened, places = tail(mod, with_decisions(trace, fixed))
    opened = with_decisions(opened, {places[number]: raw for number, raw in fixed.items()})
    draws, failure = [], None
    for number in range(_MOST_ATTEMPTS * n):
        try:
            done = replay(start, opened, seed=seed_of(number)).trace
        except InvalidSchedule as error:
            failure = error
            continue
        made, insts = done.decisions, done.insts[:]
        draw = {
            item.instruction: as_raw(made.get(insts[places[item.instruction]], None))
            for item in sampled
        }
        # A location that this draw's tiles do not offer has been replaced by TVM.
        if all(draw[instruction] == raw for instruction, raw in fixed.items()):
            draws.append(draw)
            if len(draws) == n:
                break
    if not draws:
        locations = {
            item.name: fixed[item.instruction] for item in sampled if item.instruction in fixed
        }
        raise UnsupportedTrace(
            f"no random replay of the trace succeeds with the compute locations {locations}"
            + (f": {failure}" if failure else "")
        )
    return draws


def layout_of(trace: Trace, sampled: list[Sampled]) -> list[list[int]]:
    """Give every output of a sampling instruction its column."""
    layout, start = [], 0
    for item in sampled:
        width = len(trace.insts[item.instruction].outputs) if item.kind in TILES else 1
        layout.append(list(range(start, start + width)))
        start += width
    return layout


def _names(sampled: list[Sampled], layout: list[list[int]]) -> list[str]:
    return [
        f"{item.name}.{position}" if item.kind in TILES else item.name
        for item, columns in zip(sampled, layout)
        for position in range(len(columns))
    ]


def configs_of(
    observed: list[dict[int, Raw]], sampled: list[Sampled], layout: list[list[int]]
) -> IntArray:
    """Arrange the observed draws as configs [k, D]."""
    configs = np.empty((len(observed), sum(map(len, layout))), dtype=np.int64)
    for item, columns in zip(sampled, layout):
        drawn = np.array([draw[item.instruction] for draw in observed], dtype=np.int64)
        if item.kind == DecisionKind.CATEGORICAL:
            drawn = np.asarray(item.attributes[0], dtype=np.int64)[drawn]
        configs[:, columns] = drawn
    return configs


def _extent(item: Sampled, configs: IntArray, columns: list[int]) -> Monomial:
    """Say what extent the tiled loop has, in terms of earlier decisions."""
    extents = configs[:, columns].prod(axis=1)
    if (extents <= 0).any():
        inner, position = item.attributes[2], item.attributes[1]
        raise EmptySpace(
            f"{item.name} cannot be tiled: its inner parts, from {position} on, must multiply to a "
            f"multiple of {inner}, which does not divide the loop's extent; pad the loop"
        )
    if (extents == extents[0]).all():
        return constant(int(extents[0]))
    earlier = configs.copy()
    earlier[:, columns[0] :] = 0
    extent = fit_product(extents, earlier)
    if extent is None:
        raise UnsupportedTrace(
            f"the loop that {item.name} tiles has an extent that depends on earlier decisions "
            "otherwise than as a product of them; sample it before the loops are split"
        )
    return extent


def _reachable(extent: Monomial, tables: list[SampleTable]) -> list[int]:
    """List the values of an extent over all rows of the earlier tables."""
    values = np.array([extent.coefficient], dtype=np.int64)
    for table in tables:
        own = [i for i, column in enumerate(table.columns) if column in extent.columns]
        if own:
            factors = np.unique(table.rows[:, own].prod(axis=1))
            values = np.unique(values[:, None] * factors)
    return [int(value) for value in values]


def _nested(item: Sampled, columns: list[int], extent: Monomial, names: list[str]) -> Constraint:
    product = monomial(1, {column: 1 for column in columns})
    origin = f"{item.name} tiles a loop of this extent"
    return Constraint(product, Relation.EQUAL, extent, origin, tuple(names))


def _tiles(item: Sampled, extent: int, parts: int) -> IntArray:
    if item.kind == DecisionKind.TILE:
        return perfect_tiles(extent, parts, int(item.attributes[1]))
    return partitioned_tiles(extent, parts, int(item.attributes[1]), int(item.attributes[2]))


def _candidates(item: Sampled) -> IntArray:
    """List a categorical's distinct values; a candidate of probability 0 is never drawn."""
    values, probabilities = item.attributes[:2]
    drawn = [v for v, p in zip(values, probabilities) if p > 0] or list(values)
    return np.unique(np.array(drawn, dtype=np.int64))[:, None]


def _decisions(
    sampled: list[Sampled], tables: list[SampleTable], names: list[str]
) -> tuple[Decision, ...]:
    return tuple(
        Decision(
            names[column],
            column,
            DecisionKind(item.kind),
            tuple(int(value) for value in np.unique(table.rows[:, position])),
            item.instruction,
            position,
        )
        for item, table in zip(sampled, tables)
        for position, column in enumerate(table.columns)
    )
