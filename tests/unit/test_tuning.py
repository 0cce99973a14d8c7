import io
import json
import logging
import math
import subprocess
import sys

import numpy as np
import pytest
import tvm
from first_guess import UpsideDown
from stand_ins import Runner, answers, gemm, quick
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

import mschedx.winner
from mschedx.compat import only_intrinsics
from mschedx.cost import PAM, PSA, FelixMLP, HeronXGB
from mschedx.hardware import host
from mschedx.measure.verification import VerifyResult
from mschedx.record.lines import read_lines
from mschedx.report.progress import PlainProgress
from mschedx.search import ConstrainedRandom, DraftVerify, GradientDescent
from mschedx.tuning import tune

HASWELL = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})


def test_measures_the_trials_asked_for_and_gives_the_fastest(tmp_path):
    result = tune(gemm(), trials=10, work_dir=tmp_path, **quick(Runner([3, 1, 2])))
    assert result.measured == len(result.history) == 10
    assert result.latency_s == pytest.approx(1e-3 / 10)
    assert result.best.index == 9
    assert result.flops == 2 * 32**3
    assert result.gflops == pytest.approx(2 * 32**3 / 1e-4 / 1e9)
    assert result.curve[:3] == pytest.approx([3e-3, 1e-3, 1e-3])
    assert [t.round for t in result.history] == [0] * 4 + [1] * 4 + [2] * 2


def test_instructions_that_this_machine_lacks_are_said_where_it_measures(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "system_cpu", lambda: "haswell")
    target = {"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2}
    options = quick(None, target=target, builder=None)
    here = tune(gemm(), trials=1, work_dir=tmp_path / "here", **options)
    assert any("lacks avx512bw" in note and "crash here" in note for note in here.notes)
    away = tune(gemm(), trials=1, work_dir=tmp_path / "away", **{**options, "runner": Runner()})
    assert not any("lacks" in note for note in away.notes)


SMALL = {"population": 64, "drafts": 32, "parents": 16, "refresh": 1, "least_trials": 8}


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        (UpsideDown, "task main: the draft is given up, the search samples instead: over 16 tri"),
        (HeronXGB, "task main: HeronXGBModel has nothing to say before it is measured: no drafts"),
    ],
)
def test_what_a_search_says_of_its_draft_is_told_once(draft, said, tmp_path):
    shown = io.StringIO()
    how = quick(
        Runner(),
        strategy=DraftVerify(draft(), **SMALL),
        cost_model="none",
        progress=PlainProgress(2.0 * 32**3, shown),
    )
    how["trials_per_round"] = 8
    notes = tune(gemm(), trials=48, work_dir=tmp_path, **how).notes
    (told,) = [note for note in notes if "draft" in note]
    assert told.startswith(said)
    assert shown.getvalue().count(f"note: {told}") == 1


def test_failures_are_counted_by_reason_and_never_win(tmp_path):
    result = tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([None, 2, None, 3])))
    assert result.latency_s == pytest.approx(2e-3)
    assert result.failures == {"timeout": 2}
    assert result.history[0].error == "timeout: took too long"
    assert math.isinf(result.curve[0])


def test_with_no_trials_the_fastest_record_of_the_work_dir_is_taken(tmp_path):
    first = tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([3, 1, 2, 4])))
    again = tune(gemm(), trials=0, work_dir=tmp_path, **quick(Runner([])))
    assert again.measured == 0
    assert not again.predicted
    assert again.latency_s == first.latency_s
    assert len(again.history) == 4
    assert any("nothing was measured" in note for note in again.notes)
    # Another function has none there, nor has a folder in which nothing ran.
    other = tune(gemm(16), trials=0, work_dir=tmp_path, target=HASWELL, progress=False)
    assert other.predicted
    assert other.work_dir == tmp_path
    assert all(path.is_relative_to(tmp_path) for path in other.save().values())
    tune(gemm(), trials=2, work_dir=tmp_path / "failed", **quick(Runner([None] * 2)))
    ranked = tune(gemm(), trials=0, work_dir=tmp_path / "failed", **quick(Runner([])))
    assert ranked.predicted
    assert ranked.measured == 0
    assert ranked.failures == {"timeout": 2}
    assert any('"random" says nothing before it has learnt' in note for note in ranked.notes)


