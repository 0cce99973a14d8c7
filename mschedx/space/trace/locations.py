"""Compute locations: one design per combination, with what makes each combination available.

Where TVM lets a block be computed depends on the loops of its first consumer as they are when
SampleComputeLocation runs. Loop ``k`` is offered if

- it is no unit loop,
- it is data-parallel and all reduction loops outside it are unit loops, or it is a reduction loop,
  some data-parallel loop follows it, and no data-parallel loop between it and a reduction loop
  outside that is more than a unit loop,
- and the block can be computed there at all.

So availability is a constraint on the tiles. It is derived here from a few dozen replays with
random decisions, and checked on each of them. Facts of TVM 0.27: ``CollectComputeLocation``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import tirx
from tvm.s_tir import Trace
from tvm.s_tir.stmt import SBlockRealize
from tvm.tirx.analysis import undefined_vars

from ..algebra.constraints import Constraint, at_least, equal
from ..algebra.expression import Expression, Min, constant, minimum, multiply
from ..errors import InvalidSchedule
from .instructions import Raw, Sampled, decision_of, replay, with_decisions
from .tile_products import fit_product

IntArray = NDArray[np.int64]

MAX_COMBINATIONS = 16
"""Most combinations of compute locations that become designs, per design space."""

_FEW, _ASKED = 2, 4
_NO_CONFIG = np.zeros((1, 0), dtype=np.int64)
_FARTHEST = 1 << 16


@dataclass(frozen=True, slots=True)
class Choice:
    """A reachable combination of compute locations.

    Parameters
    ----------
    codes : dict of int to int
        Instruction to location code.
    constraints : tuple of Constraint
        What the tiles must satisfy for the locations to be offered.
    notes : tuple of str
        What could not be derived, for readers.
    """

    codes: dict[int, int]
    constraints: tuple[Constraint, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Option:
    """One code of one instruction, and when it is offered."""

    code: int
    conditions: tuple[Constraint, ...] = ()
    note: str = ""

    def predicts(self, offers: list[_Offer]) -> bool:
        """Tell whether the conditions say of every replay what it showed."""
        offers = [offer for offer in offers if offer.codes is not None]
        predicted = np.ones(len(offers), dtype=bool)
        configs = np.array([offer.config for offer in offers])
        for condition in self.conditions:
            predicted &= condition.holds(configs)
        return all(p == offer.has(self.code) for p, offer in zip(predicted, offers))

    def extend(self, choice: Choice, spot: Sampled) -> Choice:
        """Add this to the codes chosen before."""
        return Choice(
            {**choice.codes, spot.instruction: self.code},
            (*choice.constraints, *self.conditions),
            (*choice.notes, self.note) if self.note else choice.notes,
        )


@dataclass(frozen=True, slots=True)
class _Offer:
    """What one replay showed at a SampleComputeLocation; ``codes`` is None if not asked for."""

    config: IntArray
    codes: frozenset[int] | None
    extents: tuple[int, ...]
    reduces: tuple[bool, ...]

    def has(self, code: int) -> bool:
        """Tell whether TVM offered a code."""
        return self.codes is not None and code in self.codes


def combinations(
    mod: tvm.IRModule,
    trace: Trace,
    spots: list[Sampled],
    draws: list[tuple[dict[int, Raw], IntArray]],
    limit: int = MAX_COMBINATIONS,
) -> tuple[list[Choice], bool]:
    """List combinations of compute locations that some config reaches.

    Parameters
    ----------
    mod : tvm.IRModule
    trace : Trace
        The searched part of a design space's trace.
    spots : list of Sampled
        Its SampleComputeLocation instructions.
    draws : list of (dict, int64 array [D])
        Random choices of all other decisions, as TVM takes them and as configs.
    limit : int
        Most combinations to return; where there are more, they are spread over the choices of
        every instruction.

    Returns
    -------
    choices : list of Choice
    cut : bool
        Whether there are more.
    """
    cut = False
    known: dict[int, list[list[_Option]]] = {}
    turns: dict[int, int] = {}
    unruled = False

    def options_at(codes: dict[int, int], depth: int) -> list[_Option]:
        """Find the options, or see in few replays that those of other codes apply."""
        nonlocal unruled
        learnt = known.setdefault(depth, [])
        spot = spots[depth]
        offers: list[_Offer] = []
        if learnt:
            offers = _offers(mod, trace, draws[:_FEW], codes, spot)
            for options in learnt:
                if _explain(options, offers):
                    return options
        rest = draws[_FEW if learnt else 0 :]
        asked = len(rest) if unruled or len(spots) > 1 else _ASKED - len(offers)
        some = offers + _offers(mod, trace, rest, codes, spot, asked)
        options, ruled = _options(spot, some)
        if not ruled:
            unruled = True
        if not ruled and any(offer.codes is None for offer in some):
            # What the rule does not explain is judged by how often it was seen.
            options, _ = _options(spot, offers + _offers(mod, trace, rest, codes, spot, len(rest)))
        learnt.append(options)
        return options

    def extend(choice: Choice, depth: int, budget: int) -> list[Choice]:
        nonlocal cut
        if depth == len(spots):
            return [choice]
        options = options_at(choice.codes, depth)
        if len(options) > budget:
            cut = True
            # Start elsewhere every time, so that no code of a later instruction is favoured.
            start = turns.get(depth, 0)
            turns[depth] = start + budget
            picks = {(start + i * len(options) // budget) % len(options) for i in range(budget)}
            options = [options[i] for i in sorted(picks)]
        found: list[Choice] = []
        for position, option in enumerate(options):
            share = (budget - len(found)) // (len(options) - position)
            found += extend(option.extend(choice, spots[depth]), depth + 1, max(share, 1))
        return found

    return extend(Choice({}), 0, limit), cut


def _explain(options: list[_Option], offers: list[_Offer]) -> bool:
    """Tell whether the options say exactly what the replays showed."""
    codes = {option.code for option in options}
    inside = all(offer.codes is not None and offer.codes <= codes for offer in offers)
    return bool(offers) and inside and all(option.predicts(offers) for option in options)


def _offers(
    mod: tvm.IRModule,
    trace: Trace,
    draws: list[tuple[dict[int, Raw], IntArray]],
    codes: dict[int, int],
    spot: Sampled,
    asked: int = _FEW,
) -> list[_Offer]:
    """Replay with the drawn decisions and look at what is offered at ``spot``.

    TVM tries every loop for every answer it gives, which takes longer than the replay: only the
    first ``asked`` replays ask for all codes, the rest show the loops' extents.
    """
    fixed = {instruction: (code,) for instruction, code in codes.items()}
    seen: list[_Offer] = []

    def provider(schedule: Any, config: IntArray) -> Callable:
        def watch(instruction: Any, inputs: Any, attributes: Any, decision: Any) -> Any:
            if instruction.kind.name != spot.kind:
                return decision
            done = schedule.trace
            if len(done.insts) != spot.instruction:
                return decision
            if all(decision_of(done, i) == raw for i, raw in fixed.items()):
                extents, reduces = _consumer_loops(schedule, inputs[0])
                wanted = len(seen) < asked
                offered = _offered(schedule, inputs[0]) if wanted else None
                seen.append(_Offer(config, offered, extents, reduces))
            return decision

        return watch

    for raw, config in draws:
        try:
            replay(mod, with_decisions(trace, {**raw, **fixed}), partial(provider, config=config))
        except InvalidSchedule:
            # What comes after the spot is no concern here.
            continue
        steady = len({offer.extents for offer in seen}) < 2
        if steady and len(seen) >= _FEW and _vary_alike([o.config for o in seen], draws):
            break
    return seen


def _vary_alike(seen: list[IntArray], draws: list[tuple[dict[int, Raw], IntArray]]) -> bool:
    """Whether each decision that varies among the draws varies among those seen so far."""
    whole = np.ptp([config for _, config in draws], axis=0) > 0
    return not np.any(whole & (np.ptp(seen, axis=0) == 0))


def _offered(schedule: Any, block: Any) -> frozenset[int]:
    """List TVM's candidates: it answers a code that it does not offer with the next one below."""
    found: set[int] = set()
    trial = schedule.copy()
    code = _FARTHEST
    while code >= -2:
        trial.sample_compute_location(block, decision=code)
        answer = decision_of(trial.trace, len(trial.trace.insts) - 1)
        assert answer is not None
        if answer[0] > code:
            break
        found.add(answer[0])
        code = answer[0] - 1
    return frozenset(found)


