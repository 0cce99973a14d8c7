import re

import numpy as np
import pytest
import tvm
from stand_ins import Runner, gemm, quick

import mschedx.space
from mschedx import cli
from mschedx.bench.compare.tuners import find_tuners
from mschedx.bench.named_parts import STRATEGIES, TVM_STRATEGIES
from mschedx.bench.replay import (
    Contender,
    Landscape,
    compare_searches,
    contenders,
    load_landscape,
    replay_search,
)
from mschedx.cost import FelixConfig, FelixMLP
from mschedx.cost.heron_xgb import HeronXGBModel
from mschedx.cost.learned.felix_mlp import FelixMLPModel
from mschedx.cost.learned.pam import PAMModel
from mschedx.inputs import normalize_mod
from mschedx.record.contents import RECORDS, TRIALS
from mschedx.search import Descent, DescentConfig
from mschedx.search.points import SketchSet
from mschedx.space import sketches
from mschedx.space.algebra.constraints import equal
from mschedx.space.algebra.expression import column
from mschedx.space.errors import EmptySpace, InvalidSchedule
from mschedx.space.sketch import Sketch
from mschedx.tuning import tune

TARGET = {"kind": "llvm", "mcpu": "haswell", "num-cores": 2}


@pytest.fixture(scope="module")
def space():
    return SketchSet(sketches(normalize_mod(gemm(256, 256, 256)), tvm.target.Target(TARGET)))


@pytest.fixture(scope="module")
def bowl(space):
    """600 recorded points whose log latency grows with the distance from a hidden one."""
    rng = np.random.default_rng(0)
    parts = [space.lift(s, sk.sample(150, rng)) for s, sk in enumerate(space.sketches[:4])]
    points = type(parts[0]).concatenate(parts)
    hidden = np.log2(1.0 + points.configs[17])
    away = ((np.log2(1.0 + points.configs) - hidden) ** 2).sum(axis=1)
    return Landscape(space, points, 1e-4 * np.exp(0.15 * away + (points.sketch != 0)))


def test_recorded_points_keep_their_latency_and_others_lie_between(bowl, space):
    np.testing.assert_allclose(bowl.latency(bowl.points), bowl.latency_s)
    assert bowl.recorded(bowl.points).all()
    other = space.lift(0, space.sketches[0].sample(50, np.random.default_rng(9)))
    new = other.distinct(set(bowl.points.codes()))
    found = bowl.latency(new)
    assert len(new) > 0
    assert (found >= bowl.best_s).all()
    assert (found <= bowl.latency_s.max()).all()


def test_failures_spread_to_their_neighbours(bowl, space):
    failing = np.where(bowl.points.sketch == 0, np.inf, bowl.latency_s)
    landscape = Landscape(space, bowl.points, failing)
    other = space.lift(0, space.sketches[0].sample(5, np.random.default_rng(3)))
    assert np.isinf(landscape.latency(other)).all()
    with pytest.raises(ValueError, match="at least one ran"):
        Landscape(space, bowl.points, np.full(len(bowl.points), np.inf))


def test_same_seed_same_run(bowl):
    runs = [
        replay_search(bowl, contenders()["heron"], trials=24, batch=8, seed=s)[0] for s in (5, 5, 6)
    ]
    assert runs[0].tolist() == runs[1].tolist() != runs[2].tolist()
    assert len(runs[0]) == 24


def test_every_strategy_of_ours_can_be_replayed_by_its_name():
    known = contenders()
    assert set(STRATEGIES) - set(known) == set(TVM_STRATEGIES)
    for name in set(STRATEGIES) & set(known):
        first, second = known[name].search(), known[name].search()
        assert type(first) is type(second)
        assert first is not second
        assert getattr(first, "_model", None) is not getattr(second, "_model", 0), "of its own"
    assert type(known["gradient"].search()) is type(known["felix"].search()) is Descent
    assert type(known["pruner"].model()) is PAMModel
    assert type(known["draft-verify"].model()) is type(known["heron"].model()) is HeronXGBModel
    assert type(known["gradient"].model()) is FelixMLPModel
    assert known["random"].model is None


def test_learning_searches_beat_random_over_twenty_seeds(bowl):
    known = contenders()
    curves = compare_searches(
        bowl, [known["heron"], known["random"]], seeds=20, trials=48, batch=16
    )
    final = {name: np.log(found[:, -1]) for name, found in curves.items()}
    assert np.median(final["heron"]) < np.median(final["random"])
    assert (final["heron"] < final["random"]).sum() >= 14, "P(chance) < 6 %"


