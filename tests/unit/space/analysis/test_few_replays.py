"""What an analysis replays: few programs where they settle all, for the same result."""

import sys

import numpy as np
import pytest
import tvm
from analysed import TARGETS, designs
from tvm import te
from tvm.s_tir.meta_schedule.testing import te_workload

from mschedx.space import sketches
from mschedx.space.analysis import analyse
from mschedx.space.analysis.derive.varying_loops import constant_loops
from mschedx.space.analysis.fit.choice import showing
from mschedx.space.analysis.fit.symbolic import Gap
from mschedx.space.analysis.policy import AnalysisPolicy
from mschedx.space.analysis.read.probe import gather_few, random_configs, replayed
from mschedx.space.analysis.read.quotients import divides
from mschedx.space.errors import UnsupportedTrace
from mschedx.space.trace.design import Design

# The package names the function, which hides its module.
analyse_module = sys.modules[analyse.__module__]


@pytest.fixture
def replays(monkeypatch):
    """A list that grows with every replay."""
    made = []
    replayed = Design.replayed_mod

    def counted(self, config):
        made.append(config)
        return replayed(self, config)

    monkeypatch.setattr(Design, "replayed_mod", counted)
    return made


def test_loops_that_seldom_run_are_sought_out_not_waited_for(replays):
    """In these the strides of a panel's outer loops are seen in a few of 30 programs only."""
    mod = tvm.IRModule({"main": te.create_prim_func(te_workload.matmul(512, 512, 512))})
    found = sketches(mod, TARGETS["llvm"])
    replays.clear()
    for sketch in found:
        assert not sketch.analysis.unresolved
    assert len(replays) < 60 * len(found)


@pytest.mark.parametrize("workload", ["conv2d-grouped", "conv2d-transposed", "gemm"])
def test_few_replays_say_what_many_say(workload, replays):
    (design, *_) = designs(workload, "llvm")
    loops = constant_loops(design, np.random.default_rng(0))
    replays.clear()
    few = analyse(design, loops=loops)
    number = len(replays)
    replays.clear()
    many = analyse(design, AnalysisPolicy(few=0), loops)
    assert number < 0.7 * len(replays)
    inside = design.within(few.constraints)
    configs = random_configs(inside, 500, np.random.default_rng(7))
    assert few.constraints == many.constraints
    first, second = few.values(configs), many.values(configs)
    for name in first.keys() & second.keys():
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    assert not set(few.unresolved) - set(many.unresolved)


def test_loops_are_looked_for_among_the_replays_of_an_analysis(replays):
    """Weights laid out in blocks are read with quotients, so that all loops are looked at."""
    func = te.create_prim_func(te_workload.matmul(64, 64, 64))
    mod = tvm.IRModule({"main": func.with_attr("layout_free_buffers", [1])})
    (sketch, *_) = sketches(mod, TARGETS["llvm"])
    assert divides(replayed(sketch.design, sketch.design.default_config()[None]).programs[0])
    replays.clear()
    together = analyse(sketch.design)
    number = len(replays)
    replays.clear()
    loops = constant_loops(sketch.design, np.random.default_rng(0))
    apart = analyse(sketch.design, loops=loops)
    assert number < 0.8 * len(replays)
    assert together.constraints == apart.constraints


def test_where_no_first_replay_has_constant_loops_their_rule_is_found_first(monkeypatch):
    """Most random tiles of a transposed convolution of TVM's space leave loops that vary."""
    (design, *_) = designs("conv2d-transposed", "llvm")
    loops = constant_loops(design, np.random.default_rng(0))
    gathered = analyse_module.gather_few

    def unlucky(asked, wanted, rng, choose):
        if asked is design:
            raise UnsupportedTrace("none of 20 configs of this design replays")
        return gathered(asked, wanted, rng, choose)

    monkeypatch.setattr(analyse_module, "gather_few", unlucky)
    found = analyse(design).constraints
    configs = random_configs(design, 500, np.random.default_rng(7))
    first, second = (np.all([c.holds(configs) for c in some], axis=0) for some in (loops, found))
    np.testing.assert_array_equal(first, second)
    assert not first.all()


def test_nothing_is_analysed_of_which_nothing_replays(monkeypatch):
    (design, *_) = designs("gemm", "llvm")

    def unlucky(*_):
        raise UnsupportedTrace("none of 20 configs of this design replays")

    monkeypatch.setattr(analyse_module, "gather_few", unlucky)
    for loops in (None, ()):
        with pytest.raises(UnsupportedTrace, match="none of 20"):
            analyse(design, loops=loops)


def test_a_config_is_replayed_once_and_counts_as_often_as_it_came(replays):
    mod = tvm.IRModule({"main": te.create_prim_func(te_workload.matmul(2, 2, 2))})
    (sketch, *_) = sketches(mod, TARGETS["llvm"])
    replays.clear()
    few = gather_few(sketch.design, 40, np.random.default_rng(0))
    distinct = np.unique(few.configs, axis=0)
    assert not few.refused
    assert len(replays) == len(distinct) < len(few.programs)
    twice = few.and_of(sketch.design, few.configs)
    assert len(replays) == len(distinct)
    assert twice.programs == (*few.programs, *few.programs)


def test_gaps_are_closed_by_as_few_configs_as_show_most():
    rng = np.random.default_rng(0)
    unseen = 2 ** rng.integers(0, 5, size=(200, 4))
    gaps = [Gap(unseen[:, 0] > 8, 5), Gap(unseen[:, 1] > 8, 3), Gap(unseen[:, 0] > 4, 9)]
    chosen = np.array(showing(gaps, unseen, 48))
    shown = [(chosen[:, 0] > 8).sum(), (chosen[:, 1] > 8).sum(), (chosen[:, 0] > 4).sum()]
    assert all(one >= gap.lacking for one, gap in zip(shown, gaps))
    assert len(chosen) <= 5 + 3 + 9 - 5
    plane = np.column_stack([np.ones(len(chosen)), np.log(chosen)])
    assert np.linalg.matrix_rank(plane) == 5
    assert len(showing(gaps, unseen, 2)) == 2
    assert showing([], unseen, 48) == []
