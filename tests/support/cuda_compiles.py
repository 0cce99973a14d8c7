"""Whether TVM writes CUDA that nvcc takes, without nvcc."""

import numpy as np

from mschedx.emulator.source import generate
from mschedx.space import InvalidSchedule
from mschedx.space.analysis.model import CODE_GENERATION


def refusal(schedule, target):
    """Why a schedule has no CUDA; empty where it has.

    An index of eight 32-bit integers is written as ``make_longlong4`` of eight arguments, which
    takes four.
    """
    try:
        source = generate(schedule.mod, target).source
    except RuntimeError as error:  # TVM's InternalError
        return str(error).strip().splitlines()[-1]
    return "make_longlong4 of eight" if "longlong4" in source else ""


def outside_postprocs(sketch, configs, target, most=None):
    """For configs that postprocs take: what is admitted, and what compiles; bool [n] each.

    Parameters
    ----------
    most : int or None
        Take so many of the admitted and of the others.
    """
    own = [c for c in sketch.constraints if CODE_GENERATION in c.origin]
    rest = [c for c in sketch.constraints if c not in own]
    configs = configs[_hold(rest, configs)]
    admitted = _hold(own, configs)
    if most is not None:
        chosen = np.concatenate([np.flatnonzero(admitted)[:most], np.flatnonzero(~admitted)[:most]])
        configs, admitted = configs[chosen], admitted[chosen]
    outcomes = sketch.schedules(configs)
    valid = np.array([not isinstance(one, InvalidSchedule) for one in outcomes])
    compiles = np.array([bool(v) and not refusal(o, target) for o, v in zip(outcomes, valid)])
    return admitted[valid], compiles[valid]


def _hold(constraints, configs):
    found = [constraint.holds(configs) for constraint in constraints]
    return np.all(found or [np.ones(len(configs), bool)], axis=0)
