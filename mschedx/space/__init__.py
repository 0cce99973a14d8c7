from mschedx import compat

from .algebra.constraints import Constraint, Relation
from .algebra.expression import Expression
from .errors import EmptySpace, InvalidSchedule, SparseSpace, UnsupportedTrace
from .opening import sketches, sketches_from
from .resolver import Resolved, Resolver
from .sampling.sampler import Sampler
from .sketch import Sketch
from .target import for_target
from .task import Task
from .trace.design import Decision, DecisionKind, Design, SampleTable

__all__ = [
    "Constraint",
    "Decision",
    "DecisionKind",
    "Design",
    "EmptySpace",
    "Expression",
    "InvalidSchedule",
    "Relation",
    "Resolved",
    "Resolver",
    "SampleTable",
    "Sampler",
    "Sketch",
    "SparseSpace",
    "Task",
    "UnsupportedTrace",
    "for_target",
    "sketches",
    "sketches_from",
]

compat.pass_interrupts()
