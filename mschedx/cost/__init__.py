"""Cost models: what a configuration is worth before it is measured."""

from .adapter import TVMCostModel
from .base import CostModel, Differentiable, HasImportance, Measured, ReadsTraces
from .boosted_trees import Label, TreeConfig
from .heron_xgb import HeronXGB

__all__ = [
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
