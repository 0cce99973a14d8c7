"""What a session searches, and how it ends by itself: nothing is left, or there was nothing."""

import io
import math
import signal

import numpy as np
import pytest
import tvm
from stand_ins import Builder, Refuses, Runner, gemm, quick
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

import mschedx
import mschedx.session
import mschedx.tuning
from mschedx.cost import PSA, HeronXGB
from mschedx.cost.heron_xgb import HeronXGBModel
from mschedx.inputs import normalize_mod
from mschedx.ranking import Ranked
from mschedx.report.progress import PlainProgress
from mschedx.search import ConstrainedRandom
from mschedx.space import opening
from mschedx.space.errors import EmptySpace
from mschedx.tuning import tune

HASWELL = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})


def space(*factors, postprocs=()):
    """Tiles of the first loop, by these numbers of parts."""

    def make(sch):
        found = []
        for n in factors:
            branch = sch.copy()
            loop = branch.get_loops(branch.get_sblock("C"))[0]
            branch.split(loop, branch.sample_perfect_tile(loop, n, 32))
            found.append(branch)
        return found

    return ms.space_generator.ScheduleFn(make, postprocs=list(postprocs), mutator_probs={})


def options(runner, space, **more):
    shown = io.StringIO()
    return shown, quick(
        runner,
        space=space,
        strategy=mschedx.ConstrainedEvolution(),
        progress=PlainProgress(2.0 * 32**3, shown),
        **more,
    )


def test_a_space_that_is_used_up_says_so_and_stops_its_counter(tmp_path):
    shown, how = options(Runner(), space(2))
    result = tune(gemm(), trials=64, work_dir=tmp_path, **how)
    assert result.measured == 6, "32 = a · b in six ways"
    assert not result.unscheduled
    (note,) = result.notes
    assert note.startswith("the design space holds no more programs than 6: no new program")
    assert f"note: {note}" in shown.getvalue()
    assert how["progress"].total == 6
    again = tune(gemm(), trials=64, work_dir=tmp_path, **options(Runner(), space(2))[1])
    assert (again.measured, len(again.history)) == (0, 6)
    assert "no more programs than 6" in again.notes[0]


def test_a_design_space_that_is_left_out_is_said_with_the_result(tmp_path, monkeypatch):
    opened = opening.sketches_from

    def some(design_spaces, *others):
        if "n=3" in str(design_spaces[0].trace):
            raise EmptySpace("no room for it")
        return opened(design_spaces, *others)

    monkeypatch.setattr(opening, "sketches_from", some)
    shown, how = options(Runner(), space(2, 3))
    result = tune(gemm(), trials=4, work_dir=tmp_path, **how)
    assert result.measured == 4
    (note,) = result.notes
    assert note.endswith(", design space 1: no room for it")
    assert f"note: {note}" in shown.getvalue()


def test_what_cannot_be_searched_stays_as_it_is_and_says_why(tmp_path):
    shown, how = options(Runner([5]), space(2, postprocs=[Refuses()]))
    result = tune(gemm(), trials=8, work_dir=tmp_path, **how)
    assert result.unscheduled
    assert result.best.unscheduled
    assert result.latency_s == pytest.approx(5e-3)
    assert result.measured == len(result.history) == 1
    (note,) = result.notes
    assert note.startswith("nothing could be searched, so the function stays as it is: ")
    assert "6 configs tried" in note
    assert "PyPostproc" in note
    assert f"note: {note}" in shown.getvalue()
    found = ms.tir_integration.compile_tir(result.database, result.mod, result.target)
    assert found is not None, "stock TVM looks the record up"
    again = tune(gemm(), trials=8, work_dir=tmp_path, **how)
    assert (again.measured, again.unscheduled) == (0, True)
    assert again.notes[0].replace("7 trials", "8 trials") == note


def test_why_the_function_stays_as_it_is_is_said_whoever_measured_it(tmp_path):
    """Where its strategy proposes it as the last trial, and where the work_dir has it already."""
    for measured in (1, 0):
        _, how = options(Runner([5]), space(2, postprocs=[Refuses()]))
        result = tune(gemm(), trials=1, work_dir=tmp_path, **how)
        assert (result.measured, result.unscheduled) == (measured, True)
        assert result.notes == (result.why_unscheduled,)
        assert result.why_unscheduled == "nothing could be searched, so the function stays as it is"
    result = tune(gemm(), trials=7, work_dir=tmp_path, **options(Runner([9] * 9), space(2))[1])
    assert result.unscheduled
    assert result.why_unscheduled in result.notes
    assert "none of 6 scheduled programs that were measured is faster" in result.why_unscheduled
    result = tune(gemm(), trials=9, work_dir=tmp_path, **options(Runner([1] * 9), space(3))[1])
    assert (result.unscheduled, result.why_unscheduled) == (False, "")


