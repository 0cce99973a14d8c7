"""When a compute location is offered, as constraints on the tiles, from what replays showed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..algebra.constraints import Constraint, at_least, equal
from ..algebra.expression import Expression, Min, constant, minimum, multiply
from .fixed_locations import INLINED
from .location_offers import Offer
from .tile_products import fit_product

IntArray = NDArray[np.int64]

_NO_CONFIG = np.zeros((1, 0), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Option:
    """One code of one instruction, and when it is offered.

    Parameters
    ----------
    code : int
    conditions : tuple of Constraint
        What the tiles must satisfy for the code to be offered.
    """

    code: int
    conditions: tuple[Constraint, ...] = ()

    def predicts(self, configs: IntArray) -> NDArray[np.bool_]:
        """Tell of configs [n, D] whether the code is offered; bool [n]."""
        predicted = np.ones(len(configs), dtype=bool)
        for condition in self.conditions:
            predicted &= condition.holds(configs)
        return predicted

    def explains(self, offers: list[Offer]) -> bool:
        """Tell whether the conditions say of every replay what it showed."""
        predicted = self.predicts(np.array([offer.config for offer in offers]))
        return all(p == (self.code in offer.codes) for p, offer in zip(predicted, offers))


def options_of(name: str, offers: list[Offer]) -> tuple[list[Option], bool]:
    """List the codes that can be chosen; ``name`` is the decision's.

    A code that was never seen is kept if the rule explains why: its configs may be few.

    Returns
    -------
    options : list of Option
    cut : bool
        Whether there are more: codes that TVM offers for some tilings, by no rule that was found.
    """
    loops = max((len(offer.extents) for offer in offers), default=0)
    options = [_option(name, code, offers) for code in range(INLINED, loops)]
    kept = [option for option in options if option is not None]
    seen = set().union(*(offer.codes for offer in offers))
    return kept, not seen <= {option.code for option in kept}


def explain(options: list[Option], offers: list[Offer]) -> bool:
    """Tell whether the options say exactly what the replays showed."""
    codes = {option.code for option in options}
    inside = all(offer.codes <= codes for offer in offers)
    return bool(offers) and inside and all(option.explains(offers) for option in options)


def _option(name: str, code: int, offers: list[Offer]) -> Option | None:
    """Say when a code is offered; None where it never is, or nothing says when."""
    present = [code in offer.codes for offer in offers]
    conditions = _conditions(name, code, offers) if code >= 0 else ()
    if conditions is not None:
        option = Option(code, conditions)
        hopeless = any(not c.columns and not c.holds(_NO_CONFIG)[0] for c in conditions)
        if option.explains(offers):
            return None if hopeless else option
    return Option(code) if all(present) else None


def _conditions(name: str, code: int, offers: list[Offer]) -> tuple[Constraint, ...] | None:
    """Apply the rule of :mod:`.location_offers` to loop ``code``; None when extents do not fit."""
    if len({len(offer.extents) for offer in offers}) > 1:
        return None
    configs = np.array([offer.config for offer in offers])
    extents = np.array([offer.extents for offer in offers])
    # A unit loop may have vanished from the block's bindings: one replay that shows it is enough.
    parallel = [all(flags) for flags in zip(*(offer.parallel for offer in offers))]

    def extent(loop: int) -> Expression | None:
        return fit_product(extents[:, loop], configs)

    own = extent(code)
    if own is None:
        return None
    conditions = [at_least(own, 2, f"{name} = {code}: TVM offers no unit loop")]
    origin = f"{name} = {code}: TVM offers no loop inside a reduction"
    if not any(parallel[code:]):
        conditions.append(equal(constant(1), 0, origin))
    outside: Expression = constant(1)
    for loop in range(code + 1):
        mine = extent(loop)
        if mine is None:
            return None
        if not parallel[loop]:
            outside = multiply(outside, mine)
        elif loop == code:
            conditions.append(equal(outside, 1, origin))
        else:
            conditions.append(equal(minimum(outside, mine), 1, origin))
    return tuple(c for c in conditions if not _trivial(c))


def _trivial(constraint: Constraint) -> bool:
    """Tell whether a condition holds for all decisions, extents being at least 1."""
    left, one = constraint.left, constant(1)
    if isinstance(left, Min):
        return one in left.arguments
    return not left.columns and bool(constraint.holds(_NO_CONFIG)[0])
