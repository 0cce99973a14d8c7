"""Search strategies: which configurations to measure next."""

from .constrained_evolution import ConstrainedEvolution, Evolution, EvolutionConfig, Keys
from .constrained_random import ConstrainedRandom
from .draft_verify import DraftThenVerify, DraftVerify, DraftVerifyConfig
from .repaired_genetic import GeneticConfig, RepairedGenetic
from .strategy import Strategy

__all__ = [
    "ConstrainedEvolution",
    "ConstrainedRandom",
    "DraftThenVerify",
    "DraftVerify",
    "DraftVerifyConfig",
    "Evolution",
    "EvolutionConfig",
    "GeneticConfig",
    "Keys",
    "RepairedGenetic",
    "Strategy",
]