def test_what_a_model_expects_of_a_first_round_is_journaled_where_it_is_ready(tmp_path):
    """PSA is before anything is measured, HeronXGB is not."""
    for model, foretold in ((PSA(), 8), (HeronXGB(), 4)):
        how = quick(Runner(), space=None, strategy=mschedx.ConstrainedEvolution())
        how |= {"cost_model": model}
        work_dir = tmp_path / type(model).__name__
        trials = tune(gemm(), trials=8, work_dir=work_dir, **how).history
        assert len(trials) == 8
        assert [trial.predicted is not None for trial in trials] == [
            place >= 8 - foretold for place in range(8)
        ]


@pytest.mark.parametrize("strategy", ["evolutionary", None])
def test_a_builder_and_a_runner_by_name_measure_what_stays_as_it_is(
    tmp_path, monkeypatch, strategy
):
    monkeypatch.setattr(ms.Builder, "create", lambda *_, **__: Builder())
    monkeypatch.setattr(ms.Runner, "create", lambda *_, **__: Runner([5]))
    _, how = options(Runner(), space(2, postprocs=[Refuses()]), builder="local")
    how |= {"runner": "local", "strategy": strategy}
    result = tune(gemm(), trials=8, work_dir=tmp_path, **how)
    assert result.unscheduled
    assert result.latency_s == pytest.approx(5e-3)


def test_with_no_trials_what_no_config_makes_a_program_of_stays_as_it_is(tmp_path):
    refusing = space(2, postprocs=[Refuses()])
    with pytest.raises(ValueError, match=r"none of the 6 best configs of main .*PyPostproc"):
        mschedx.rank(gemm(), quick(None)["target"], space=refusing)
    result = tune(gemm(), trials=0, work_dir=tmp_path, **options(Runner(), refusing)[1])
    assert result.unscheduled
    assert result.predicted
    assert math.isinf(result.latency_s)
    assert "nothing could be ranked, so the function stays as it is" in result.notes[-1]
    assert result.save()


def test_ctrl_c_before_the_search_begins_gives_the_best_known(tmp_path, monkeypatch):
    first = tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner()))
    parts = mschedx.session._parts

    def interrupted(plan):
        signal.raise_signal(signal.SIGINT)
        return parts(plan)

    monkeypatch.setattr(mschedx.session, "_parts", interrupted)
    result = tune(gemm(), trials=8, work_dir=tmp_path, **quick(Runner()))
    assert result.interrupted
    assert (result.measured, result.latency_s) == (0, first.latency_s)


def test_ctrl_c_while_the_records_are_read_gives_the_best_known(tmp_path, monkeypatch):
    first = tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner()))
    recorded, asked = mschedx.tuning.recorded, []

    def interrupted(*given):
        asked.append(given)
        if len(asked) == 1:
            signal.raise_signal(signal.SIGINT)
        return recorded(*given)

    monkeypatch.setattr(mschedx.tuning, "recorded", interrupted)
    result = tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner()))
    assert result.interrupted
    assert result.latency_s == first.latency_s


@derived_object
class BuildsNothing(ms.builder.PyBuilder):
    def build(self, build_inputs):
        return [ms.builder.BuilderResult(None, "build: no such thing") for _ in build_inputs]


def test_what_does_not_run_as_it_is_either_says_both(tmp_path):
    _, how = options(Runner(), space(2, postprocs=[Refuses()]), builder=BuildsNothing())
    result = tune(gemm(), trials=8, work_dir=tmp_path, **how)
    assert result.schedule is None
    assert math.isinf(result.latency_s)
    (trial,) = result.history
    assert (trial.unscheduled, trial.reason) == (True, "build")
    (note,) = result.notes
    assert "PyPostproc" in note
    assert note.endswith("nor does it run as it is: build: no such thing")
    with pytest.raises(RuntimeError, match="nothing could be searched"):
        result.compile()


def test_a_searched_candidate_replaces_the_function_as_it_was(tmp_path):
    tune(
        gemm(),
        trials=8,
        work_dir=tmp_path,
        **options(Runner([5]), space(2, postprocs=[Refuses()]))[1],
    )
    result = tune(gemm(), trials=8, work_dir=tmp_path, **options(Runner([4] * 9), space(2))[1])
    assert not result.unscheduled
    assert [t.unscheduled for t in result.history] == [True] + [False] * 6


