"""rank: the best configs with no measurement, each with its reasons."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import tvm
from tvm.script import tirx as T
from while_loops import halvings

import mschedx
from mschedx import workloads
from mschedx.cost import PAM, PSA
from mschedx.cost.consensus import ConsensusModel
from mschedx.cost.psa import PSAModel
from mschedx.ranking import NothingToRank, best_of, opened
from mschedx.search.build_effort import BuildEffort
from mschedx.search.points import SketchSet
from mschedx.space import sketches
from mschedx.space.errors import EmptySpace, InvalidSchedule

TARGET = {"kind": "llvm", "mcpu": "znver4", "num-cores": 2}
GEMM = ("gemm", (64, 64, 64))


def test_ranked_configs_are_distinct_programs_with_reasons():
    best = mschedx.rank(workloads.make(*GEMM), TARGET, limit=6)
    assert len(best) == 6
    latencies = [one.latency_s for one in best]
    assert latencies == sorted(latencies)
    programs = {one.schedule().mod.script() for one in best}
    assert len(programs) == 6
    for one in best:
        assert one.reasons[0].seconds == max(reason.seconds for reason in one.reasons)
        assert one.reasons[0].cause in str(one.reasons[0])
        assert one.decisions()


def test_a_ranked_config_is_materialised_once():
    (best,) = mschedx.rank(workloads.make(*GEMM), TARGET, limit=1)
    assert best.mod is best.mod
    assert best.mod.script() == best.schedule().mod.script()


def test_it_is_better_than_chance_by_its_own_measure_and_repeatable():
    func = workloads.make(*GEMM)
    first, second = (mschedx.rank(func, TARGET, limit=3) for _ in range(2))
    assert [one.decisions() for one in first] == [one.decisions() for one in second]
    sketch = first[0].sketch
    drawn = PSAModel().latency_s(None, sketch, sketch.sample(100, np.random.default_rng(0)))
    assert first[0].latency_s <= drawn.min()


def test_a_limit_beyond_the_space_returns_the_space():
    best = mschedx.rank(workloads.make("depthwise_conv2d", (1, 16, 8, 8, 3, 1, 1)), TARGET, 500)
    assert 0 < len(best) < 500


def test_a_second_opinion_keeps_as_many_as_are_asked_for(monkeypatch):
    monkeypatch.setattr(mschedx.ranking, "VERIFIED", 8)
    func = workloads.make("gemm", (256, 256, 256))
    assert len(mschedx.rank(func, TARGET, 20, model="cpu")) == 20


def test_tune_with_no_trials_ranks_and_says_so():
    result = mschedx.tune(workloads.make(*GEMM), TARGET, trials=0, progress=False)
    assert result.predicted
    assert result.measured == 0
    assert "not measured" in result.notes[0]
    assert result.schedule is not None
    rng = np.random.default_rng(0)
    a, b = (rng.random((64, 64)).astype("float32") for _ in range(2))
    c = np.zeros((64, 64), "float32")
    local = mschedx.tune(workloads.make(*GEMM), trials=0, progress=False)
    local.compile()["main"](a, b, c)
    assert np.allclose(c, a @ b, rtol=1e-4)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True])
def test_limits_that_make_no_sense(limit):
    with pytest.raises(ValueError, match="limit"):
        mschedx.rank(workloads.make(*GEMM), TARGET, limit)


def test_a_model_that_has_learnt_nothing_cannot_rank():
    from mschedx.cost import HeronXGB

    with pytest.raises(ValueError, match="ready without a measurement"):
        mschedx.rank(workloads.make(*GEMM), TARGET, 1, model=HeronXGB().model)


def test_a_second_opinion_is_asked_by_itself_where_it_helps():
    """In TVM's own space for CPUs, not in ours (docs/benchmarks/ranking.md)."""
    func = workloads.make(*GEMM)

    def decisions(space, model):
        return [one.decisions() for one in mschedx.rank(func, TARGET, 4, space=space, model=model)]

    alone, both = (decisions("post-order-apply", model) for model in ("psa", "cpu"))
    assert alone != both
    assert decisions("post-order-apply", None) == both
    assert decisions(None, None) == decisions(None, "psa")
    assert decisions("post-order-apply", PSAModel()) == alone


