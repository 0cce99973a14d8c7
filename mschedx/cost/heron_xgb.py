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
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mschedx.files import whole
from mschedx.run_stages import TRAIN, stage

from .adapter import TVMCostModel
from .base import MOST_ANALYSED, FloatArray, IntArray, Measured
from .boosted_trees import BoostedTrees, TreeConfig
from .learned.features import signed_log2
from .training_rows import TrainingRows, aligned

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task

_FORMAT = 2


class HeronXGBModel:
    """Boosted trees on decisions and derived quantities; a `CostModel`, one per task inside.

    Also `HasImportance` and `ReadsTraces`. Parameters as of `HeronXGB`.
    """

    def __init__(self, config: TreeConfig | None = None, quantities: bool = True) -> None:
        self.config = config or TreeConfig()
        self.quantities = quantities
        self._loaded: dict[str, TrainingRows] = {}
        self._measured: dict[str, TrainingRows] = {}
        self._traced: dict[str, TrainingRows] = {}
        self._trees: dict[str, BoostedTrees] = {}
        self._layouts: dict[str, _Layout] = {}
        self._numbers: dict[str, dict[str, int]] = {}

    def ready(self, task: Task) -> bool:
        stores = (self._loaded, self._measured, self._traced)
        tables = [store[task.key] for store in stores if task.key in store]
        return any(np.isfinite(table.latency_s).any() for table in tables)

    def learn(self, task: Task, measured: Sequence[Measured]) -> None:
        numbers = self._numbers.setdefault(task.key, {})
        analyse = len(measured) <= MOST_ANALYSED
        tables = []
        for part in measured:
            numbers.setdefault(part.sketch.key, len(numbers))
            if analyse and not len(part.configs):
                continue
            names = self._layout(part.sketch, analyse).names
            tables.append(
                TrainingRows(names, self._features(task, part.sketch, part.configs), part.latency_s)
            )
        self._measured[task.key] = TrainingRows.join(tables)
        self._trees.pop(task.key, None)

    def score(self, task: Task, asked: Sequence[tuple[Sketch, IntArray]]) -> FloatArray:
        if not asked:
            return np.empty(0)
        trees = self._fitted(task)
        rows = [
            aligned(self._features(task, sketch, configs), self._layout(sketch).names, trees.names)
            for sketch, configs in asked
        ]
        return trees.predict(np.concatenate(rows), trees.names)

    def importance(self, task: Task, sketch: Sketch) -> FloatArray | None:
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

    def learn_traces(self, task: Task, rows: TrainingRows) -> None:
        self._traced[task.key] = rows
        self._trees.pop(task.key, None)

    def score_traces(self, task: Task, rows: TrainingRows) -> FloatArray:
        return self._fitted(task).predict(rows.features, rows.names)

    def save(self, path: str) -> None:
        """Write the training rows; the trees are trained again from them when asked for."""
        keys = {**self._loaded, **self._measured, **self._traced}
        rows = {key: self._rows(key) for key in keys}
        header = {
            "format": _FORMAT,
            "tasks": {key: list(table.names) for key, table in rows.items()},
            "sketches": {key: list(numbers) for key, numbers in self._numbers.items()},
        }
        arrays = {}
        for index, table in enumerate(rows.values()):
            arrays[f"features_{index}"] = table.features
            arrays[f"latency_s_{index}"] = table.latency_s
        # A file object keeps NumPy from appending ".npz" to the name that was asked for.
        with whole(Path(path)) as beside, beside.open("wb") as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)

    def load(self, path: str) -> None:
        """Read rows that `save` wrote; they add to what is measured from now on."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                header = json.loads(str(stored["header"]))
                if header["format"] != _FORMAT:
                    raise ValueError(f"format {header['format']}, expected {_FORMAT}")
                loaded = {
                    key: TrainingRows(
                        tuple(names), stored[f"features_{index}"], stored[f"latency_s_{index}"]
                    )
                    for index, (key, names) in enumerate(header["tasks"].items())
                }
                numbers = {
                    key: {sketch: number for number, sketch in enumerate(sketches)}
                    for key, sketches in header["sketches"].items()
                }
        except (
            *(KeyError, TypeError, AttributeError, ValueError),  # of a header that is another
            *(EOFError, zipfile.BadZipFile, zlib.error, RuntimeError),  # of a damaged archive
        ) as error:
            raise ValueError(
                f"{path}: expected a file written by HeronXGB.save: {error}"
            ) from error
        self._loaded, self._numbers = loaded, numbers
        for store in (self._measured, self._traced, self._trees):
            store.clear()

    # Inside.

    def _rows(self, key: str) -> TrainingRows:
        """Every row known of a task; a row both loaded and measured counts once."""
        empty = TrainingRows.join([])
        loaded, measured, traced = (
            store.get(key, empty) for store in (self._loaded, self._measured, self._traced)
        )
        new = TrainingRows.join([measured, traced])
        again = set(_codes(new, new.names))
        old = np.array([code not in again for code in _codes(loaded, new.names)], dtype=bool)
        kept = TrainingRows(loaded.names, loaded.features[old], loaded.latency_s[old])
        return TrainingRows.join([kept, new])

    def _fitted(self, task: Task) -> BoostedTrees:
        if task.key not in self._trees:
            trees = BoostedTrees(self.config)
            with stage(TRAIN):
                trees.fit(self._rows(task.key))
            self._trees[task.key] = trees
        return self._trees[task.key]

    def _features(self, task: Task, sketch: Sketch, configs: IntArray) -> FloatArray:
        """Decisions, derived quantities, and which sketch of its task it is: float64 [n, F]."""
        own = signed_log2(configs)
        number = self._numbers.get(task.key, {}).get(sketch.key, np.nan)
        parts = [own, np.full((len(configs), 1), number)]
        derived = self._layout(sketch).derived
        if derived:
            parts.insert(1, sketch.features(configs)[:, derived])
        return np.concatenate(parts, axis=1)

    def _layout(self, sketch: Sketch, analyse: bool = True) -> _Layout:
        if sketch.key not in self._layouts:
            self._layouts[sketch.key] = _Layout.of(sketch, self.quantities and analyse)
        return self._layouts[sketch.key]


class HeronXGB(TVMCostModel):
    """XGBoost on the decisions of a program, as in Heron.

    Use it with any strategy: ``ms.tune_tir(..., cost_model=mschedx.cost.HeronXGB())``. Our
    strategies score whole populations as arrays and teach it failed trials too; TVM's pass
    candidates, whose sketches and configs are read from their traces (and TVM never shows a model
    the candidates that failed to build).

    Parameters
    ----------
    config : TreeConfig, optional
        Parameters of the trees; Heron's by default.
    quantities : bool
        Whether the features hold the sketch's derived quantities (extents, footprints, ...)
        beside the decisions, for tasks of at most `base.MOST_ANALYSED` sketches. The paper's vector
        does hold them: its assignments list every variable of the constraint problem.
    """

    model: HeronXGBModel

    def __init__(self, config: TreeConfig | None = None, quantities: bool = True) -> None:
        super().__init__(HeronXGBModel(config, quantities))


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


def _codes(table: TrainingRows, names: Sequence[str]) -> list[bytes]:
    """One code per row; equal codes mean equal features and latency."""
    rows = np.column_stack([np.nan_to_num(table.columns(names), nan=-1.0), table.latency_s])
    return [row.tobytes() for row in rows]
