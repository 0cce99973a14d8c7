"""Tiles that leave loops of varying extent: found from refusals, excluded, nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from analysed import designs

from mschedx.space.analysis.derive import varying_loops
from mschedx.space.analysis.read.probe import Probes, random_configs, refusals
from mschedx.space.errors import DYNAMIC_LOOP, UnsupportedTrace

ROWS = np.array([(a, b, 16 // a // b) for a in (1, 2, 4) for b in (1, 2, 4)], dtype=np.int64)


@pytest.fixture
def plane():
    """A design of two tiles whose replays a test decides."""
    tables = (
        SimpleNamespace(columns=(0, 1, 2), rows=ROWS),
        SimpleNamespace(columns=(3, 4, 5), rows=ROWS),
    )
    base = np.array([*ROWS[0], *ROWS[0]])
    return SimpleNamespace(
        tables=tables, constraints=(), decisions=range(6), default_config=lambda: base.copy()
    )


def replaying(monkeypatch, refuses):
    """Let replays be refused where ``refuses`` says so of a config."""

    def refusals(design, configs):
        return tuple(DYNAMIC_LOOP if refuses(config) else "" for config in configs)

    def replayed(design, configs):
        bad = np.array([refuses(config) for config in configs], dtype=bool)
        refused = tuple((config, DYNAMIC_LOOP) for config in configs[bad])
        return Probes(configs[~bad], ("program",) * int((~bad).sum()), refused)

    monkeypatch.setattr(varying_loops, "refusals", refusals)
    monkeypatch.setattr(varying_loops, "replayed_or_not", replayed)
    monkeypatch.setattr(varying_loops, "divides", lambda program, really=False: True)
    monkeypatch.setattr(varying_loops, "misaligned", lambda programs: True)
    return replayed


def found(plane, seen=None):
    every = np.array([[*a, *b] for a in ROWS for b in ROWS])
    constraints = varying_loops.constant_loops(plane, rng(), seen)
    return every, np.all([c.holds(every) for c in constraints], axis=0) if constraints else None


def rng():
    return np.random.default_rng(0)


def test_a_single_row_is_excluded_though_no_replay_showed_it(plane, monkeypatch):
    row = (4, 2, 2)
    replayed = replaying(monkeypatch, lambda config: tuple(config[3:]) == row)
    every, holds = found(plane, replayed(plane, np.array([[*a, *ROWS[0]] for a in ROWS])))
    np.testing.assert_array_equal(holds, (every[:, 3:] != row).any(axis=1))


def test_a_stride_is_a_divisibility(plane, monkeypatch):
    replaying(monkeypatch, lambda config: config[2] % 4 != 0)
    every, holds = found(plane)
    np.testing.assert_array_equal(holds, every[:, 2] % 4 == 0)


def test_nothing_is_excluded_where_a_refusal_has_no_rule(plane, monkeypatch):
    replaying(monkeypatch, lambda config: config[0] == config[3] == 4)
    assert found(plane)[1] is None


def test_a_design_of_which_nothing_replays_is_no_sketch(plane, monkeypatch):
    replaying(monkeypatch, lambda config: True)
    with pytest.raises(UnsupportedTrace, match=r"none of \d+ configs of this design replays"):
        found(plane)


def test_survey_shows_every_row(plane):
    chosen = varying_loops.survey(plane, rng())
    for table in plane.tables:
        assert {tuple(row) for row in chosen[:, list(table.columns)]} == set(map(tuple, ROWS))


def test_plain_programs_are_not_surveyed(monkeypatch):
    monkeypatch.setattr(varying_loops, "survey", lambda *_: pytest.fail("no quotient, no survey"))
    assert not varying_loops.constant_loops(designs("gemm", "llvm")[0], rng())
    assert not varying_loops.constant_loops(designs("conv2d", "llvm")[0], rng())


def test_an_analysis_within_known_loops_replays_nothing_that_is_rejected():
    """A transposed convolution of TVM's space, most of whose random tiles leave such loops."""
    (design, *_) = designs("conv2d-transposed", "llvm")
    loops = varying_loops.constant_loops(design, rng())
    assert loops
    inside = design.within(loops)
    assert all(c.holds(inside.default_config()[None])[0] for c in loops)
    reasons = refusals(inside, random_configs(inside, 24, rng()))
    assert len(reasons) == 24
    assert not any(reasons)
