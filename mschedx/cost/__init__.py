"""Cost models: what a configuration is worth before it is measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .adapter import TVMCostModel
from .base import (
    Annealable,
    CostModel,
    Differentiable,
    HasImportance,
    KnowsSkill,
    Logarithmic,
    Measured,
    ReadsTraces,
)
from .boosted_trees import Label, TreeConfig
from .heron_xgb import HeronXGB
from .psa import PSA

if TYPE_CHECKING:
    from .consensus import Consensus as Consensus
    from .learned.felix_mlp import FelixMLP as FelixMLP
    from .learned.felix_network import FelixConfig as FelixConfig
    from .learned.moa import MoA as MoA
    from .learned.moa import MoAConfig as MoAConfig
    from .learned.one_shot import OneShotConfig as OneShotConfig
    from .learned.one_shot import OneShotTuner as OneShotTuner
    from .learned.pam import PAM as PAM
    from .learned.pam import PAMConfig as PAMConfig
    from .learned.tlp import TLP as TLP
    from .learned.tlp import TLPConfig as TLPConfig
    from .learned.train import TrainConfig as TrainConfig

# Most of these need torch, which takes seconds to import.
_LAZY = {
    "Consensus": "consensus",
    "FelixConfig": "learned.felix_network",
    "FelixMLP": "learned.felix_mlp",
    "MoA": "learned.moa",
    "MoAConfig": "learned.moa",
    "OneShotConfig": "learned.one_shot",
    "OneShotTuner": "learned.one_shot",
    "PAM": "learned.pam",
    "PAMConfig": "learned.pam",
    "TLP": "learned.tlp",
    "TLPConfig": "learned.tlp",
    "TrainConfig": "learned.train",
}

__all__ = [
    "PAM",
    "PSA",
    "TLP",
    "Annealable",
    "Consensus",
    "CostModel",
    "Differentiable",
    "FelixConfig",
    "FelixMLP",
    "HasImportance",
    "HeronXGB",
    "KnowsSkill",
    "Label",
    "Logarithmic",
    "Measured",
    "MoA",
    "MoAConfig",
    "OneShotConfig",
    "OneShotTuner",
    "PAMConfig",
    "ReadsTraces",
    "TLPConfig",
    "TVMCostModel",
    "TrainConfig",
    "TreeConfig",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
