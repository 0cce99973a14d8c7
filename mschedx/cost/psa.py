"""PSA, Pruner's analytical draft: latencies from statements and a device's rates, nothing lowered.

Ready before anything is measured. What is measured corrects it: per task, a ridge regression of
``log(latency / prediction)`` on what the prediction is made of, which stays near zero while there
are few trials and never changes the scores of another task.

References
----------
Qiao et al., "Pruner", ASPLOS 2025, section 4 (the published form: `analytical.published`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mschedx.files import whole
from mschedx.hardware import Hardware
from mschedx.space.statements import without_unit_loops

from .adapter import TVMCostModel
from .analytical.costs import Costs, StatementCost
from .analytical.cpu import cpu_costs
from .analytical.cuda import cuda_costs
from .analytical.machine import CpuMachine
from .analytical.published import statement_ms, symbols
from .analytical.view import ProgramAt, ProgramView
from .base import FloatArray, IntArray, Measured
from .per_sketch import PerSketch
from .stand_ins import warn_of_stand_in

if TYPE_CHECKING:
    import torch

    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task

_FORMAT = 1
FORMS = ("improved", "published")

FEWEST = 8
"""Trials of a task from which its predictions are corrected."""

RIDGE = 8.0
"""Weight of the correction's penalty, in trials."""


WIDTH = 0.25
"""Octaves that a relaxed score's slope is averaged over where no other number is asked for."""

ACCURACY = 0.755
"""Pairwise accuracy over random configs of 11 workloads in TVM's space for a CPU."""

_FARTHEST = 2.0
"""How far a correction may tell two configs apart from their task's mean, in natural-log units."""

NOT_UNDERSTOOD_S = 1.0
"""Added, for scores, to programs of which a statement has no expression."""


@dataclass(frozen=True)
class _Correction:
    """``log latency = log prediction + bias + features · weights``, features centred.

    The last part is bounded: outside of what was measured a line says anything.
    """

    bias: float
    centre: FloatArray
    weights: FloatArray

    def __call__(self, features: FloatArray) -> FloatArray:
        return self.bias + np.clip((features - self.centre) @ self.weights, -_FARTHEST, _FARTHEST)


