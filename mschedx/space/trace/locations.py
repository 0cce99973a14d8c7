"""Compute locations: one design per combination, with what makes each combination available.

Where TVM lets a block be computed depends on the loops of its first consumer as they are when
SampleComputeLocation runs (:mod:`.location_offers`), so availability is a constraint on the tiles
(:mod:`.location_rules`). It is derived here from replays of configs at which the locations chosen
before are offered, and checked on each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.s_tir import Trace

from ..algebra.constraints import Constraint
from ..errors import InvalidSchedule
from .fixed_locations import Around, Numbered, numbered, replayed, settle_one
from .instructions import SAMPLERS, Raw, Sampled, decision_of, replay, with_decisions
from .location_offers import Offer, offer_at
from .location_rules import Option, explain, options_of

IntArray = NDArray[np.int64]
Drawn = list[tuple[dict[int, Raw], IntArray]]

MAX_COMBINATIONS = 16
"""Most combinations of compute locations that become designs, per design space."""

_FEW = 3


@dataclass(frozen=True, slots=True)
class LocationChoice:
    """A reachable combination of compute locations.

    Parameters
    ----------
    codes : dict of int to int
        Location code by instruction.
    constraints : tuple of Constraint
        What the tiles must satisfy for the locations to be offered.
    """

    codes: dict[int, int]
    constraints: tuple[Constraint, ...] = ()

    def with_option(self, instruction: int, option: Option) -> LocationChoice:
        """Choose one location more."""
        return LocationChoice(
            {**self.codes, instruction: option.code},
            (*self.constraints, *option.conditions),
        )


def combinations(
    mod: tvm.IRModule,
    trace: Trace,
    spots: list[Sampled],
    draw: Callable[[Sequence[Constraint]], Drawn],
    limit: int = MAX_COMBINATIONS,
) -> tuple[list[LocationChoice], bool]:
    """List combinations of compute locations that some config reaches.

    Parameters
    ----------
    mod : tvm.IRModule
    trace : Trace
        The searched part of a design space's trace.
    spots : list of Sampled
        Its SampleComputeLocation instructions.
    draw : callable
        Makes random choices of all other decisions that satisfy given constraints, as TVM takes
        them and as configs [D]; none where nothing does.
    limit : int
        Most combinations to return; where there are more, they are spread over the choices of
        every instruction.

    Returns
    -------
    choices : list of LocationChoice
    cut : bool
        Whether there are more.
    """
    tree = _Tree(mod, spots, draw)
    return tree.extend(LocationChoice({}), numbered(trace), limit), tree.cut


@dataclass(frozen=True, slots=True)
class _Learnt:
    """What there is to choose from, with one replay that it was learnt from."""

    example: Offer
    options: list[Option]

    @property
    def around(self) -> Around:
        return self.example.around

    def applies(self, offers: list[Offer]) -> bool:
        """Tell whether it says of other replays what they showed, of as many loops."""
        alike = all(
            offer.around == self.around and len(offer.extents) == len(self.example.extents)
            for offer in offers
        )
        return alike and explain(self.options, offers)


@dataclass
class _Tree:
    """Choices, one instruction after the other, and what was learnt on the way."""

    mod: tvm.IRModule
    spots: list[Sampled]
    draw: Callable[[Sequence[Constraint]], Drawn]
    cut: bool = False
    known: dict[int, list[_Learnt]] = field(default_factory=dict)
    turns: dict[int, int] = field(default_factory=dict)

    def extend(
        self, choice: LocationChoice, insts: list[Numbered], budget: int
    ) -> list[LocationChoice]:
        """Choose what is left to choose in at most ``budget`` ways.

        ``insts`` name the locations chosen so far.
        """
        depth = len(choice.codes)
        if depth == len(self.spots):
            return [choice]
        spot = self.spots[depth]
        options, around = self.options_at(choice, insts)
        picked = self._pick(depth, options, budget)
        found: list[LocationChoice] = []
        for position, option in enumerate(picked):
            share = (budget - len(found)) // (len(picked) - position)
            settled = settle_one(insts, spot.instruction, option.code, around)
            chosen = choice.with_option(spot.instruction, option)
            found += self.extend(chosen, settled, max(share, 1))
        return found

    def _pick(self, depth: int, options: list[Option], budget: int) -> list[Option]:
        if len(options) <= budget:
            return options
        self.cut = True
        # Start elsewhere every time, so that no code of a later instruction is favoured.
        start = self.turns.get(depth, 0)
        self.turns[depth] = start + budget
        picks = {(start + i * len(options) // budget) % len(options) for i in range(budget)}
        return [options[i] for i in sorted(picks)]

    def options_at(
        self, choice: LocationChoice, insts: list[Numbered]
    ) -> tuple[list[Option], Around]:
        """Find the options, or see in few replays that those of other codes apply."""
        depth = len(choice.codes)
        learnt, spot = self.known.setdefault(depth, []), self.spots[depth]
        said = [option for one in learnt for option in one.options]
        draws = _telling_first(self.draw(choice.constraints), said)
        replays = partial(_offers, self.mod, insts, spot, choice.codes)
        offers = replays(draws[:_FEW])
        for one in learnt:
            if one.applies(offers):
                return one.options, one.around
        for at in range(_FEW, len(draws)):
            if offers and _steady(offers) and _vary_alike([o.config for o in offers], draws):
                break
            offers += replays(draws[at : at + 1])
        if not offers:
            return [], Around(0, 0)
        options, cut = options_of(spot.name, offers)
        self.cut = self.cut or cut
        learnt.append(_Learnt(offers[0], options))
        return learnt[-1].options, learnt[-1].around


def _telling_first(draws: Drawn, options: list[Option]) -> Drawn:
    """Put configs of which the options say different things to the front."""
    if not options or not draws:
        return draws
    configs = np.array([config for _, config in draws])
    said = np.array([option.predicts(configs) for option in options])
    _, first = np.unique(said, axis=1, return_index=True)
    front = sorted(first.tolist())
    return [draws[i] for i in (*front, *(i for i in range(len(draws)) if i not in front))]


def _offers(
    mod: tvm.IRModule, insts: list[Numbered], spot: Sampled, codes: dict[int, int], draws: Drawn
) -> list[Offer]:
    """Replay what comes before ``spot`` with the drawn decisions and look at what is offered."""
    at = next(i for i, one in enumerate(insts) if one.number == spot.instruction)
    before = [one.instruction for one in insts[:at]]
    block = insts[at].instruction.inputs[0]
    sampled = {
        i: one.number
        for i, one in enumerate(insts[:at])
        if one.number is not None and one.instruction.kind.name in SAMPLERS
    }
    fixed = {i: (codes[number],) for i, number in sampled.items() if number in codes}
    seen: list[Offer] = []
    for raw, config in draws:
        wanted = {i: raw[number] for i, number in sampled.items()} | fixed
        try:
            schedule = replay(mod, with_decisions(Trace(before, {}), wanted))
        except InvalidSchedule:
            continue
        if all(decision_of(schedule.trace, i) == code for i, code in fixed.items()):
            seen.append(offer_at(schedule, replayed(before, schedule, block), config))
    return seen


def _steady(offers: list[Offer]) -> bool:
    """Whether the loops are the same in all replays."""
    return len({offer.extents for offer in offers}) < 2


def _vary_alike(seen: list[IntArray], draws: Drawn) -> bool:
    """Whether each decision that varies among the draws varies among those seen so far."""
    whole = np.ptp([config for _, config in draws], axis=0) > 0
    return not np.any(whole & (np.ptp(seen, axis=0) == 0))
