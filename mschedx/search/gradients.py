"""Which cost model a search takes that goes down gradients, and which it cannot."""

from __future__ import annotations

from typing import Any

from tvm.s_tir import meta_schedule as ms

from mschedx.cost.adapter import conversation_behind
from mschedx.cost.base import Differentiable

from .scoring import WITH_GRADIENT
from .strategy import Strategy


def model_beside(strategy: Any) -> ms.CostModel:
    """The cost model to take beside a strategy where none is given."""
    if not _needs_gradients(strategy):
        from mschedx.cost import HeronXGB

        return HeronXGB()
    from mschedx.cost import FelixMLP

    return FelixMLP()


def lacks_gradients(strategy: Any, cost_model: Any) -> bool:
    """Whether a strategy would stop at its first round for the gradients of its cost model."""
    if not _needs_gradients(strategy):
        return False
    if isinstance(cost_model, ms.CostModel):
        found = conversation_behind(cost_model)
        cost_model = None if found is None else found.model
    return not isinstance(cost_model, Differentiable)


def require_gradients(strategy: Any, cost_model: Any) -> None:
    """Refuse a given cost model that has no gradients beside a strategy that needs them.

    Raises
    ------
    TypeError
        Naming the models that have.
    """
    if cost_model is None or not lacks_gradients(strategy, cost_model):
        return
    named = cost_model if isinstance(cost_model, str) else type(cost_model).__name__
    raise TypeError(
        "expected a cost model with gradients beside GradientDescent "
        f"({', '.join(f'mschedx.cost.{name}()' for name in WITH_GRADIENT)}), got {named}: pass one "
        'of these or none, or GradientDescent(fallback="score") to choose by scores alone'
    )


def _needs_gradients(strategy: Any) -> bool:
    return isinstance(strategy, Strategy) and strategy.gradients
