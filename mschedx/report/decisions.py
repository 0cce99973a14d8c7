"""Which decisions mattered: read from recorded traces, without TVM."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_SAMPLERS = ("SamplePerfectTile", "SamplePartitionedTile", "SampleCategorical")


@dataclass(frozen=True, slots=True)
class Importance:
    """How much of the spread one decision explains alone.

    Attributes
    ----------
    name : str
        Block and axis, or what the value is used for.
    share : float
        Adjusted R² of log latency on a parabola in log2(1 + value), in [0, 1].
    best : int
        The value in the fastest trial.
    """

    name: str
    share: float
    best: int


def decision_values(trace: list[Any]) -> dict[str, int]:
    """Name the values of a trace's decisions, one for each tile factor.

    Parameters
    ----------
    trace : list
        ``[instructions, decisions]`` as in a record.
    """
    instructions, decisions = trace
    names = _origins(instructions)
    values: dict[str, int] = {}
    for place, decision in decisions:
        kind, inputs, attributes, outputs = instructions[place]
        if kind == "SampleCategorical":
            value = attributes[0][decision]
            values[_unique(names.get(outputs[0], "choice"), values)] = int(value)
        elif kind in _SAMPLERS:
            base = _unique(f"{names.get(inputs[0], 'loop')} tile", values, " 0")
            for part, factor in enumerate(decision):
                values[f"{base} {part}"] = int(factor)
        elif isinstance(decision, int):
            values[_unique(f"{names.get(inputs[0], 'block')} location", values)] = decision
    return values


def _unique(name: str, taken: dict[str, int], suffix: str = "") -> str:
    number, candidate = 2, name
    while candidate + suffix in taken:
        candidate = f"{name} ({number})"
        number += 1
    return candidate


def _origins(instructions: list[Any]) -> dict[str, str]:
    """Say for each variable of a trace where it comes from or, for a choice, where it goes."""
    names: dict[str, str] = {}
    for kind, inputs, attributes, outputs in instructions:
        if kind == "GetSBlock":
            names[outputs[0]] = attributes[0]
        elif kind == "GetLoops":
            block = names.get(inputs[0], "block")
            names.update({v: f"{block} axis {i}" for i, v in enumerate(outputs)})
        elif kind == "Split":
            names.update(dict.fromkeys(outputs, names.get(inputs[0], "loop")))
        elif kind == "Fuse":
            names[outputs[0]] = "+".join(dict.fromkeys(names.get(v, "loop") for v in inputs))
        elif kind in ("CacheRead", "CacheWrite", "ReIndex", "DecomposeReduction", "RFactor"):
            block = names.get(inputs[0], "block")
            names.update({v: f"{block} {kind.lower()}" for v in outputs})
        elif kind == "Annotate" and len(inputs) == 2:
            for variable in _variables(inputs[1]):
                names.setdefault(variable, str(attributes[0]).rpartition(".")[2])
    return names


def _variables(value: Any) -> Iterator[str]:
    """Find the variables in an annotation's value: itself, or items of its lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _variables(item)


def importances(traces: list[list[Any]], latency_s: list[float]) -> list[Importance]:
    """Rank the decisions of the program structure that was measured most.

    Parameters
    ----------
    traces : list
        Of trials that ran.
    latency_s : list[float]
        Their latencies, seconds, > 0.

    Returns
    -------
    list[Importance]
        Most important first; empty with fewer than ten trials of one structure.
    """
    rows = [decision_values(trace) for trace in traces]
    if not rows:
        return []
    structure = Counter(tuple(row) for row in rows).most_common(1)[0][0]
    chosen = [i for i, row in enumerate(rows) if tuple(row) == structure]
    if len(chosen) < 10:
        return []
    target = np.log([latency_s[i] for i in chosen])
    fastest = rows[chosen[int(np.argmin(target))]]
    result = []
    for name in structure:
        values = np.array([rows[i][name] for i in chosen], dtype=float)
        result.append(Importance(name, _explained(values, target), fastest[name]))
    return sorted(result, key=lambda item: -item.share)


def _explained(values: np.ndarray, target: np.ndarray) -> float:
    """Adjusted R² of a parabola (a line for two values), not below 0."""
    degree = min(2, len(np.unique(values)) - 1)
    spread = float(((target - target.mean()) ** 2).sum())
    if degree < 1 or spread == 0:
        return 0.0
    x = np.log2(1 + np.abs(values))
    fit = np.polynomial.Polynomial.fit(x, target, degree)
    rest = float(((target - fit(x)) ** 2).sum())
    adjusted = 1 - (rest / (len(x) - degree - 1)) / (spread / (len(x) - 1))
    return max(0.0, adjusted) if math.isfinite(adjusted) else 0.0