@pytest.mark.parametrize("mcpu", ["znver4", "znver5", "skylake-avx512"])
def test_two_opinions_are_one_where_the_network_knows_the_processor_and_else_take_turns(mcpu):
    """Those that come with the package were trained on a Zen 4 and a Zen 5."""
    target = tvm.target.Target({"kind": "llvm", "mcpu": mcpu, "num-cores": 2})
    found = sketches(workloads.make("gemm", (96, 64, 128)), target, "post-order-apply")
    space, both, alone = SketchSet(found), ConsensusModel("cpu", mcpu=mcpu), PSAModel()
    ranked = best_of(found, 12, both, np.random.default_rng(0))
    asked = [(one.sketch, one.config[None]) for one in ranked]
    by_both, by_psa = (
        np.concatenate([model.score(space.task, [one]) for one in asked]) for model in (both, alone)
    )
    if mcpu.startswith("znver"):
        assert (np.diff(by_both) <= 0).all()
    else:
        assert (by_psa.argmax(), by_both.argmax()) in ((0, 1), (0, 0))
        assert (np.diff(by_psa) > 0).any()


@pytest.mark.parametrize("refused", [False, True], ids=["known", "refused"])
def test_what_brings_nothing_new_ends_the_ranking(refused, monkeypatch):
    """After the first program all others are that one again, or none."""
    seen = []

    def schedule(self, config):
        seen.append(config)
        if refused and len(seen) > 1:
            raise InvalidSchedule("primitive")
        return made

    mod, target = workloads.make(*GEMM), tvm.target.Target(TARGET)
    (sketch, *_) = sketches(mod, target)
    made = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
    monkeypatch.setattr(type(sketch), "schedule", schedule)
    monkeypatch.setattr(mschedx.ranking, "MOST_REFUSED", 8)
    assert len(best_of([sketch], 4, None, np.random.default_rng(0))) == 1
    assert len(seen) == 1 + 8


@pytest.mark.parametrize("model", ["psa", "cpu"])
def test_in_tvms_space_the_first_few_are_unlike(model):
    """By predictions alone the second is often the first with another unrolling."""
    space, func = "post-order-apply", workloads.make("gemm", (128, 96, 64))
    spread = mschedx.rank(func, TARGET, 6, space=space, model=model)
    found = opened(tvm.IRModule({"main": func}), tvm.target.Target(TARGET), space)
    judge = None if model == "psa" else ConsensusModel(model, mcpu="znver4")
    plain = best_of(found, 6, judge, np.random.default_rng(0))
    assert spread[0].decisions() == plain[0].decisions()
    assert unlike(spread) > unlike(plain)


def test_in_mschedxs_space_the_order_is_that_of_predictions_however_it_is_given():
    func, target = workloads.make("gemm", (128, 96, 64)), tvm.target.Target(TARGET)
    for space in (None, mschedx.space.for_target(target)):
        latencies = [one.latency_s for one in mschedx.rank(func, target, 6, space=space)]
        assert latencies == sorted(latencies)


def unlike(ranked):
    """Mean share of decisions in which two of them differ."""
    shares = [
        1.0 if a.sketch.names != b.sketch.names else np.mean(a.config != b.config)
        for a, b in combinations(ranked, 2)
    ]
    return np.mean(shares)


def test_scores_of_no_known_scale_keep_their_order():
    """How much faster a program is, a model that is trained on pairs does not say."""
    found = sketches(workloads.make(*GEMM), tvm.target.Target(TARGET), "post-order-apply")
    model = PAM(pretrained="cpu").model
    one, other = (
        [r.decisions() for r in best_of(found, 6, model, np.random.default_rng(0), deviation)]
        for deviation in (0.0, 0.6)
    )
    assert one == other


@pytest.mark.parametrize(("known", "expected"), [(True, [2, 1, 0]), (False, [2, 0, 1, 1, 0, 2])])
def test_one_that_is_known_to_be_better_orders_and_two_that_are_not_take_turns(known, expected):
    model = PAM(pretrained="cpu").model  # of which scores only order
    opinions = [mschedx.ranking._Opinion(model, np.array(s)) for s in ([1.0, 2, 3], [3.0, 2, 1])]
    order = mschedx.ranking._order(opinions, known, 3, None, 0.0, np.random.default_rng(0))
    assert order.tolist() == expected


class LikesEffort(PSAModel):
    """Has the programs first that take longest to compile."""

    def score(self, task, asked):
        space = SketchSet([sketch for sketch, _ in asked])
        efforts = [
            BuildEffort(space).of(space.lift(s, configs)) for s, (_, configs) in enumerate(asked)
        ]
        return np.concatenate(efforts)