def _consumer_loops(schedule: Any, block: Any) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Read extents and kinds of the first consumer's loops, outermost first."""
    trial = schedule.copy()
    consumers = trial.get_consumers(block)
    if not consumers:
        return (), ()
    loops = [trial.get(loop) for loop in trial.get_loops(consumers[0])]
    realize = _realize(loops[0], trial.get(consumers[0])) if loops else None
    reduced: list[Any] = []
    if realize is not None:
        for variable, value in zip(realize.block.iter_vars, realize.iter_values):
            if variable.iter_type != tirx.IterVar.DataPar:
                reduced += undefined_vars(value)
    extents = tuple(map(_extent, loops))
    kinds = tuple(any(loop.loop_var.same_as(v) for v in reduced) for loop in loops)
    return extents, kinds


def _extent(loop: Any) -> int:
    """The extent of a loop; of one that varies, any that TVM takes for no unit loop."""
    return int(loop.extent) if isinstance(loop.extent, tirx.IntImm) else 2


def _realize(statement: Any, block: Any) -> Any:
    """Find the realize of ``block`` below ``statement``."""
    stack = [statement]
    while stack:
        node = stack.pop()
        if isinstance(node, SBlockRealize):
            if node.block.same_as(block):
                return node
            node = node.block
        stack += list(node.seq) if isinstance(node, tirx.SeqStmt) else []
        body = getattr(node, "body", None)
        if body is not None:
            stack.append(body)
    return None