@pytest.mark.parametrize("model", [HeronXGB, PAM], ids=["HeronXGB", "PAM"])
def test_a_model_that_has_learnt_nothing_ranks_nothing(model, tmp_path):
    ranked = tune(
        gemm(), trials=0, cost_model=model(), work_dir=tmp_path, target=HASWELL, progress=False
    )
    assert ranked.predicted
    expected = f'"{model.__name__}" says nothing before it has learnt'
    assert any(expected in note for note in ranked.notes)


def test_what_was_disqualified_is_said_where_it_leaves_nothing_but_to_rank(tmp_path, monkeypatch):
    tune(gemm(), trials=2, work_dir=tmp_path, **quick(Runner()))
    wrong = answers(True, "largest difference 7")
    monkeypatch.setattr(mschedx.winner.measure, "verify", lambda *_: wrong)
    result = tune(gemm(), trials=0, work_dir=tmp_path, target=HASWELL, progress=False)
    assert result.predicted
    assert result.failures == {"mismatch": 2}
    assert sum("disqualified" in note for note in result.notes) == 2


def test_a_cost_model_of_ours_ranks_and_others_are_said_to_be_of_no_use(tmp_path):
    @derived_object
    class Constant(ms.cost_model.PyCostModel):
        model = "of its own"

        def load(self, path): ...

        def save(self, path): ...

        def update(self, context, candidates, results): ...

        def predict(self, context, candidates):
            return np.ones(len(candidates))

    def notes(cost_model):
        result = tune(gemm(), HASWELL, trials=0, cost_model=cost_model, progress=False)
        return [note for note in result.notes if "before it has learnt" in note]

    assert notes(None) == notes(PSA()) == notes(PSA().model) == []
    assert '"xgb"' in notes("xgb")[0]
    assert notes(Constant())


def test_records_of_a_device_that_is_not_here_are_read_and_not_compared(tmp_path, monkeypatch):
    monkeypatch.setattr("mschedx.inputs.targets.has_gpu", lambda: False)
    gpu = {"target": "nvidia/nvidia-a100"}
    first = tune(gemm(), trials=2, work_dir=tmp_path, **quick(Runner([2, 1]), **gpu))
    # What the process that compares says there, which on a machine with a GPU it would not.
    absent = VerifyResult(
        ok=False,
        checked=False,
        ran=False,
        max_error=math.nan,
        tolerance=math.nan,
        reason="cuda: there is no such device here",
    )
    monkeypatch.setattr(mschedx.measure, "verify", lambda *_: absent)
    again = tune(gemm(), trials=0, work_dir=tmp_path, progress=False, **gpu)
    assert again.latency_s == first.latency_s
    assert not again.predicted
    assert not again.verified
    assert any("could not be checked: cuda" in note for note in again.notes)


def test_no_winner_is_a_result_that_says_why(tmp_path):
    result = tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([None] * 4)))
    assert result.schedule is None
    assert math.isinf(result.latency_s)
    with pytest.raises(RuntimeError, match=r"4 × timeout.*took too long"):
        result.compile()


def test_same_work_dir_measures_only_what_is_missing(tmp_path):
    first = tune(gemm(), trials=6, work_dir=tmp_path, **quick(Runner()))
    again = tune(gemm(), trials=6, work_dir=tmp_path, **quick(Runner()))
    more_runner = Runner([5] * 9)
    more = tune(gemm(), trials=10, work_dir=tmp_path, **quick(more_runner))
    assert (first.measured, again.measured, more.measured) == (6, 0, 4)
    assert more_runner.count == 4
    assert again.latency_s == more.latency_s == first.latency_s
    assert [t.index for t in more.history] == list(range(10))
    assert [t.session for t in more.history] == [0] * 6 + [1] * 4
    assert len(more.database) == 10


