"""Array models as TVM cost models.

TVM passes a Python cost model to a strategy as a bare handle: the object behind it, with its array
methods, is not reachable from there. `live_model` finds it again by comparing handles with the
models alive in this process. A handle that is none of ours (TVM's ``"xgb"``, a model of another
package) gives ``None``, and the strategy then goes through ``CostModel.predict`` as TVM's do.
"""

from __future__ import annotations

import weakref
from typing import Any

from tvm.s_tir.meta_schedule.cost_model import PyCostModel

from mschedx.latency import latency_of, latency_s

from .base import ArrayModel

__all__ = ["ModelAdapter", "latency_of", "latency_s", "live_model"]

_LIVE: weakref.WeakSet[ModelAdapter] = weakref.WeakSet()


class ModelAdapter(PyCostModel):
    """Base of the models that are both an `ArrayModel` and a TVM cost model.

    Subclasses implement the array methods and the four of ``PyCostModel``, call
    ``super().__init__()`` and are decorated with ``@derived_object``.
    """

    def __init__(self) -> None:
        super().__init__()
        _LIVE.add(self)


def live_model(cost_model: Any) -> ArrayModel | None:
    """Return the array model behind a TVM cost model handle, or None when it is not one of ours."""
    if isinstance(cost_model, ModelAdapter):
        return cost_model if isinstance(cost_model, ArrayModel) else None
    for model in _LIVE:
        # Set by derived_object: a weak reference to the TVM object that wraps this instance.
        outer = getattr(model, "_outer", lambda: None)()
        if outer is not None and outer.same_as(cost_model):
            return model if isinstance(model, ArrayModel) else None
    return None
