"""Replays of a design at chosen configs: the evidence that expressions are found and checked on.

A tile's factors are drawn as random rows of its table, every row as likely as any other; corners
put a whole extent into one slot, and every categorical value occurs. Configs that do not replay are
left out and kept with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...algebra.expression import IntArray
from ...errors import DYNAMIC_LOOP, InvalidSchedule, UnsupportedTrace
from ...trace.materialize import in_threads, useful_threads
from .extract import DynamicExtent, entry, extract, has_constant_loops
from .program import Program
from .quotients import divides

if TYPE_CHECKING:
    from ...trace.design import Design

_PATIENCE = 8
"""How many times the wanted number of configs is tried before settling for fewer."""

_DRAWN = 512
"""How many configs a few are chosen from."""


@dataclass(frozen=True, slots=True)
class Probes:
    """Programs and the configs they were replayed at.

    ``configs`` is int64 [P, D], ``programs`` and the ``mods`` they were read off as many;
    ``refused`` holds the configs that did not replay, with the reason. The ``chosen`` first ones
    were replayed for what they show: nothing is to be held out of these.
    """

    configs: IntArray
    programs: tuple[Program, ...]
    refused: tuple[tuple[IntArray, str], ...] = ()
    mods: tuple[Any, ...] = ()
    chosen: int = 0

    def and_of(self, design: Design, configs: IntArray) -> Probes:
        """These and the replays of more configs [n, D]."""
        draft = _Draft.of(design, self)
        draft.take(configs)
        return replace(draft.probes(), chosen=self.chosen)


def random_configs(design: Design, n: int, rng: np.random.Generator) -> IntArray:
    """Draw configs [n, D], a random row of every table, keeping the design's own constraints.

    Fewer come back when the constraints reject nearly everything.
    """
    found: list[IntArray] = []
    for _ in range(_PATIENCE if design.constraints else 1):
        size = n * 8 if design.constraints else n
        configs = np.repeat(design.default_config()[None], size, axis=0)
        for table in design.tables:
            rows = table.rows[rng.integers(len(table.rows), size=size)]
            configs[:, list(table.columns)] = rows
        found.append(_allowed(design, configs))
        if sum(map(len, found)) >= n:
            break
    return np.concatenate(found)[:n]


def corner_configs(design: Design) -> IntArray:
    """Return configs [k, D] with one slot as full as can be, and with each categorical value."""
    base = design.default_config()
    corners = [base]
    for table in design.tables:
        for slot in range(len(table.columns)):
            column = table.rows[:, slot]
            wanted = np.unique(column) if len(table.columns) == 1 else [column.max(), column.min()]
            for value in wanted:
                corner = base.copy()
                corner[list(table.columns)] = table.rows[np.flatnonzero(column == value)[0]]
                corners.append(corner)
    return _allowed(design, np.unique(np.array(corners), axis=0))


def extreme_configs(design: Design, n: int, rng: np.random.Generator) -> IntArray:
    """Draw configs [<= n, D] of which every second table puts all it can into one slot."""
    configs = random_configs(design, n, rng)
    for table in design.tables:
        corners = np.unique([*table.rows.argmax(axis=0), *table.rows.argmin(axis=0)])
        drawn = table.rows[rng.choice(corners, size=len(configs))]
        chosen = rng.random((len(configs), 1)) < 0.5
        columns = list(table.columns)
        configs[:, columns] = np.where(chosen, drawn, configs[:, columns])
    return _allowed(design, configs)


def _allowed(design: Design, configs: IntArray) -> IntArray:
    """Those of the configs [n, D] that the design's own constraints allow."""
    for constraint in design.constraints:
        configs = configs[constraint.holds(configs)]
    return configs


Choose = Callable[[IntArray, IntArray], IntArray]
"""Chooses rows [k, D] of configs drawn [m, D] to replay beside others [n, D]."""