class PSAModel:
    """The analyzer as a `CostModel`, also `Annealable`. Parameters as of `PSA`."""

    def __init__(
        self, hardware: Hardware | None = None, form: str = "improved", *, cold: bool = False
    ) -> None:
        if form not in FORMS:
            raise ValueError(f"expected form to be one of {', '.join(FORMS)}, got {form!r}")
        self.hardware, self.form, self.cold = hardware, form, cold
        self._program = PerSketch(partial(_view, stands_in=hardware is None))
        self._loaded: dict[str, _Correction] = {}
        self._learnt: dict[str, _Correction] = {}

    def ready(self, task: Task) -> bool:
        described = task.target is None or task.target.kind.name in ("llvm", "cuda")
        return self.hardware is not None or described

    def learn(self, task: Task, measured: Sequence[Measured]) -> None:
        if not self.ready(task):
            return
        features, residuals = [], []
        for part in measured:
            ran = np.isfinite(part.latency_s)
            if ran.any():
                costs = self.costs(part.sketch, part.configs[ran])
                features.append(_features(costs))
                residuals.append(np.log(part.latency_s[ran] / _positive(costs.latency_s)))
        # Too few trials leave what was loaded; a program that is not understood has no features.
        self._learnt.pop(task.key, None)
        widest = max((part.shape[1] for part in features), default=0)
        alike = [i for i, part in enumerate(features) if widest and part.shape[1] == widest]
        if sum(len(residuals[i]) for i in alike) >= FEWEST:
            self._learnt[task.key] = _fitted(
                np.concatenate([features[i] for i in alike]),
                np.concatenate([residuals[i] for i in alike]),
            )

    def skill(self) -> float | None:
        return ACCURACY if self.form == "improved" else None

    def score(self, task: Task, asked: Sequence[tuple[Sketch, IntArray]]) -> FloatArray:
        found = [self._scored(task, sketch, configs) for sketch, configs in asked]
        return np.concatenate(found) if found else np.empty(0)

    def _scored(self, task: Task, sketch: Sketch, configs: IntArray) -> FloatArray:
        return self._rate(sketch, self.latency_s(task, sketch, configs))

    def _rate(self, sketch: Sketch, seconds: FloatArray) -> FloatArray:
        # What is left out costs time too: such a sketch comes behind those that are understood.
        unknown = self._program(sketch).unknown
        return 1 / (_positive(seconds) + (NOT_UNDERSTOOD_S if unknown else 0.0))

    def relaxed_score(self, task: Task, sketch: Sketch, configs: torch.Tensor) -> torch.Tensor:
        return self.annealed_score(task, sketch, configs, WIDTH)

    def annealed_score(
        self, task: Task, sketch: Sketch, configs: torch.Tensor, width: float
    ) -> torch.Tensor:
        """Score relaxed configs [n, D]; the gradient is that of the mean score around each.

        See `analytical.averaged`: the analyzer's formulas have corners and steps, which an average
        over ``width`` octaves does not.
        """
        from .analytical.averaged import with_average_slope

        program = self._program(sketch)

        def scores(relaxed: FloatArray) -> FloatArray:
            costs = self._costs(sketch, program.relaxed(relaxed, width))
            return self._rate(sketch, self.corrected(task, costs))

        return with_average_slope(configs, scores, width, program.varying)

    def latency_s(self, task: Task | None, sketch: Sketch, configs: IntArray) -> FloatArray:
        """Predict seconds of configs [n, D], corrected by what was measured of the task: [n]."""
        return self.corrected(task, self.costs(sketch, configs))

    def corrected(self, task: Task | None, costs: Costs) -> FloatArray:
        """Seconds of what was predicted, corrected by what was measured of the task: [n]."""
        if task is None:
            return costs.latency_s
        correction = self._learnt.get(task.key) or self._loaded.get(task.key)
        features = _features(costs)
        if correction is None or features.shape[1] != len(correction.centre):
            return costs.latency_s
        return costs.latency_s * np.exp(correction(features))

    def costs(self, sketch: Sketch, configs: IntArray) -> Costs:
        """Predict configs [n, D] statement by statement, uncorrected.

        Raises
        ------
        ValueError
            When the device's rates are not known, or the form is for GPUs and the device is a CPU.
        """
        return self._costs(sketch, self._program(sketch)(configs))

    def _costs(self, sketch: Sketch, program: ProgramAt) -> Costs:
        hardware = self.hardware or Hardware.from_target(sketch.design.target)
        if self.form == "published":
            if hardware.kind == "cpu":
                raise ValueError(
                    f'expected a GPU for PSA(form="published"), got {hardware.name}: its formulas '
                    'count thread blocks and warps; take form="improved"'
                )
            return _published(program, hardware)
        if hardware.kind == "cpu":
            cold = _weights(sketch) if self.cold else frozenset()
            return cpu_costs(program, CpuMachine.of(hardware), cold=cold)
        return cuda_costs(program, hardware)

    def unknown(self, sketch: Sketch) -> dict[str, str]:
        """Statements of a sketch that are left out, and the number that has no expression."""
        return self._program(sketch).unknown

    def save(self, path: str) -> None:
        tasks = {
            key: {
                "bias": one.bias,
                "centre": one.centre.tolist(),
                "weights": one.weights.tolist(),
            }
            for key, one in {**self._loaded, **self._learnt}.items()
        }
        content = {"model": "PSA", "format": _FORMAT, "form": self.form, "tasks": tasks}
        with whole(Path(path)) as beside:
            beside.write_text(json.dumps(content))

    def load(self, path: str) -> None:
        """Read corrections; each holds until there are enough trials of its task for a new one.

        Raises
        ------
        ValueError
            When the file is none that `save` wrote, or is of another form.
        """
        try:
            with open(path) as file:
                content = json.load(file)
            if content["model"] != "PSA" or content["format"] != _FORMAT:
                raise ValueError(f"{content['model']} of format {content['format']}")
            if content["form"] != self.form:
                raise ValueError(f"the form is {content['form']!r}, this one's is {self.form!r}")
            loaded = {
                key: _Correction(
                    float(one["bias"]),
                    np.array(one["centre"], dtype=np.float64),
                    np.array(one["weights"], dtype=np.float64),
                )
                for key, one in content["tasks"].items()
            }
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{path}: expected a file written by PSA.save, format {_FORMAT}: {error}"
            ) from error
        self._loaded, self._learnt = loaded, {}