@pytest.mark.parametrize("alone", [False, True], ids=["with others", "alone"])
def test_what_llvm_would_be_busy_with_comes_last(alone):
    mod, target = workloads.make("gemm_nt", (128, 128, 64)), tvm.target.Target(TARGET)
    found = sketches(mod, target, "post-order-apply")
    if alone:  # 64 rows by 64 gathered columns: nothing else
        found = [sketch.fix({"C.i0.3": 64, "C.i1.3": 64, "unroll": 512}) for sketch in found]
    space = SketchSet(found)
    assert BuildEffort(space).is_great(space.sample(500, np.random.default_rng(0))).any()
    best = best_of(found, 6, LikesEffort(), np.random.default_rng(0))
    for one in best:
        own = space.lift(found.index(one.sketch), one.config[None])
        assert BuildEffort(space).is_great(own).tolist() == [alone]
    assert len(best) == 6


def test_the_cost_models_of_the_package_rank_as_the_models_behind_them():
    def decisions(model):
        ranked = mschedx.rank(workloads.make(*GEMM), TARGET, 3, model=model)
        return [one.decisions() for one in ranked]

    assert decisions(PSA()) == decisions(PSAModel())
    with pytest.raises(TypeError, match="expected a cost model with the methods ready"):
        mschedx.rank(workloads.make(*GEMM), TARGET, 1, model=object())


def test_reasons_worth_mentioning_are_those_of_a_twentieth_of_the_time():
    (best,) = mschedx.rank(workloads.make("softmax", (64, 512)), TARGET, 1)
    main = best.main_reasons()
    assert len(main) > 1, "more than one statement matters"
    assert list(main) == [one for one in best.reasons if one.seconds >= best.latency_s / 20]
    slow = replace(best, latency_s=1.0)
    assert slow.main_reasons() == best.reasons[:1], "what remains is starting threads"


@T.prim_func(s_tir=True)
def halvings_and_twice(
    a: T.Buffer((64,), "int32"), b: T.Buffer((4096,), "float32"),
    c: T.Buffer((64,), "int32"), d: T.Buffer((4096,), "float32"),
):  # fmt: skip
    T.func_attr({"global_symbol": "main"})
    for i in range(64):
        with T.sblock("C"):
            vi = T.axis.spatial(64, i)
            T.reads(a[vi])
            T.writes(c[vi])
            c[vi] = a[vi]
            while c[vi] > 1:
                c[vi] = c[vi] // 2
    for i in range(4096):
        with T.sblock("D"):
            vi = T.axis.spatial(4096, i)
            d[vi] = b[vi] * T.float32(2)


def test_statements_that_a_prediction_is_without_are_named(tmp_path):
    (best,) = mschedx.rank(halvings_and_twice, TARGET, 1)
    assert best.left_out == ("without C: how often its while loop runs has no expression",)
    assert [reason.statement for reason in best.reasons] == ["D"]
    assert best.latency_s >= best.reasons[0].seconds > 0
    result = mschedx.tune(halvings_and_twice, TARGET, trials=0, work_dir=tmp_path, progress=False)
    assert result.notes[0].endswith(f"us is a prediction, {best.left_out[0]}")


def test_of_what_is_not_understood_nothing_is_predicted(tmp_path):
    (best,) = mschedx.rank(halvings, TARGET, 1)
    assert (best.latency_s, best.reasons, best.main_reasons()) == (np.inf, (), ())
    result = mschedx.tune(halvings, TARGET, trials=0, work_dir=tmp_path, progress=False)
    assert result.notes[0] == f"ranked, not measured, {best.left_out[0]}"
    assert "-, 0.0 GFLOP/s" in repr(result)


def test_the_command_gives_the_reason_of_every_statement_that_matters(capsys):
    from mschedx import cli

    target = '{"kind": "llvm", "mcpu": "znver4", "num-cores": 2}'
    args = ["rank", "softmax", "--shape", "64,512", "--limit", "2", "--target", target]
    assert cli.main(args) == 0
    printed = capsys.readouterr().out.splitlines()
    ranked = mschedx.rank(workloads.make("softmax", (64, 512)), TARGET, 2)
    for line, one in zip(printed, ranked, strict=True):
        _, reasons, config = line.split("; ")
        assert reasons == ", ".join(map(str, one.main_reasons()))
        assert config.count(" = ") == len(one.decisions())


def test_nothing_to_rank_in_our_own_space_is_told_from_a_space_that_is_unusable(monkeypatch):
    def refused(sketch):
        raise EmptySpace("no config is left")

    monkeypatch.setattr(mschedx.ranking, "sampled_part", refused)
    with pytest.raises(NothingToRank, match="no config is left"):
        mschedx.rank(workloads.make(*GEMM), TARGET, 1)
    with pytest.raises(EmptySpace, match="no config is left"):
        mschedx.rank(workloads.make(*GEMM), TARGET, 1, space="post-order-apply")
    result = mschedx.tune(workloads.make(*GEMM), TARGET, trials=0, progress=False)
    assert result.unscheduled
    assert "no config is left" in result.why_unscheduled
