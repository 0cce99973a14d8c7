"""Cost models: what a configuration is worth before it is measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .adapter import TVMCostModel
from .base import Annealable, CostModel, Differentiable, HasImportance, Measured, ReadsTraces
from .boosted_trees import Label, TreeConfig
from .heron_xgb import HeronXGB
from .psa import PSA

if TYPE_CHECKING:
    from .learned.felix_mlp import FelixMLP as FelixMLP
    from .learned.felix_network import FelixConfig as FelixConfig
    from .learned.moa import MoA as MoA
    from .learned.moa import MoAConfig as MoAConfig
    from .learned.pam import PAM as PAM
    from .learned.pam import PAMConfig as PAMConfig
    from .learned.train import TrainConfig as TrainConfig

# These need torch, which takes seconds to import.
_LEARNED = {
    "FelixConfig": "felix_network",
    "FelixMLP": "felix_mlp",
    "MoA": "moa",
    "MoAConfig": "moa",
    "PAM": "pam",
    "PAMConfig": "pam",
    "TrainConfig": "train",
}

__all__ = [
    "PAM",
    "PSA",
    "Annealable",
    "CostModel",
    "Differentiable",
    "FelixConfig",
    "FelixMLP",
    "HasImportance",
    "HeronXGB",
    "Label",
    "Measured",
    "MoA",
    "MoAConfig",
    "PAMConfig",
    "ReadsTraces",
    "TVMCostModel",
    "TrainConfig",
    "TreeConfig",
]


def __getattr__(name: str) -> Any:
    if name not in _LEARNED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.learned.{_LEARNED[name]}"), name)
    globals()[name] = value
    return value