class PSA(TVMCostModel):
    """Pruner's analyzer: ``cost_model=mschedx.cost.PSA()`` with any strategy and space.

    It needs no measurement, so that the first round is ranked already, and none is needed to rank
    at all (`mschedx.rank`).

    Parameters
    ----------
    hardware : Hardware, optional
        The device; that of each task's target when None, with a warning (`StandInWarning`) where it
        is in no table, so that figures of another device are taken.
    form : str
        "improved", or "published" for the paper's formulas with their weaknesses (elements instead
        of bytes, no caches, no occupancy; for GPUs only).
    cold : bool
        Predict for a CPU whose caches hold none of the program's inputs but the first when it is
        called, as for an operator of a network with many weights
        (``MeasureConfig(flush_cache=True)`` measures so). Of no effect on GPUs.
    """

    model: PSAModel

    def __init__(
        self, hardware: Hardware | None = None, form: str = "improved", *, cold: bool = False
    ) -> None:
        super().__init__(PSAModel(hardware, form, cold=cold))


def _view(sketch: Sketch, *, stands_in: bool) -> ProgramView:
    """The program of a sketch, with a warning where its target's device may be another's."""
    if stands_in:
        warn_of_stand_in(sketch.design.target)
    statements = [without_unit_loops(statement) for statement in sketch.statements]
    return ProgramView(statements, sketch.analysis.allocations, sketch.design.lattice)


def _positive(seconds: FloatArray) -> FloatArray:
    """A program without a statement that is understood is taken to last long."""
    return np.where(np.isfinite(seconds) & (seconds > 0), seconds, 1.0)


def _weights(sketch: Sketch) -> frozenset[str]:
    """Parameters but the first, which the operator before has just written."""
    (func,) = sketch.design.mod.functions.values()
    first, *others = [str(one.name) for one in func.params]
    return frozenset(others) - {first}


def _features(costs: Costs) -> FloatArray:
    """Shares of the causes in what all statements wait for: [n, K], in log units."""
    total = _positive(costs.latency_s)
    shares = []
    for name in sorted({name for one in costs.statements for name in one.terms}):
        parts = [one.terms[name] for one in costs.statements if name in one.terms]
        # Between configs, a relaxed program's parts may be less than nothing.
        shares.append(np.log1p(np.maximum(sum(parts) / total, 0.0)))
    return np.stack(shares, axis=1) if shares else np.empty((len(total), 0))


def _fitted(features: FloatArray, residuals: FloatArray) -> _Correction:
    centre, bias = features.mean(axis=0), float(residuals.mean())
    centred = features - centre
    scale = np.maximum(centred.std(axis=0), 0.05)
    scaled = centred / scale
    penalty = RIDGE * np.eye(features.shape[1])
    weights = np.linalg.solve(scaled.T @ scaled + penalty, scaled.T @ (residuals - bias))
    return _Correction(bias, centre, weights / scale)


def _published(program: ProgramAt, hardware: Hardware) -> Costs:
    statements = []
    for view in program.statements:
        if view.statement.is_init:
            continue  # one row a stored buffer: what accumulates replaces what initialises
        seconds = statement_ms(symbols(view), hardware) / 1e3
        name, kernel = view.statement.name, view.statement.kernel
        statements.append(StatementCost(name, kernel, seconds, {"published": seconds}))
    return Costs(tuple(statements), np.zeros(program.count))
