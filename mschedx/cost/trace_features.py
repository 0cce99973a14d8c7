"""The assignment vector of a candidate that only its trace describes.

TVM's own strategies hand a cost model `MeasureCandidate` objects. Their traces hold the sampled
decisions, which is all that Heron's model reads; no sketch is needed. Columns are named after the
trace's structure and the instruction's position in it, so that candidates of one design space line
up and those of another get columns of their own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .training_rows import FloatArray, TrainingRows

_UNTIL = "EnterPostproc"
_CATEGORICAL = "SampleCategorical"


def from_candidates(candidates: Sequence[Any], latency_s: FloatArray | None = None) -> TrainingRows:
    """Read the decisions of measure candidates.

    Parameters
    ----------
    candidates : sequence of ms.MeasureCandidate [n]
    latency_s : float64 array [n], optional
        Seconds; zeros when there is nothing measured (the table is then for predicting only).

    Returns
    -------
    TrainingRows [n, F]
        log2(1 + value) of every tile factor and non-negative choice; other choices as they are.
    """
    rows = [_decisions(candidate.sch.trace) for candidate in candidates]
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    position = {name: i for i, name in enumerate(names)}
    features = np.full((len(rows), len(names)), np.nan)
    for i, row in enumerate(rows):
        for name, value in row.items():
            features[i, position[name]] = math.log2(1 + value) if value >= 0 else value
    if latency_s is None:
        latency_s = np.zeros(len(rows))
    return TrainingRows(names, features, latency_s)


def _decisions(trace: Any) -> dict[str, float]:
    """Name and value of every decision up to the postprocessors' part of the trace."""
    kinds: list[str] = []
    found: list[tuple[int, int, float]] = []
    decisions = trace.decisions
    for instruction in trace.insts:
        kind = instruction.kind.name
        if kind == _UNTIL:
            break
        kinds.append(kind)
        if not kind.startswith("Sample") or instruction not in decisions:
            continue
        values = _values(kind, instruction, decisions[instruction])
        found.extend((len(kinds) - 1, part, value) for part, value in enumerate(values))
    skeleton = hashlib.sha256(" ".join(kinds).encode()).hexdigest()[:8]
    return {f"{skeleton}.{index}.{part}": value for index, part, value in found}


def _values(kind: str, instruction: Any, decision: Any) -> list[float]:
    """The numbers of one decision: tile factors, a candidate's value or a location code."""
    if hasattr(decision, "__len__"):
        return [float(int(factor)) for factor in decision]
    if kind == _CATEGORICAL:
        return [float(instruction.attrs[0][int(decision)])]
    return [float(int(decision))]