def test_an_empty_space_of_ones_own_is_an_error(tmp_path):
    _, how = options(Runner(), ms.space_generator.ScheduleFn(lambda sch: [], postprocs=[]))
    with pytest.raises(ValueError, match=r"nothing to search.*no design space.*space="):
        tune(gemm(), trials=8, work_dir=tmp_path, **how)


def test_a_plateau_ends_the_run_and_says_so(tmp_path):
    latencies = [5, 4, 3] + [6] * 40
    how = quick(Runner(latencies), trials_per_round=4)
    result = tune(gemm(), trials=40, work_dir=tmp_path, patience=8, **how)
    assert result.measured == 12, "the third is the best; eight more are not; rounds of four"
    assert result.latency_s == pytest.approx(3e-3)
    assert result.notes[-1] == "stopped after 12 of 40 trials: nothing faster in the last 9"
    again = tune(gemm(), trials=40, work_dir=tmp_path, patience=8, **how)
    assert again.measured == 4, "earlier trials count"


def test_the_caller_sees_every_round_and_may_end_the_run(tmp_path):
    seen = []
    how = quick(Runner(), trials_per_round=4)

    def watch(trials):
        seen.append([trial.index for trial in trials])
        return len(seen) == 2

    result = tune(gemm(), trials=40, work_dir=tmp_path, on_round=watch, **how)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert "on_round said so" in result.notes[-1]

    def fails(trials):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tune(gemm(), trials=40, work_dir=tmp_path, on_round=fails, **how)
    kept = tune(gemm(), trials=12, work_dir=tmp_path, **how)
    assert len(kept.history) == 12, "the round before what was raised is recorded"