def _options(spot: Sampled, offers: list[_Offer]) -> tuple[list[_Option], bool]:
    """List every code that some config may reach, and whether the rule explains all of them."""
    loops = max((len(offer.extents) for offer in offers), default=0)
    found = [_option(spot, code, offers) for code in range(-2, loops)]
    options = [option for option, _ in found if option is not None]
    return options, all(ruled for _, ruled in found)


def _option(spot: Sampled, code: int, offers: list[_Offer]) -> tuple[_Option | None, bool]:
    """Say when a code is offered, and whether the rule or only what was seen says so.

    A code that was never seen is kept if the rule explains why: its configs may be few.
    """
    present = [offer.has(code) for offer in offers if offer.codes is not None]
    conditions = _conditions(spot, code, offers) if code >= 0 else ()
    if conditions is not None:
        option = _Option(code, conditions)
        hopeless = any(not c.columns and not c.holds(_NO_CONFIG)[0] for c in conditions)
        if option.predicts(offers):
            if not hopeless:
                return option, True
            if not any(present):
                return None, True
    if all(present):
        return _Option(code), False
    if not any(present):
        return None, False
    share = f"{sum(present)} of {len(present)} random tilings"
    note = f"{spot.name} = {code} is offered for {share}, by an unknown rule"
    return _Option(code, (), note), False


def _conditions(spot: Sampled, code: int, offers: list[_Offer]) -> tuple[Constraint, ...] | None:
    """Apply the rule of the module's header to loop ``code``; None when extents do not fit."""
    if len({len(offer.extents) for offer in offers}) > 1:
        return None
    configs = np.array([offer.config for offer in offers])
    extents = np.array([offer.extents for offer in offers])
    # A unit loop may have vanished from the block's bindings: one replay that shows it is enough.
    reduces = [any(flags) for flags in zip(*(offer.reduces for offer in offers))]

    def extent(loop: int) -> Expression | None:
        return fit_product(extents[:, loop], configs)

    own = extent(code)
    if own is None:
        return None
    conditions = [at_least(own, 2, f"{spot.name} = {code}: TVM offers no unit loop")]
    origin = f"{spot.name} = {code}: TVM offers no loop inside a reduction"
    outside: Expression = constant(1)
    for loop in range(code + 1):
        mine = extent(loop)
        if mine is None:
            return None
        if reduces[loop]:
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
