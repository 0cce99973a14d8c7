"""Heron's cost model: gradient-boosted trees on the assignment vector.

One model per task, trained from scratch whenever there is something new to learn from and a score
is asked for. Training waits for that moment, so that a model nobody asks costs nothing.

References
----------
Bi et al., "Heron: Automatically Constrained High-Performance Library Generation for Deep Learning
Accelerators", ASPLOS 2023, section 5; github IPRC-ICT/Heron.
"""

from __future__ import annotations

import json
import weakref
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm.ir.utils import derived_object

from .adapter import ModelAdapter, latency_s
from .base import FloatArray, IntArray, Measured
from .boosted_trees import BoostedTrees, TreeConfig
from .trace_features import from_candidates
from .training_rows import Table, aligned

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch

_FORMAT = 1

MOST_ANALYSED = 8
"""Sketches of a task up to which each is analysed for its quantities.

Analysing takes 0.2 to 1 s a sketch. TVM's CPU spaces split into dozens, one per combination of
compute locations (softmax 45): there it would cost more than the trials it saves.
"""


@derived_object
class HeronXGB(ModelAdapter):
    """XGBoost on the decisions of a program, as in Heron.

    Use it with any strategy: ``ms.tune_tir(..., cost_model=mschedx.cost.HeronXGB())``. Our
    strategies score whole populations as arrays and teach it failed trials too; TVM's pass
    candidates, whose decisions are read from their traces (and TVM never shows a model the
    candidates that failed to build).

    Parameters
    ----------
    config : TreeConfig, optional
        Parameters of the trees; Heron's by default.
    quantities : bool
        Whether the features hold the sketch's derived quantities (extents, footprints, ...)
        beside the decisions, for tasks of at most `MOST_ANALYSED` sketches. The paper's vector
        does hold them: its assignments list every variable of the constraint problem.
    """

    def __init__(self, config: TreeConfig | None = None, quantities: bool = True) -> None:
        super().__init__()
        self.config = config or TreeConfig()
        self.quantities = quantities
        self._measured: dict[str, Table] = {}
        self._loaded: dict[str, Table] = {}
        self._trees: dict[str, BoostedTrees] = {}
        self._layouts: weakref.WeakKeyDictionary[Sketch, _Layout] = weakref.WeakKeyDictionary()
        self._order: weakref.WeakKeyDictionary[Sketch, int] = weakref.WeakKeyDictionary()

    # As an array model.

    def learn(self, task: str, measured: Sequence[Measured]) -> None:
        analyse = self.quantities and len(measured) <= MOST_ANALYSED
        for index, part in enumerate(measured):
            self._order[part.sketch] = index
            if part.sketch not in self._layouts:
                self._layouts[part.sketch] = _Layout.of(part.sketch, analyse)
        self._measured[task] = Table.join(
            [
                Table(
                    self._layout(part.sketch).names,
                    self._features(part.sketch, part.configs),
                    part.latency_s,
                )
                for part in measured
            ]
        )
        self._trees.pop(task, None)

    def score(self, task: str, asked: Sequence[tuple[Sketch, IntArray]]) -> FloatArray:
        trees = self._fitted(task)
        rows = [
            aligned(self._features(sketch, configs), self._layout(sketch).names, trees.names)
            for sketch, configs in asked
        ]
        return trees.predict(np.concatenate(rows), trees.names)

    def importance(self, task: str, sketch: Sketch) -> FloatArray | None:
        trees = self._fitted(task)
        if not trees.fitted:
            return None
        layout = self._layout(sketch)
        weights = dict(zip(trees.names, trees.importance()))
        found = np.zeros(len(sketch.decisions))
        for name, columns in zip(layout.names, layout.columns):
            for column in columns:
                found[column] += weights.get(name, 0.0) / len(columns)
        return found

    # As a TVM cost model.

    def update(self, context: Any, candidates: Sequence[Any], results: Sequence[Any]) -> None:
        if len(candidates) != len(results):
            raise ValueError(
                f"expected one result per candidate, got {len(candidates)} candidates "
                f"and {len(results)} results"
            )
        if not candidates:
            return
        task = _trace_task(context)
        table = from_candidates(candidates, np.array([latency_s(result) for result in results]))
        known = [self._measured[task]] if task in self._measured else []
        self._measured[task] = Table.join([*known, table])
        self._trees.pop(task, None)

    def predict(self, context: Any, candidates: Sequence[Any]) -> FloatArray:
        table = from_candidates(candidates)
        return self._fitted(_trace_task(context)).predict(table.features, table.names)

    def save(self, path: str) -> None:
        """Write the training rows; the trees are trained again from them when asked for."""
        rows = {task: self._rows(task) for task in {**self._loaded, **self._measured}}
        header = {"format": _FORMAT, "tasks": {t: list(table.names) for t, table in rows.items()}}
        arrays = {}
        for index, table in enumerate(rows.values()):
            arrays[f"features_{index}"] = table.features
            arrays[f"latency_s_{index}"] = table.latency_s
        # A file object keeps NumPy from appending ".npz" to the name that was asked for.
        with open(path, "wb") as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)

    def load(self, path: str) -> None:
        """Read rows that `save` wrote; they add to what is measured from now on."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                header = json.loads(str(stored["header"]))
                if header["format"] != _FORMAT:
                    raise ValueError(f"format {header['format']}, expected {_FORMAT}")
                self._loaded = {
                    task: Table(
                        tuple(names), stored[f"features_{index}"], stored[f"latency_s_{index}"]
                    )
                    for index, (task, names) in enumerate(header["tasks"].items())
                }
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path}: expected a file written by HeronXGB.save: {error}"
            ) from error
        self._measured.clear()
        self._trees.clear()

    # Inside.

    def _rows(self, task: str) -> Table:
        """Every row known of a task; a row both loaded and measured counts once."""
        empty = Table.join([])
        loaded, measured = (store.get(task, empty) for store in (self._loaded, self._measured))
        again = set(_codes(measured, measured.names))
        old = np.array([code not in again for code in _codes(loaded, measured.names)], dtype=bool)
        kept = Table(loaded.names, loaded.features[old], loaded.latency_s[old])
        return Table.join([kept, measured])

    def _fitted(self, task: str) -> BoostedTrees:
        if task not in self._trees:
            trees = BoostedTrees(self.config)
            trees.fit(self._rows(task))
            self._trees[task] = trees
        return self._trees[task]

    def _features(self, sketch: Sketch, configs: IntArray) -> FloatArray:
        """Decisions, derived quantities, and which sketch of its task it is: float64 [n, F]."""
        own = np.where(configs < 0, configs, np.log2(1.0 + np.maximum(configs, 0)))
        parts = [own, np.full((len(configs), 1), self._order.get(sketch, 0))]
        derived = self._layout(sketch).derived
        if derived:
            parts.insert(1, sketch.features(configs)[:, derived])
        return np.concatenate(parts, axis=1)

    def _layout(self, sketch: Sketch) -> _Layout:
        if sketch not in self._layouts:
            self._layouts[sketch] = _Layout.of(sketch, self.quantities)
        return self._layouts[sketch]


@dataclass(frozen=True)
class _Layout:
    """What the F columns of a sketch's features are.

    Parameters
    ----------
    names : tuple of str
    columns : tuple of frozenset
        Which decisions each feature reads; none for the last, the sketch itself.
    derived : tuple of int
        Positions, among the sketch's own features, of those that are no decision by themselves.
    """

    names: tuple[str, ...]
    columns: tuple[frozenset[int], ...]
    derived: tuple[int, ...]

    @staticmethod
    def of(sketch: Sketch, quantities: bool) -> _Layout:
        own = tuple(decision.name for decision in sketch.decisions)
        reads = tuple(frozenset({decision.column}) for decision in sketch.decisions)
        names, columns = (sketch.feature_names, sketch.feature_columns) if quantities else ((), ())
        derived = tuple(i for i, name in enumerate(names) if name not in set(own))
        return _Layout(
            (*own, *(names[i] for i in derived), "sketch"),
            (*reads, *(columns[i] for i in derived), frozenset()),
            derived,
        )


def _codes(table: Table, names: Sequence[str]) -> list[bytes]:
    """One code per row; equal codes mean equal features and latency."""
    rows = np.column_stack([np.nan_to_num(table.columns(names), nan=-1.0), table.latency_s])
    return [row.tobytes() for row in rows]


def _trace_task(context: Any) -> str:
    """Key of what is learnt from traces; apart from what searches teach about the same task."""
    from tvm.s_tir.meta_schedule.utils import shash2hex

    return f"trace:{shash2hex(context.mod)}"
