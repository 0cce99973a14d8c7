"""Felix's features of a program: one row per statement, differentiable in the decisions.

The numbers of a statement (extents, footprints, strides) are expressions, which a tape evaluates
exactly or on real numbers. What is left is closed-form arithmetic over them, the same in both
cases. "The innermost loop that is not a unit loop and …" is a chain of gates: each loop takes the
part that those inside it have left, ``g(extent) · condition``, with::

    g(e) = log2 e, at least 0 and at most 1

0 for a unit loop, 1 from 2 on, and so exact for whole extents. Features are ``ln(1 + x)``; of a
chain, the gates weigh the logarithms.

Notation
--------
n : configs; E : distinct expressions.
S : statements that are fully known; F : columns (`NAMES`), the same for every sketch.
K : slots of all statements together; L : most loops of a statement.

References
----------
Zhao et al., "Felix: Optimizing Tensor Programs with Gradient Descent", ASPLOS 2024; the list of
features is Ansor's per-store one without its intensity curve. Slots are in the order of names,
lines are counted as MetaSchedule does, without reuse nothing is divided; an initialisation is a
statement of its own here. Position flags, of which Felix sets two, are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mschedx.space.algebra.expression import Expression, constant
from mschedx.space.algebra.tape import Tape
from mschedx.space.statements import LoopLevel, Statement

from ..per_sketch import PerSketch
from .columns import LINE_BYTES, OPERATIONS
from .felix_layout import (
    MOST_SLOTS,
    Rows,
    Slot,
    SlotTable,
    allocation_depths,
    product,
    slots_of,
)

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.cost")

GROUPS = ("vectorized", "unrolled", "parallel")
"""Kinds of loops of which number, product and innermost extent are given."""

TAGS = ("blockIdx.x", "blockIdx.y", "blockIdx.z", "threadIdx.x", "threadIdx.y", "threadIdx.z")

SLOT = (
    "reads",
    "writes",
    "updates",
    "bytes",
    "unique bytes",
    "lines",
    "unique lines",
    "multiple reads",
    "serial reuse",
    "no reuse",
    "reuse iterations",
    "reuse bytes",
    "reuse count",
    "bytes by count",
    "unique bytes by count",
    "lines by count",
    "unique lines by count",
    "stride",
    "strides known",
)
"""Columns of a slot."""

FLAGS = ("gpu", "initialises", "reduces", "guarded", "by warp", "by intrinsic", "allocation known")

PRODUCTS = (
    *OPERATIONS,
    *(f"{group}.{what}" for group in GROUPS for what in ("product", "innermost")),
    *TAGS,
    "vthread",
    "lanes",
    "allocation.bytes",
    "allocation.product",
    "allocation.outer",
    "allocation.inner",
    "outer",
    "unroll",
)
"""Columns that are ``ln(1 + x)`` of one expression each."""

COUNTS = (*(f"{group}.number" for group in GROUPS), "loops")
"""Columns that count loops, unit loops not."""

NAMES = (
    *FLAGS,
    *PRODUCTS,
    *COUNTS,
    *(f"{slot}.{name}" for slot in range(MOST_SLOTS) for name in SLOT),
)


class FelixFeatures:
    """The features of a sketch's programs, ready to be evaluated.

    Parameters
    ----------
    statements : sequence of Statement
    allocations : mapping of str to Expression or None
        Bytes of the buffers that the program allocates.
    lattice : mapping, optional
        Values of the decisions by column; see `mschedx.space.algebra.tape.Tape`.
    gpu : bool

    Attributes
    ----------
    unknown : dict of str to str
        What is left out, and why: whole statements, strides (their columns and those of lines are
        0), sizes of allocations (0).
    """

    def __init__(
        self,
        statements: Sequence[Statement],
        allocations: Mapping[str, Expression | None],
        lattice: Mapping[int, Sequence[int]] | None = None,
        gpu: bool = False,
    ) -> None:
        self.unknown: dict[str, str] = {}
        known: list[Statement] = []
        for statement in statements:
            reason = statement.missing()
            if reason is None:
                known.append(statement)
            else:
                self.unknown[statement.name] = reason
        self.statements = tuple(known)
        depth = max([len(s.loops) for s in known], default=1) or 1
        rows = Rows()
        self._extents = np.array(
            [rows.of([product([x.extent]) for x in s.loops], depth, constant(1)) for s in known],
            dtype=np.int64,
        ).reshape(len(known), depth)
        self._products, sizes_known = self._product_rows(statements, allocations, rows)
        slots = [slot for i, s in enumerate(known) for slot in slots_of(i, s)]
        self._slots = SlotTable.of(slots, known, rows, depth)
        self._flags = _flags(known, sizes_known, gpu)
        self._counted = np.array([_counted(s, depth) for s in known]).reshape(
            len(known), len(COUNTS), depth
        )
        self._intrinsic = _mask(known, depth, lambda loop: loop.kind == "intrinsic")
        self._place_slots(slots)
        self._tape = Tape(rows.expressions, lattice)

    @staticmethod
    def of(sketch: Sketch) -> FelixFeatures:
        """Return those of a sketch, made once for as long as it lives."""
        return _FEATURES(sketch)

    def __call__(self, configs: IntArray) -> FloatArray:
        """Evaluate exactly on configs [n, D]; float64 [n, S, F], natural logarithms and flags."""
        parts = [
            self._evaluated(torch.from_numpy(values.astype(np.float64))).numpy()
            for _, values in self._tape.pieces(configs)
        ]
        return np.concatenate([*parts, np.empty((0, len(self.statements), len(NAMES)))])

    def relaxed(self, x: torch.Tensor, width: float = 0.25) -> torch.Tensor:
        """Evaluate on real-valued configs.

        Parameters
        ----------
        x : torch tensor [n, D]
        width : float
            Of the smoothings, in (0, 1]; see `mschedx.space.algebra.tape.Tape.relaxed`.

        Returns
        -------
        float64 tensor [n, S, F]
            Differentiable in x; at a config what a call gives, up to rounding.
        """
        return self._evaluated(self._tape.relaxed(x, width))

    # What is looked up once.

    def _product_rows(
        self,
        every: Sequence[Statement],
        allocations: Mapping[str, Expression | None],
        rows: Rows,
    ) -> tuple[IntArray, list[bool]]:
        """Rows of `PRODUCTS` [S, …], and whether what each statement allocates is known."""
        depths = allocation_depths(every)
        sizes_known, found = [], []
        for statement in self.statements:
            columns = _products(statement)
            names = [write.buffer for write in statement.writes if write.buffer in allocations]
            sizes = [allocations[name] for name in names]
            known = None not in sizes
            sizes_known.append(known)
            if names and known:
                columns |= _allocation(statement, product([*sizes]), depths[names[0]])
            elif names:
                self.unknown[f"{statement.name}/{names[0]}"] = "the size of its allocation"
            found.append([rows(columns.get(name, constant(0))) for name in PRODUCTS])
        return np.array(found, dtype=np.int64).reshape(len(found), len(PRODUCTS)), sizes_known

    def _place_slots(self, slots: Sequence[Slot]) -> None:
        """Which slot of its statement each of the K is, and what it does."""
        number = [
            sum(s.statement == slot.statement for s in slots[:i]) for i, slot in enumerate(slots)
        ]
        self._slot_rows = self._slots.statement * MOST_SLOTS + np.array(number, dtype=np.int64)
        does = [
            (s.reads and not s.writes, s.writes and not s.reads, s.reads and s.writes)
            for s in slots
        ]
        self._does = torch.tensor(does, dtype=torch.float64).reshape(len(slots), 3)
        for slot, known in zip(slots, self._slots.lines_known):
            if not known:
                name = self.statements[slot.statement].name
                self.unknown[f"{name}/{slot.access.buffer}"] = "strides where it moves"

    # Arithmetic on the values of the expressions, [E, n].

    def _evaluated(self, values: torch.Tensor) -> torch.Tensor:
        n, s = values.shape[1], len(self.statements)
        if not s:
            return values.new_zeros((n, 0, len(NAMES))) + values.sum() * 0
        extents = values[self._extents].clamp(min=1.0)
        gates = torch.log2(extents).clamp(max=1.0)
        flags = torch.from_numpy(self._flags)[:, :, None].expand(-1, -1, n)
        counts = torch.einsum("scl,sln->scn", torch.from_numpy(self._counted), gates)
        slots = self._slot_columns(values, extents, gates)
        placed = values.new_zeros((s * MOST_SLOTS, len(SLOT), n))
        placed = placed.index_copy(0, torch.from_numpy(self._slot_rows), slots)
        columns = [
            flags,
            _log(values[self._products]),
            _log(counts),
            placed.reshape(s, MOST_SLOTS * len(SLOT), n),
        ]
        return torch.cat(columns, dim=1).permute(2, 0, 1)

    def _slot_columns(
        self, values: torch.Tensor, extents: torch.Tensor, gates: torch.Tensor
    ) -> torch.Tensor:
        """Columns of the slots, [K, len(SLOT), n]."""
        slots = self._slots
        trips = torch.where(torch.from_numpy(self._intrinsic)[:, :, None], 1.0, extents)
        outer = trips.cumprod(dim=1)[slots.statement]
        extents, gates = extents[slots.statement], gates[slots.statement]
        size = torch.from_numpy(slots.element_bytes.astype(np.float64))[:, None]
        whole = outer[:, -1] * values[slots.last] * size
        unique = values[slots.first].clamp(min=1.0) * size
        run = values[slots.run].clamp(min=1.0) * size
        moving, _ = _innermost(torch.from_numpy(~slots.stays), gates)
        strides = values[slots.stride].abs()
        fetched = outer * (strides * size[:, :, None] / LINE_BYTES).clamp(max=1.0)
        lines = (moving * fetched.clamp(min=1.0).log()).sum(dim=1).exp()
        known = torch.from_numpy(slots.lines_known.astype(np.float64))[:, None]
        reuse, count = self._reuse(values, extents, gates)
        unique_lines = (unique / run.clamp(max=LINE_BYTES)).clamp(min=1.0)
        amounts = [whole, unique, lines * known, unique_lines]
        does = self._does[:, :, None].expand(-1, -1, values.shape[1])
        columns = [
            *(_log(amount) for amount in amounts),
            *reuse,
            *(_log(amount / count) for amount in amounts),
            (moving * _log(strides)).sum(dim=1) * known,
            known.expand_as(whole),
        ]
        return torch.cat([does, torch.stack(columns, dim=1)], dim=1)

    def _reuse(
        self, values: torch.Tensor, extents: torch.Tensor, gates: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """What the innermost loop that uses data again says of it, each [K, n].

        That is a loop in which the access stays, or one in which the buffer was written before.

        Returns
        -------
        columns : list of tensor
            "multiple reads" to "reuse count".
        count : tensor
            The loop's extent, 1 where there is none.
        """
        slots = self._slots
        stays = torch.from_numpy(slots.stays)[:, :, None]
        first, none = _innermost(torch.from_numpy(slots.stays | slots.serial), gates)
        weighed = [
            (first * stays).sum(dim=1),
            (first * ~stays).sum(dim=1),
            none,
            (first * _log(values[slots.iterations])).sum(dim=1),
            (first * _log(values[slots.distance])).sum(dim=1),
            (first * _log(extents)).sum(dim=1),
        ]
        return weighed, (first * extents.log()).sum(dim=1).exp()


def _features(sketch: Sketch) -> FelixFeatures:
    sizes = {one.buffer: one.bytes for one in sketch.analysis.allocations}
    design = sketch.design
    gpu = "gpu" in design.target.keys
    made = FelixFeatures(sketch.statements, sizes, design.lattice, gpu)
    if made.unknown:
        logger.info(
            "sketch %s: not in the features: %s",
            sketch.key,
            ", ".join(f"{name} ({reason})" for name, reason in made.unknown.items()),
        )
    return made


_FEATURES = PerSketch(_features)


def _log(x: torch.Tensor) -> torch.Tensor:
    return torch.log1p(x.clamp(min=0.0))


def _innermost(condition: torch.Tensor, gates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much each loop is the innermost one, no unit loop, that meets a condition.

    Parameters
    ----------
    condition : bool tensor [K, L]
    gates : tensor [K, L, n]

    Returns
    -------
    weights : tensor [K, L, n]
    none : tensor [K, n]
        What is left; together they are 1.
    """
    met = (condition[:, :, None] * gates).flip(1)
    left = (1 - met).cumprod(dim=1)
    before = torch.cat([torch.ones_like(left[:, :1]), left[:, :-1]], dim=1)
    return (met * before).flip(1), left[:, -1]


