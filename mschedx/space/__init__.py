from .constraints import Constraint, Relation
from .decisions import Decision, DecisionKind, Design, Table
from .errors import EmptySpace, InvalidSchedule, UnsupportedTrace
from .expression import Expression
from .sampler import Sampler
from .sketch import Sketch, sketches, sketches_from
from .target import for_target

__all__ = [
    "Constraint",
    "Decision",
    "DecisionKind",
    "Design",
    "EmptySpace",
    "Expression",
    "InvalidSchedule",
    "Relation",
    "Sampler",
    "Sketch",
    "Table",
    "UnsupportedTrace",
    "for_target",
    "sketches",
    "sketches_from",
]
