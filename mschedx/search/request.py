"""What a search is asked for, as one thing that its steps hand on.

Searches of users take it, so it grows by fields and never by arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .history import History
from .points import SketchSet
from .scoring import Scorer


@dataclass(frozen=True, slots=True)
class Request:
    """The one argument of `Search.propose`.

    Attributes
    ----------
    count : int
        How many points are wanted, > 0.
    space : SketchSet
    history : History
        What has been measured.
    scorer : Scorer
        Of the cost model; a step may be handed another one (`dataclasses.replace`).
    rng : numpy.random.Generator
        The only source of chance.
    """

    count: int
    space: SketchSet
    history: History
    scorer: Scorer
    rng: np.random.Generator
