"""What tasks of a network find in the caches, so that they are timed as the network calls them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import DataType, relax

from mschedx.hardware import Hardware

from .rewrites.graph import shape_of


def weights_are_cold(mod: tvm.IRModule, hardware: Hardware) -> bool:
    """Whether weights leave the caches of a CPU between two calls of a network's operator.

    So they do where those of "main" are more than the last cache holds. Tasks are timed then with
    weights that come from memory in every run, and all other arguments but the first dropped from
    the caches with them. BERT-base ran in 115 instead of 123 ms for that, ResNet-50 in 33.2 instead
    of 33.6; MobileNet-v2, whose weights stay, in 4.3 instead of 4.1 (16 trials a task, Zen 4 with
    32 MiB). They are drafted and ranked so, too (``PSA(cold=True)``).
    """
    return weight_bytes(mod) > max(hardware.l2_bytes, hardware.l3_bytes)


@dataclass(frozen=True)
class Distances:
    """Bytes that pass through the caches before an argument of an operator is used again.

    Parameters
    ----------
    activation : int
        Twice the cores' own caches: other operators have been through these, while the last one
        still holds what the operator before wrote.
    weight : int
        The network's weights, which all are read before one is read again; no more than four times
        the last cache, which holds nothing over then, and no less than ``activation``.
    """

    activation: int
    weight: int

    @classmethod
    def of(cls, mod: tvm.IRModule, hardware: Hardware) -> Distances:
        """Those of a fused network on a CPU."""
        last = max(hardware.l2_bytes, hardware.l3_bytes)
        own = 2 * hardware.l2_bytes * hardware.cores
        return cls(own, max(own, min(weight_bytes(mod), 4 * last)))


def constant_arguments(mod: tvm.IRModule) -> dict[str, frozenset[int]]:
    """Which arguments of each function that "main" calls are constants in every call."""
    found: dict[str, frozenset[int]] = {}

    def visit(expr: Any) -> None:
        if not (isinstance(expr, relax.Call) and len(expr.args) >= 2):
            return
        callee, given = expr.args[0], expr.args[1]
        if isinstance(callee, tvm.ir.GlobalVar) and isinstance(given, relax.Tuple):
            constant = frozenset(
                i for i, one in enumerate(given.fields) if isinstance(one, tvm.ir.GenericConst)
            )
            name = str(callee.name_hint)
            found[name] = found.get(name, constant) & constant

    relax.analysis.post_order_visit(mod["main"], visit)
    return found


def weight_bytes(mod: tvm.IRModule) -> int:
    """Bytes of the constants of "main"; one that is used twice counts once."""
    total = 0

    def visit(expr: Any) -> None:
        nonlocal total
        shape = shape_of(expr) if isinstance(expr, tvm.ir.GenericConst) else None
        if shape is not None:
            total += math.prod(shape) * DataType(str(expr.ty.dtype)).bits // 8

    relax.analysis.post_order_visit(mod["main"], visit)
    return total
