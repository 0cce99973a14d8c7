"""Analyse a design space once: from its replays to expressions and constraints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mschedx.collector import without_collections

from ..algebra.constraints import Constraint
from ..algebra.expression import IntArray
from ..errors import DYNAMIC_LOOP, UnsupportedTrace
from .compose import Evidence, compose
from .derive.varying_loops import constant_loops
from .fit.accesses import STRIDE
from .fit.choice import foreseen, showing
from .fit.integers import Solver
from .fit.numbers import observe
from .fit.replays import Replays
from .fit.solve import solve, withdraw
from .model import Analysis
from .policy import AnalysisPolicy, Scrutiny
from .read.probe import (
    Probes,
    extreme_configs,
    gather,
    gather_few,
    random_configs,
    replayed_or_not,
)
from .read.program import Program
from .read.quotients import misaligned

if TYPE_CHECKING:
    from ..trace.design import Design


def analyse(
    design: Design,
    policy: AnalysisPolicy | None = None,
    loops: Sequence[Constraint] | None = None,
) -> Analysis:
    """Find every quantity of a design space as an expression of its decisions.

    Parameters
    ----------
    design : Design
    policy : AnalysisPolicy, optional
    loops : sequence of Constraint, optional
        What `constant_loops` says of the design, where that has been asked already.

    Raises
    ------
    UnsupportedTrace
        When no config replays.
    """
    policy = policy or AnalysisPolicy()
    with without_collections() if policy.pause_collector else nullcontext():
        return _analyse(design, policy, loops, np.random.default_rng(policy.seed))


def _analyse(
    design: Design,
    policy: AnalysisPolicy,
    loops: Sequence[Constraint] | None,
    rng: np.random.Generator,
) -> Analysis:
    # What TVM rejects for its loops teaches nothing, so it is replayed no more once that is known.
    inside = design.within(loops or ())
    wanted, choose = policy.few + _freedom(design), partial(foreseen, *_kinds(design))
    few: Probes | None = None
    try:
        few = gather_few(inside, wanted, rng, choose)
    except UnsupportedTrace:
        if loops is not None:
            raise
    if loops is None and (few is None or any(reason == DYNAMIC_LOOP for _, reason in few.refused)):
        loops = constant_loops(design, rng, few)
        inside = design.within(loops)
        few = gather_few(inside, wanted, rng, choose) if loops or few is None else few
    assert few is not None
    if policy.few and not few.refused and _alike(few):
        if misaligned(few.programs):
            # What an access with quotients touches depends on how tiles are aligned.
            few = few.and_of(inside, extreme_configs(inside, 2 * policy.few, rng))
        evidence = _evidence(inside, few, policy, Scrutiny(every=True), rng)
        if loops is None:
            loops = constant_loops(design, rng, few)
        analysis = compose(inside, replace(evidence, loops=tuple(loops)), rng)
        if evidence.replays.found.settled or all(STRIDE in name for name in analysis.unresolved):
            return analysis
    observed = gather(inside, few, max(policy.many, 2 * len(design.decisions)), rng)
    if loops is None:
        loops = constant_loops(design, rng, observed)
    evidence = _evidence(inside, observed, policy, Scrutiny(), rng)
    return compose(inside, replace(evidence, loops=tuple(loops)), rng)


def _freedom(design: Design) -> int:
    """How many numbers say what is decided: the last factor of a tile follows from the others."""
    return sum(min(max(len(t.columns) - 1, 1), len(t.rows) - 1) for t in design.tables)


def _kinds(design: Design) -> tuple[list[tuple[int, ...]], list[int]]:
    """The columns of every tile, and of every decision that is a single number."""
    tiles = [t.columns for t in design.tables if len(t.columns) > 1]
    return tiles, [t.columns[0] for t in design.tables if len(t.columns) == 1]


def _alike(observed: Probes) -> bool:
    return len({program.skeleton for program in observed.programs}) == 1


def _evidence(
    design: Design,
    observed: Probes,
    policy: AnalysisPolicy,
    scrutiny: Scrutiny,
    rng: np.random.Generator,
) -> Evidence:
    """Find the expressions of the replays' most frequent structure, some replays held out."""
    programs, configs, others = _one_skeleton(observed)
    kept = np.arange(len(programs)) < max(observed.chosen, len(programs) // 2)
    kept |= np.arange(len(programs)) % policy.held_out != 0
    held_out, held_configs = _where(programs, ~kept), configs[~kept]
    programs, configs = _where(programs, kept), configs[kept]
    replays = _told_apart(design, programs, configs, policy, scrutiny, rng)
    if held_out:
        found = withdraw(replays.found, observe(held_out), held_configs)
        replays = replace(replays, found=found)
    return Evidence(observed, replays, others)


def _told_apart(
    design: Design,
    programs: tuple[Program, ...],
    configs: IntArray,
    policy: AnalysisPolicy,
    scrutiny: Scrutiny,
    rng: np.random.Generator,
) -> Replays:
    """Solve, replaying the configs that tell apart expressions which agree so far.

    Returns
    -------
    Replays
        Those given and those made here, without the expressions on which none could decide.
    """
    tiles, categories = _kinds(design)
    unseen = np.concatenate(
        [draw(design, policy.unseen, rng) for draw in (random_configs, extreme_configs)]
    )
    for _ in range(policy.rounds):
        solver = Solver(configs, tiles, categories)
        found = solve(observe(programs), solver, unseen, scrutiny)
        asked = found.disputed[: policy.asked]
        if scrutiny.every and len(asked) < policy.asked:
            asked += showing(found.gaps, unseen, policy.asked - len(asked))
        if not asked:
            return Replays(programs, found, solver)
        asked = np.array(asked)
        answers = replayed_or_not(design, asked)
        alike = [p.skeleton == programs[0].skeleton for p in answers.programs]
        programs += _where(answers.programs, np.array(alike, dtype=bool))
        configs = np.concatenate([configs, answers.configs[np.array(alike, dtype=bool)]])
        unseen = unseen[~(unseen[:, None] == asked).all(axis=2).any(axis=1)]
    solver = Solver(configs, tiles, categories)
    last = Scrutiny(every=scrutiny.every, drop=True)
    return Replays(programs, solve(observe(programs), solver, unseen, last), solver)


def _one_skeleton(observed: Probes) -> tuple[tuple[Program, ...], np.ndarray, int]:
    """Keep the probes of the most frequent structure, and count the others."""
    skeletons = [program.skeleton for program in observed.programs]
    most = Counter(skeletons).most_common(1)[0][0]
    kept = [i for i, skeleton in enumerate(skeletons) if skeleton == most]
    programs = tuple(observed.programs[i] for i in kept)
    return programs, observed.configs[kept], len(skeletons) - len(kept)


def _where(programs: tuple[Program, ...], chosen: np.ndarray) -> tuple[Program, ...]:
    return tuple(program for program, one in zip(programs, chosen) if one)