def test_a_result_reads_its_records_wherever_the_process_goes(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    result = tune(gemm(), trials=4, work_dir="run", **quick(Runner()))
    monkeypatch.chdir("elsewhere")
    assert len(result.trials()) == 4
    assert all(path.is_file() for path in result.save().values())
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_second_function_in_the_same_work_dir_has_its_own_trials(tmp_path):
    tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([1] * 4)))
    other = tune(gemm(64), trials=4, work_dir=tmp_path, **quick(Runner([2] * 4)))
    assert other.measured == len(other.history) == 4
    assert other.latency_s == pytest.approx(2e-3)
    assert [t.record for t in other.history] == [4, 5, 6, 7]


def test_same_seed_same_candidates(tmp_path):
    # TVM's "replay-trace" draws on several threads and is not repeatable by itself.
    options = {**quick(Runner()), "strategy": "replay-func"}

    def traces(name, seed):
        tune(gemm(), trials=4, work_dir=tmp_path / name, seed=seed, **options)
        records = read_lines(tmp_path / name / "database_tuning_record.json")
        return [json.dumps(line.content[1][0]) for line in records]

    assert traces("a", 3) == traces("b", 3) != traces("c", 4)


def test_a_round_is_as_large_as_the_strategy_was_told():
    def rounds(strategy, **more):
        options = {**quick(Runner()), "trials_per_round": None, "cost_model": "none", **more}
        result = tune(gemm(), trials=40, **{**options, "strategy": strategy})
        return [trial.round for trial in result.history]

    assert rounds(ConstrainedRandom(batch=24)) == [0] * 24 + [1] * 16
    assert rounds(ConstrainedRandom(batch=24), trials_per_round=20) == [0] * 20 + [1] * 20
    assert rounds(ConstrainedRandom()) == [i // 8 for i in range(40)]
    assert rounds("replay-trace") == [0] * 16 + [1] * 16 + [2] * 8


@pytest.mark.parametrize("model", ["random", ms.cost_model.RandomModel])
def test_scores_of_tvms_own_models_are_no_predictions(model, tmp_path):
    made = model if isinstance(model, str) else model()
    options = {**quick(Runner()), "cost_model": made}
    result = tune(gemm(), trials=12, work_dir=tmp_path, **options)
    assert {trial.predicted for trial in result.history} == {None}


def test_records_of_stock_tvm_count_as_trials(tmp_path):
    options = quick(Runner([2] * 4))
    target = Target(options["target"])
    with only_intrinsics(target):
        ms.tune_tir(
            gemm(),
            target,
            work_dir=str(tmp_path),
            max_trials_global=4,
            **{k: options[k] for k in ("builder", "runner", "space", "strategy", "cost_model")},
        )
    result = tune(gemm(), trials=6, work_dir=tmp_path, **quick(Runner([9, 9])))
    assert result.measured == 2
    assert result.latency_s == pytest.approx(2e-3)


def test_tvms_intrinsics_are_loaded_for_other_spaces_and_their_records(tmp_path, monkeypatch):
    seen = []

    def watch(target, kinds=None):
        seen.append(kinds)
        return only_intrinsics(target, kinds)

    monkeypatch.setattr("mschedx.tuning.compat.only_intrinsics", watch)
    ours = {**quick(Runner()), "space": None}

    def first(options):
        seen.clear()
        tune(gemm(), trials=4, work_dir=tmp_path, **options)
        return seen[0]

    monkeypatch.setattr("mschedx.tuning.compat.own_space_kinds", lambda target: ("x86",))
    assert first(ours) == ("x86",)
    assert first(ours) is None, "the records may be of any space"
    assert first(quick(Runner())) is None


def test_stock_tvm_loads_the_database(tmp_path):
    result = tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner()))
    database = ms.database.JSONDatabase(work_dir=str(tmp_path))
    stock = ms.tir_integration.compile_tir(database, gemm(), result.target)
    tvm.ir.assert_structural_equal(stock.mod, result.schedule.mod)


def test_ctrl_c_keeps_what_was_measured(tmp_path):
    runner = Runner([3, 2, 4, 5], interrupt_after=4)
    result = tune(gemm(), trials=20, work_dir=tmp_path, **quick(runner))
    assert result.interrupted
    assert result.measured == 4
    assert result.latency_s == pytest.approx(2e-3)
    resumed = tune(gemm(), trials=8, work_dir=tmp_path, **quick(Runner([9] * 4)))
    assert resumed.measured == 4
    assert not resumed.interrupted


