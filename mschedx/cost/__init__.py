"""Cost models: what a configuration is worth before it is measured."""

from .base import ArrayModel, Measured
from .boosted_trees import Label, TreeConfig
from .heron_xgb import HeronXGB

__all__ = ["ArrayModel", "HeronXGB", "Label", "Measured", "TreeConfig"]
