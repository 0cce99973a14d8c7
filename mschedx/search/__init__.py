"""Search strategies: which configurations to measure next."""

from .constrained_evolution import ConstrainedEvolution, Evolution, EvolutionConfig, Keys
from .constrained_random import ConstrainedRandom
from .descent_config import DescentConfig, Fallback
from .draft_verify import DraftThenVerify, DraftVerify, DraftVerifyConfig
from .gradient_descent import Descent, GradientDescent
from .repaired_genetic import GeneticConfig, RepairedGenetic
from .strategy import Strategy

__all__ = [
    "ConstrainedEvolution",
    "ConstrainedRandom",
    "Descent",
    "DescentConfig",
    "DraftThenVerify",
    "DraftVerify",
    "DraftVerifyConfig",
    "Evolution",
    "EvolutionConfig",
    "Fallback",
    "GeneticConfig",
    "GradientDescent",
    "Keys",
    "RepairedGenetic",
    "Strategy",
]