def test_timeout_starts_no_further_round(tmp_path):
    runner = Runner(sleep_s=0.3)
    result = tune(gemm(), trials=400, work_dir=tmp_path, timeout_s=0.5, **quick(runner))
    assert result.timed_out
    assert 4 <= result.measured <= 12


def test_each_function_of_a_work_dir_has_its_own_best(tmp_path):
    files = {}
    for n in (32, 64):
        result = tune(gemm(n), trials=4, work_dir=tmp_path, **quick(Runner()))
        files[n] = result.save()["schedule"]
        assert files[n].parent.parent == tmp_path / "best"
        assert result.save()["schedule"] == files[n]
    assert files[32].parent != files[64].parent
    assert files[32].exists()
    assert (
        tune(gemm(32), trials=4, work_dir=tmp_path, **quick(Runner())).save()["schedule"]
        == (files[32])
    )


def test_compile_gives_a_module_that_computes(tmp_path):
    options = {**quick(Runner()), "target": None}
    result = tune(gemm(), trials=4, work_dir=tmp_path, **options)
    a, b = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    c = tvm.runtime.tensor(np.zeros((32, 32), "float32"))
    result.compile()["main"](tvm.runtime.tensor(a), tvm.runtime.tensor(b), c)
    np.testing.assert_allclose(c.numpy(), a @ b, rtol=1e-5)


def test_nothing_is_left_behind_in_logging_and_numpy(tmp_path, capsys):
    logger = logging.getLogger("tvm.s_tir.meta_schedule")
    logger.addHandler(logging.NullHandler())
    before = (logger.level, list(logger.handlers), logger.propagate)
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.RandomState(7).rand(3)
    tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner()))
    assert (logger.level, list(logger.handlers), logger.propagate) == before
    assert (np.random.rand(3) == expected).all()  # noqa: NPY002
    assert capsys.readouterr().out == ""
    logger.handlers.clear()
    assert list((tmp_path / "logs").glob("*.log")), "the log goes to files"


def test_the_name_is_a_function_whatever_was_imported_before():
    code = "from mschedx.tuning import TuneResult; import mschedx; mschedx.tune(5)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "TypeError: expected a tirx.PrimFunc" in run.stderr


@pytest.mark.parametrize(
    ("strategy", "model"),
    [
        (DraftVerify, lambda: "none"),
        (lambda: GradientDescent(n_steps=4, later_steps=2, samples=64), FelixMLP),
    ],
    ids=["DraftVerify", "GradientDescent"],
)
def test_a_strategy_that_is_used_again_proposes_the_same_with_the_same_seed(
    tmp_path, strategy, model
):
    used = strategy()
    runs = []
    for run in range(2):
        latencies = np.random.default_rng(3).integers(1, 100, 16).tolist()
        parts = quick(Runner(latencies), strategy=used, cost_model=model(), space=None)
        result = tune(gemm(), trials=16, work_dir=tmp_path / str(run), **parts)
        runs.append([trial.program for trial in result.history])
    assert runs[0] == runs[1]


@pytest.mark.parametrize("restricted", [False, True])
def test_gradient_descent_brings_a_model_with_gradients(tmp_path, restricted):
    strategy = GradientDescent(n_steps=2, later_steps=2)
    strategy = strategy.restricted() if restricted else strategy
    parts = {"space": None, "strategy": strategy, "cost_model": None, "trials_per_round": 1}
    result = tune(gemm(), trials=2, work_dir=tmp_path, **quick(Runner([3, 1]), **parts))
    assert result.measured == 2


@pytest.mark.parametrize("cost_model", ["xgb", "none", HeronXGB])
def test_a_model_without_gradients_is_refused_before_anything_starts(cost_model, monkeypatch):
    monkeypatch.setattr("mschedx.tuning.start_workers", lambda: pytest.fail("workers started"))
    given = cost_model if isinstance(cost_model, str) else cost_model()
    with pytest.raises(TypeError, match=r"with gradients beside GradientDescent .*FelixMLP.* got"):
        tune(gemm(), HASWELL, strategy=GradientDescent(), cost_model=given, trials=2)