def gather_few(
    design: Design, wanted: int, rng: np.random.Generator, choose: Choose | None = None
) -> Probes:
    """Replay corners and at least ``wanted`` more configs, every third one extreme.

    Parameters
    ----------
    design : Design
    wanted : int
    rng : numpy.random.Generator
    choose : callable, optional
        Chooses those that are not extreme, knowing the corners and half of the extreme ones; they
        are random where it chooses fewer or none.

    Raises
    ------
    UnsupportedTrace
        When nothing replays.
    """
    corners, extreme = corner_configs(design), extreme_configs(design, wanted // 3, rng)
    drawn = random_configs(design, max(_DRAWN, wanted), rng)
    chosen = drawn[:0]
    if choose is not None:
        chosen = choose(np.concatenate([corners, extreme[: len(extreme) // 2]]), drawn)
    draft = _Draft(design)
    draft.take(np.concatenate([corners, chosen]))
    first = len(draft.kept)
    draft.take(drawn[: max(0, wanted - wanted // 3 - len(chosen))])
    draft.take(extreme)
    return replace(draft.probes(), chosen=first)


def gather(design: Design, before: Probes, wanted: int, rng: np.random.Generator) -> Probes:
    """Replay random configs until ``wanted`` have replayed beyond those seen before.

    Where an access divides a block's iterators, what it touches depends on how tiles are aligned,
    and rare tiles matter: extreme ones are replayed until, corners apart, there are three times as
    many as ``wanted``.

    Returns
    -------
    Probes
        With those from before; fewer than wanted when `_PATIENCE` times as many were tried in
        vain.
    """
    draft = _Draft.of(design, before)
    others = max(0, len(draft.programs) - len(corner_configs(design)))
    target = len(draft.programs) + wanted
    for _ in range(_PATIENCE):
        if len(draft.programs) >= target:
            break
        draft.take(random_configs(design, wanted, rng), target)
    if divides(draft.programs[0], really=True):
        draft.take(extreme_configs(design, max(0, 2 * wanted - others), rng))
    return draft.probes()


def replayed(design: Design, configs: IntArray) -> Probes:
    """Replay configs [n, D] without postprocs and read the programs.

    Raises
    ------
    UnsupportedTrace
        When none of them replays.
    """
    draft = _Draft(design)
    draft.take(configs)
    return draft.probes()


def replayed_or_not(design: Design, configs: IntArray) -> Probes:
    """Replay configs [n, D]; like `replayed`, but content when none of them replays."""
    draft = _Draft(design)
    draft.take(configs)
    kept = np.array(draft.kept, dtype=np.int64).reshape(len(draft.kept), configs.shape[1])
    return Probes(kept, tuple(draft.programs), tuple(draft.refused), tuple(draft.mods))


def refusals(design: Design, configs: IntArray) -> tuple[str, ...]:
    """Replay configs [n, D]: why each is refused, "" where it is not.

    As :func:`replayed_or_not`, but nothing is read of the programs than whether their loops are
    constant.
    """

    def refusal(config: IntArray) -> str:
        try:
            mod = design.replayed_mod(config)
        except InvalidSchedule as failure:
            return failure.reason
        return "" if has_constant_loops(entry(mod)) else DYNAMIC_LOOP

    return tuple(in_threads(refusal, list(configs), useful_threads()))


def nothing_replays(reasons: Sequence[str]) -> UnsupportedTrace:
    """Say that of all configs tried, each refused for one of ``reasons``, none replays."""
    return UnsupportedTrace(
        f"none of {len(reasons)} configs of this design replays ({dict(Counter(reasons))}): "
        "check that the schedule rule makes schedules for more than one decision"
    )


@dataclass
class _Draft:
    """Probes being collected; a config that comes again is not replayed again, but counts again."""

    design: Design
    kept: list[IntArray] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    mods: list[Any] = field(default_factory=list)
    refused: list[tuple[IntArray, str]] = field(default_factory=list)
    known: dict[bytes, tuple[Program, Any] | str] = field(default_factory=dict)

    @classmethod
    def of(cls, design: Design, before: Probes) -> _Draft:
        """Begin with what was collected before."""
        made = zip(before.configs, before.programs, before.mods)
        known: dict[bytes, tuple[Program, Any] | str] = {
            config.tobytes(): (program, mod) for config, program, mod in made
        }
        return cls(
            design,
            list(before.configs),
            list(before.programs),
            list(before.mods),
            list(before.refused),
            known | {config.tobytes(): reason for config, reason in before.refused},
        )

    def take(self, configs: IntArray, enough: int | None = None) -> None:
        """Replay configs [n, D] in order, until there are ``enough`` programs."""
        while len(configs):
            wanted = len(configs) if enough is None else enough - len(self.programs)
            if wanted <= 0:
                return
            self._look(configs[:wanted])
            for config in configs[:wanted]:
                self._keep(config)
            configs = configs[wanted:]

    def _look(self, configs: IntArray) -> None:
        """Replay and read those of the configs [n, D] that are new."""
        new = {config.tobytes(): config for config in configs}
        new = {key: config for key, config in new.items() if key not in self.known}
        outcomes = in_threads(self._mod, list(new.values()), useful_threads())
        for key, outcome in zip(new, outcomes):
            self.known[key] = _read(outcome)

    def _mod(self, config: IntArray) -> Any:
        try:
            return self.design.replayed_mod(config)
        except InvalidSchedule as failure:
            return failure

    def _keep(self, config: IntArray) -> None:
        known = self.known[config.tobytes()]
        if isinstance(known, str):
            self.refused.append((config, known))
            return
        program, mod = known
        self.kept.append(config)
        self.programs.append(program)
        self.mods.append(mod)

    def probes(self) -> Probes:
        if not self.kept:
            raise nothing_replays([reason for _, reason in self.refused])
        configs = np.array(self.kept, dtype=np.int64)
        return Probes(configs, tuple(self.programs), tuple(self.refused), tuple(self.mods))


def _read(outcome: Any) -> tuple[Program, Any] | str:
    """The program of a module and the module, or the reason why there is none."""
    if isinstance(outcome, InvalidSchedule):
        return outcome.reason
    try:
        return extract(entry(outcome)), outcome
    except DynamicExtent:
        return DYNAMIC_LOOP
