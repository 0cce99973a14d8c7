"""Instructions of a trace as rows of numbers: what TLP reads in the place of programs.

An instruction becomes one row: its kind, one of `KINDS`, and its numbers in order (the factors of a
split, the loops it names, its integer attributes). Sampling has no rows of its own: what is sampled
stands where it is used. Nothing is replayed; per config only the sampled numbers change.

Notation
--------
n : configs; D : decisions; T : `STEPS`; C : `WIDTH` columns.

References
----------
Zhai et al., "TLP: A Deep Learning-Based Cost Model for Tensor Program Tuning", ASPLOS 2023,
section 4. Its primitives are Ansor's; here they are those of TVM's traces.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ..per_sketch import PerSketch
from .features import ProgramArrays, signed_log2

if TYPE_CHECKING:
    from tvm.s_tir import Trace

    from mschedx.space.sketch import Sketch
    from mschedx.space.trace.design import Decision

IntArray = NDArray[np.int64]

STEPS = 25
"""Rows of a program, as published: longer traces are cut, shorter ones padded."""

NUMBERS = 9
"""Numbers of an instruction; further ones are left out."""

KINDS: tuple[tuple[str, ...], ...] = (
    ("Split", "LoopPartition"),
    ("Fuse", "Merge"),
    ("Reorder", "ReorderBlockIterVar"),
    ("ComputeAt", "ReverseComputeAt"),
    ("ComputeInline", "ReverseComputeInline"),
    ("CacheRead", "CacheWrite", "ReindexCacheRead", "ReindexCacheWrite", "ReIndex", "ReadAt"),
    ("Bind",),
    ("Parallel",),
    ("Vectorize",),
    ("Unroll",),
    ("Annotate", "Unannotate"),
    ("DecomposeReduction", "RFactor"),
    ("Tensorize", "Blockize", "TransformLayout", "TransformBlockLayout", "StorageAlign"),
)
"""Groups of instructions; a kind that is in none has a row without a group."""

WIDTH = len(KINDS) + NUMBERS
"""C: 22 columns, as published."""

_SILENT = ("GetSBlock", "GetLoops", "GetChildBlocks", "GetProducers", "GetConsumers")
_GROUP = {kind: number for number, kinds in enumerate(KINDS) for kind in kinds}


class InstructionTokens:
    """The rows of a sketch's programs.

    Parameters
    ----------
    trace : Trace
    decisions : sequence of Decision
    """

    def __init__(self, trace: Trace, decisions: Iterable[Decision]) -> None:
        sampled = {(d.instruction, d.position): d.column for d in decisions}
        known: list[tuple[Any, int]] = []
        rows: list[tuple[int | None, list[int | _Column]]] = []
        for index, instruction in enumerate(trace.insts):
            kind = str(instruction.kind.name)
            if not kind.startswith("Sample") and kind not in _SILENT:
                rows.append((_GROUP.get(kind), _numbers(instruction, known)))
            for position, output in enumerate(instruction.outputs[:]):
                column = sampled.get((index, position))
                known.append((output, len(known) if column is None else _Column(column)))
        self._constant = np.zeros((STEPS, WIDTH), dtype=np.float32)
        places: list[tuple[int, int]] = []
        for step, (group, numbers) in enumerate(rows[:STEPS]):
            if group is not None:
                self._constant[step, group] = 1
            for i, number in enumerate(numbers[:NUMBERS]):
                place = step * WIDTH + len(KINDS) + i
                if isinstance(number, _Column):
                    places.append((place, number))
                else:
                    self._constant.ravel()[place] = signed_log2(np.array(number))
        self.steps = min(len(rows), STEPS)
        self._places = np.array([place for place, _ in places], dtype=np.int64)
        self._columns = np.array([column for _, column in places], dtype=np.int64)

    @staticmethod
    def of(sketch: Sketch) -> InstructionTokens:
        """Return those of a sketch, made once for as long as it lives."""
        return _TOKENS(sketch)

    def __call__(self, configs: IntArray) -> ProgramArrays:
        """Write configs [n, D] as rows [n, T, C], numbers as `signed_log2`, without accesses."""
        rows = np.repeat(self._constant[None], len(configs), axis=0)
        sampled = signed_log2(configs[:, self._columns])
        rows.reshape(len(configs), STEPS * WIDTH)[:, self._places] = sampled
        return ProgramArrays(rows, np.zeros((len(configs), 0, 0), dtype=np.float32))


_TOKENS = PerSketch(lambda sketch: InstructionTokens(sketch.design.trace, sketch.decisions))


class _Column(int):
    """A number that a config holds: the column."""


def _numbers(instruction: Any, known: list[tuple[Any, int]]) -> list[int | _Column]:
    """The numbers of an instruction: of its inputs, then of its attributes."""
    found: list[int | _Column] = []
    for value in (*_flat(instruction.inputs), *_flat(instruction.attrs)):
        if isinstance(value, (LoopRV, SBlockRV, tirx.Var)):
            found += [number for one, number in reversed(known) if one.same_as(value)][:1]
        elif isinstance(value, tirx.IntImm):
            found.append(int(value.value))
        elif isinstance(value, (bool, int)):
            found.append(int(value))
    return found


def _flat(values: Any) -> list[Any]:
    """The values of an array, nested ones spread out."""
    found = []
    for value in values[:]:
        if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
            found.append(value)
        else:
            found += _flat(value)
    return found