def _products(statement: Statement) -> dict[str, Expression]:
    """The columns of `PRODUCTS` but those of allocations; what is left out is 0."""
    instances = product([statement.instances])
    columns = {"outer": instances}
    for kind in OPERATIONS:
        columns[kind] = product([constant(statement.count_of(kind)), instances])
    for group in GROUPS:
        extents = [loop.extent for loop in statement.loops if loop.kind == group]
        if extents:
            columns[f"{group}.product"] = product(extents)
            columns[f"{group}.innermost"] = product(extents[-1:])
    for tag in (*TAGS, "vthread"):
        extents = [loop.extent for loop in statement.loops if loop.thread.startswith(tag)]
        if extents:
            columns[tag] = product(extents)
    columns["lanes"] = product([statement.lanes])
    columns["unroll"] = product([statement.unroll])
    return columns


def _allocation(statement: Statement, size: Expression, depth: int) -> dict[str, Expression]:
    """The columns of a buffer of ``size`` bytes that is allocated inside ``depth`` loops."""
    outer = product([statement.trips(0, depth)])
    return {
        "allocation.bytes": size,
        "allocation.outer": outer,
        "allocation.inner": product([statement.trips(depth, len(statement.loops))]),
        "allocation.product": product([size, outer]),
    }


def _flags(statements: Sequence[Statement], sizes_known: Sequence[bool], gpu: bool) -> FloatArray:
    flags = [
        (gpu, s.is_init, s.is_reduction, s.predicated, s.by_warp, bool(s.intrinsic), known)
        for s, known in zip(statements, sizes_known)
    ]
    return np.array(flags, dtype=np.float64).reshape(len(statements), len(FLAGS))


def _counted(statement: Statement, depth: int) -> list[list[float]]:
    """Which loops each of `COUNTS` counts: 0 or 1, [len(COUNTS), L]."""
    rest = [0.0] * (depth - len(statement.loops))
    counted = [[float(loop.kind == group) for loop in statement.loops] for group in GROUPS]
    counted.append([1.0] * len(statement.loops))
    return [row + rest for row in counted]


def _mask(
    statements: Sequence[Statement], depth: int, belongs: Callable[[LoopLevel], bool]
) -> NDArray[np.bool_]:
    mask = np.zeros((len(statements), depth), dtype=bool)
    for i, statement in enumerate(statements):
        mask[i, : len(statement.loops)] = [belongs(loop) for loop in statement.loops]
    return mask