@pytest.mark.parametrize(("name", "value"), [("patience", 0), ("on_round", "print")])
def test_senseless_ways_to_stop_are_refused(name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        tune(gemm(), trials=4, **{name: value})


@pytest.mark.parametrize("strategy", ["replay-trace", "evolutionary"])
def test_what_tvms_own_strategies_find_nothing_for_is_recorded_also_where_it_fails(
    tmp_path, strategy
):
    how = quick(
        Runner(),
        space=space(2, postprocs=[Refuses()]),
        builder=BuildsNothing(),
        strategy=strategy,
    )
    result = tune(gemm(), trials=8, work_dir=tmp_path, **how)
    (trial,) = result.history
    assert (trial.unscheduled, trial.reason, trial.latency_s) == (True, "build", None)
    again = tune(gemm(), trials=8, work_dir=tmp_path, **how)
    assert again.history == result.history
    assert not any("broken" in note or "left out" in note for note in again.notes)


def sketch_and_fixed():
    """A sketch of the function, and the same with its first tile factor fixed."""
    from mschedx.space import sketches

    sketch = sketches(gemm(), HASWELL)[0]
    decision = next(d for d in sketch.decisions if len(d.domain) > 2)
    return sketch, sketch.fix({decision.name: decision.domain[1]}), decision


def test_a_sketch_as_space_measures_only_its_configs(tmp_path):
    sketch, fixed, decision = sketch_and_fixed()
    parts = quick(Runner(), space=fixed, strategy=ConstrainedRandom(), cost_model="none")
    result = tune(gemm(), trials=12, work_dir=tmp_path, **parts)
    configs = [sketch.config_of(r.trace) for r in result.database.get_all_tuning_records()]
    assert len(configs) == 12
    assert {int(config[decision.column]) for config in configs} == {decision.domain[1]}


def test_start_is_measured_first_and_taken_into_account(tmp_path):
    sketch, _, _ = sketch_and_fixed()
    known = [sketch.schedule(c) for c in sketch.sample(3, np.random.default_rng(5))]
    parts = quick(Runner(), space=None, strategy=ConstrainedRandom(), cost_model=None)
    result = tune(gemm(), trials=8, work_dir=tmp_path, start=known, **parts)
    # TVM's database is in the order of latencies, and each candidate here is faster than the last.
    records = list(result.database.get_all_tuning_records())[::-1][:3]
    assert [sketch.config_of(r.trace).tolist() for r in records] == [
        sketch.config_of(s.trace).tolist() for s in known
    ]
    configs = sketch.sample(2, np.random.default_rng(6))
    ranked = [Ranked(sketch, config, 1.0, ()) for config in configs]
    result = tune(gemm(), trials=2, work_dir=tmp_path / "ranked", start=ranked, **parts)
    records = list(result.database.get_all_tuning_records())[::-1]
    assert [sketch.config_of(r.trace).tolist() for r in records] == [
        one.config.tolist() for one in ranked
    ]
    for wrong, says in (
        ("a", "got str at position 1"),
        (None, "got NoneType at position 1"),
        (
            tvm.s_tir.Schedule._create_non_traced(normalize_mod(gemm())),
            "a schedule without a trace",
        ),
    ):
        with pytest.raises((TypeError, ValueError), match=says):
            tune(gemm(), trials=8, start=[known[0], wrong], **parts)
    other = tvm.s_tir.Schedule(normalize_mod(gemm()))
    with pytest.raises(ValueError, match=r"another at position 0 of start"):
        tune(gemm(), trials=8, start=[other], **parts)
    with pytest.raises(TypeError, match=r"expected start as a list of .*, got Schedule"):
        tune(gemm(), trials=8, start=known[0], **parts)


def test_trials_of_all_sketches_of_one_design_are_remembered(tmp_path, monkeypatch):
    sketch, _, decision = sketch_and_fixed()
    two = [sketch.fix({decision.name: value}) for value in decision.domain[:2]]

    def parts():
        return quick(Runner(), space=two, strategy=ConstrainedRandom(), cost_model=HeronXGB())

    first = tune(gemm(), trials=12, work_dir=tmp_path, **parts())
    configs = [sketch.config_of(r.trace) for r in first.database.get_all_tuning_records()]
    assert len({int(config[decision.column]) for config in configs}) == 2
    learn, learnt = HeronXGBModel.learn, []

    def watch(model, task, measured):
        learnt.append(sum(len(part.configs) for part in measured))
        return learn(model, task, measured)

    monkeypatch.setattr(HeronXGBModel, "learn", watch)
    tune(gemm(), trials=16, work_dir=tmp_path, **parts())
    assert learnt[0] == 12
    learnt.clear()
    rng, searched = np.random.default_rng(9), [one.narrowed(preferences=True) for one in two]
    known = [one.schedule(one.sample(1, rng)[0]) for one in searched]
    tune(gemm(), trials=2, work_dir=tmp_path / "start", start=known, **parts())
    assert learnt == [2]


def test_strategies_of_tvm_are_refused_where_they_would_search_more(tmp_path):
    _, fixed, _ = sketch_and_fixed()
    parts = quick(Runner(), space=fixed, strategy="evolutionary")
    with pytest.raises(TypeError, match="expected a strategy of mschedx with sketches as space="):
        tune(gemm(), trials=2, work_dir=tmp_path, **parts)


def test_sketches_without_a_config_are_not_replaced_by_the_whole_space(tmp_path):
    from mschedx.space.algebra.constraints import equal
    from mschedx.space.algebra.expression import column
    from mschedx.space.sketch import Sketch

    sketch, _, decision = sketch_and_fixed()
    nothing = Sketch(sketch.design, extra=[equal(column(decision.column), 7, "test")])
    ways = (
        {"space": nothing, "strategy": ConstrainedRandom()},
        {"space": None, "strategy": ConstrainedRandom().restricted(sketches=[nothing])},
    )
    says = "task main: nothing to search: none of 1 sketches has a valid config: "
    for way in ways:
        parts = quick(Runner(), cost_model="none", **way)
        with pytest.raises(ValueError, match=says):
            tune(gemm(), trials=2, work_dir=tmp_path, **parts)


def test_what_a_strategy_was_restricted_to_holds_beside_what_tune_is_given(tmp_path):
    sketch, fixed, decision = sketch_and_fixed()
    known = [fixed.schedule(c) for c in fixed.sample(2, np.random.default_rng(5))]
    alone = ConstrainedRandom()
    ways = {
        "start": ({"space": fixed}, alone.restricted(start=known)),
        "sketches": ({"space": None, "start": known}, alone.restricted(sketches=[fixed])),
        "both": ({"space": None}, alone.restricted(start=known).restricted(sketches=[fixed])),
    }
    for way, (given, strategy) in ways.items():
        parts = quick(Runner(), strategy=strategy, cost_model="none", **given)
        result = tune(gemm(), trials=8, work_dir=tmp_path / way, **parts)
        records = result.database.get_all_tuning_records()
        configs = [sketch.config_of(record.trace) for record in records][::-1]
        assert {int(config[decision.column]) for config in configs} == {decision.domain[1]}, way
        first = [config.tolist() for config in configs[:2]]
        assert first == [sketch.config_of(one.trace).tolist() for one in known], way
