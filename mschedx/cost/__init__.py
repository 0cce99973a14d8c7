"""Cost models: what a configuration is worth before it is measured."""

from .adapter import TVMCostModel
from .base import CostModel, Differentiable, HasImportance, Measured, ReadsTraces
from .boosted_trees import Label, TreeConfig
from .heron_xgb import HeronXGB
from .psa import PSA

__all__ = [
    "PSA",
    "CostModel",
    "Differentiable",
    "HasImportance",
    "HeronXGB",
    "Label",
    "Measured",
    "ReadsTraces",
    "TVMCostModel",
    "TreeConfig",
]