def test_draft_then_verify_can_be_replayed_and_compared(bowl):
    measured, _ = replay_search(bowl, contenders()["pruner"], trials=12, batch=4, seed=0)
    assert len(measured) == 12
    (tuner,) = find_tuners("pruner")
    assert set(tuner.parts()) == {"strategy", "cost_model"}


def test_command_reads_what_tune_wrote(tmp_path, capsys):
    options = {**quick(Runner()), "space": None, "strategy": None, "cost_model": None}
    tune(gemm(64, 64, 64), trials=12, work_dir=tmp_path, **options)
    args = ["replay", str(tmp_path), "--seeds", "2", "--trials", "8", "--trials-per-round", "4"]
    assert cli.main([*args, "--strategy", "heron, random"]) == 0
    out, err = capsys.readouterr()
    assert "12 records" in out
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "heron 0", "heron 1", "random 0", "random 1",
    ]  # fmt: skip
    assert "heron" in out
    assert "random" in out
    assert cli.main([*args, "--space", "post-order-apply"]) == 2
    assert "none of the 12 records" in capsys.readouterr().err
    assert cli.main([*args, "--strategy", "nobody"]) == 2
    assert "heron" in capsys.readouterr().err


def test_landscape_of_a_run_holds_its_trials(tmp_path):
    options = {**quick(Runner([None, 2, 1])), "space": None, "strategy": None, "cost_model": None}
    options["target"] = {**TARGET, "tag": "not registered"}
    result = tune(gemm(64, 64, 64), trials=6, work_dir=tmp_path, **options)
    landscape = load_landscape(tmp_path)
    assert len(landscape.points) == 6
    assert landscape.best_s == pytest.approx(result.latency_s)
    assert np.isinf(landscape.latency_s).sum() == 1


def test_gradient_descent_beats_chance_with_the_same_trials(bowl):
    config = FelixConfig(members=2, width=32, steps=100, later_steps=40)
    quick = Contender(
        "felix-undrafted",
        lambda: Descent(DescentConfig(n_seeds=8, n_steps=12, samples=64)),
        lambda: FelixMLP(config).model,
    )
    assert quick.name in contenders()
    felix, chance = (
        [replay_search(bowl, one, trials=24, batch=8, seed=s)[0].min() for s in range(4)]
        for one in (quick, contenders()["random"])
    )
    assert np.mean(np.log(felix)) < np.mean(np.log(chance))


class Refused(Sketch):
    """A sketch of which no config replays."""

    def compilable(self):
        raise InvalidSchedule("primitive", "of this one")


def empty(design):
    return Sketch(design, extra=[equal(column(0), -7, "test")])


@pytest.mark.parametrize("made", [empty, Refused])
def test_sketches_without_a_valid_config_are_left_out(tmp_path, monkeypatch, made):
    options = {**quick(Runner()), "space": None, "strategy": None, "cost_model": None}
    tune(gemm(64, 64, 64), trials=6, work_dir=tmp_path, **options)
    whole = load_landscape(tmp_path).space
    opened = mschedx.space.sketches

    def with_another(mod, target, space=None):
        found = opened(mod, target, space)
        return [made(found[0].design), *found]

    monkeypatch.setattr(mschedx.space, "sketches", with_another)
    landscape = load_landscape(tmp_path)
    assert len(landscape.space.sketches) == len(whole.sketches)
    assert len(landscape.space.sample(4, np.random.default_rng(0))) == 4
    monkeypatch.setattr(mschedx.space, "sketches", lambda *given: [made(opened(*given)[0].design)])
    with pytest.raises(EmptySpace, match="none of 1 sketches has a valid config: "):
        load_landscape(tmp_path)


def test_records_of_another_tvm_are_said_to_be_that(tmp_path, capsys):
    options = {**quick(Runner()), "space": None, "strategy": None, "cost_model": None}
    tune(gemm(64, 64, 64), trials=4, work_dir=tmp_path, **options)
    (tmp_path / TRIALS).unlink()  # it knows what the records were
    records = tmp_path / RECORDS
    records.write_text(re.sub(r'\["Get\w*"', '["GetOther"', records.read_text()))
    assert cli.main(["replay", str(tmp_path), "--seeds", "1", "--trials", "4"]) == 2
    said = capsys.readouterr().err
    assert "this TVM can load none of the 4 records of workload 0: " in said
    assert "GetOther" in said
