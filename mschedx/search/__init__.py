"""Search strategies: which configurations to measure next."""

from .constrained_evolution import Evolution, EvolutionConfig, Keys
from .repaired_genetic import GeneticConfig
from .strategies import ConstrainedEvolution, ConstrainedRandom, RepairedGenetic

__all__ = [
    "ConstrainedEvolution",
    "ConstrainedRandom",
    "Evolution",
    "EvolutionConfig",
    "GeneticConfig",
    "Keys",
    "RepairedGenetic",
]
