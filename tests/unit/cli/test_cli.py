import importlib
import io
import json
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from stand_ins import Refuses, Runner, gemm, quick
from tvm.s_tir import meta_schedule as ms

import mschedx
from mschedx import cli
from mschedx.compat import IncompatibleVersion
from mschedx.measure.failures import MachineTrouble
from mschedx.plan import name_of
from mschedx.record.errors import WorkDirError
from mschedx.report.progress import PlainProgress

tune_module = importlib.import_module("mschedx.tuning")


@pytest.fixture
def instant(monkeypatch):
    """Let the command measure invented latencies."""
    real = tune_module.tune

    def tune(func, target, **options):
        assert target is None
        return real(func, **{**options, **quick(Runner(options.pop("latencies", ())))})

    monkeypatch.setattr(tune_module, "tune", tune)
    return real


def test_help_imports_nothing_heavy():
    code = (
        "import sys, mschedx.cli\n"
        "try:\n mschedx.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'tvm', 'torch', 'numpy', 'rich'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_list_names_every_operator(capsys):
    assert cli.main(["tune", "list"]) == 0
    out = capsys.readouterr().out
    assert "gemm               --shape M,N,K" in out
    assert "conv2d             --shape N,C,H,W,K,R,stride=1" in out


def test_tune_ends_with_the_winner_and_its_files(instant, tmp_path, capsys):
    args = ["tune", "gemm", "--shape", "32x32x32", "--trials", "4", "--no-compare"]
    assert cli.main([*args, "--work-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "250 us" in out
    assert "4 trials, 4 measured now" in out
    (folder,) = (tmp_path / "best").iterdir()
    assert str(folder / "schedule.py") in out
    assert (folder / "scheduled.py").exists()
    assert cli.main([*args, "--work-dir", str(tmp_path)]) == 0
    assert "4 trials, 0 measured now" in capsys.readouterr().out


def test_tune_says_why_the_function_stays_as_it_is(monkeypatch, tmp_path, capsys):
    """Also where the work_dir holds its trial already."""
    space = ms.space_generator.ScheduleFn(
        lambda sch: [sch.copy()], postprocs=[Refuses()], mutator_probs={}
    )
    parts = {"space": space, "strategy": mschedx.ConstrainedEvolution()}
    real = tune_module.tune

    def tune(func, target, **options):
        return real(func, **{**options, **quick(Runner(), **parts)})

    monkeypatch.setattr(tune_module, "tune", tune)
    args = ["tune", "gemm", "--shape", "8,8,8", "--trials", "1", "--no-compare"]
    for _ in range(2):
        assert cli.main([*args, "--work-dir", str(tmp_path)]) == 1
        assert "so the function stays as it is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["gem", "--shape", "1,2,3"], "unknown operator 'gem'"),
        (["gemm"], "--shape M,N,K"),
        (["gemm", "--shape", "1,2"], "M,N,K"),
        (["gemm", "--shape", "8,8,8", "--dtype", "float"], "float32"),
        (["gemm", "--shape", "8,8,8", "--trials", "-1"], "at least 1"),
        (["gemm", "--shape", "8,8,8", "--target", "llvm -mcpu=haswell"], "command-line form"),
        (["gemm", "--shape", "8,8,8", "--target", '{"kind": "llvm"}'], "num-cores"),
        (["gemm", "--shape", "8,8,8", "--work-dir", "/dev/null/x"], "can be written"),
    ],
)
def test_bad_requests_end_with_one_line(args, says, capsys):
    assert cli.main(["tune", *args]) == 2
    err = capsys.readouterr().err
    assert err.startswith("mschedx: ")
    assert says in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", ["-1", "99"])
@pytest.mark.parametrize("command", [["report"], ["replay"], ["explain"]])
def test_a_workload_that_is_not_there_is_refused_by_all_that_read_a_folder(
    command, number, tmp_path, capsys
):
    tune_module.tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner()))
    trial = ["0"] if command == ["explain"] else []
    assert cli.main([*command, str(tmp_path), *trial, "--workload", number]) == 2
    said = capsys.readouterr().err
    assert f"expected the number of a workload with trials (0), got {number}" in said


def test_bad_numbers_are_refused_by_the_parser(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["tune", "gemm", "--shape", "a,b"])
    assert stop.value.code == 2
    assert "1024,1024,1024" in capsys.readouterr().err


def test_version_names_what_matters(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert "tvm 0.27" in capsys.readouterr().out


def test_target_json_reaches_tune(monkeypatch, tmp_path):
    seen = {}

    def tune(func, target, **options):
        seen.update(target=target, **options)
        raise ValueError("enough")

    monkeypatch.setattr(tune_module, "tune", tune)
    target = json.dumps({"kind": "llvm", "num-cores": 1})
    args = ["tune", "gemm", "--shape", "8,8,8", "--target", target, "--seed", "3"]
    assert cli.main([*args, "--strategy", "evolutionary", "--work-dir", str(tmp_path)]) == 2
    assert (seen["target"], seen["seed"], seen["strategy"]) == (target, 3, "evolutionary")


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """Give the classes of the strategy and cost model that a command line hands to `tune`."""

    def asked(*line):
        seen = {}

        def tune(func, target, **options):
            seen.update(options)
            raise ValueError("enough")

        monkeypatch.setattr(tune_module, "tune", tune)
        args = ["tune", "gemm", "--shape", "8,8,8", "--work-dir", str(tmp_path), *line]
        assert cli.main(args) == 2
        return [name_of(seen.get(one)) for one in ("strategy", "cost_model")] if seen else None

    return asked


def test_strategies_and_cost_models_are_named_in_any_combination(parts, capsys):
    assert parts() == [None, None]
    assert parts("--strategy", "gradient") == ["GradientDescent", None]
    assert parts("--strategy", "pruner") == ["DraftVerify", "PAM"]
    assert parts("--strategy", "draft-verify") == ["DraftVerify", None]
    assert parts("--strategy", "pruner", "--cost-model", "psa") == ["DraftVerify", "PSA"]
    assert parts("--cost-model", "pam:cpu") == [None, "PAM"]
    assert parts("--strategy", "evolutionary", "--cost-model", "xgb") == ["evolutionary", "xgb"]
    own = ["mschedx.search:RepairedGenetic", "--cost-model", "mschedx.cost:HeronXGB"]
    assert parts("--strategy", *own) == ["RepairedGenetic", "HeronXGB"]
    assert capsys.readouterr().err == "mschedx: enough\n" * 8


def test_a_cost_model_that_nobody_asks_is_noted(parts, capsys):
    assert parts("--strategy", "random", "--cost-model", "psa") == ["ConstrainedRandom", "PSA"]
    assert capsys.readouterr().err == (
        "mschedx: note: the strategy random asks no cost model, psa has no part in the search\n"
        "mschedx: enough\n"
    )
    parts("--strategy", "replay-trace", "--cost-model", "xgb")
    assert "note: the strategy replay-trace asks no cost model" in capsys.readouterr().err
    for asked in (["random"], ["random", "--cost-model", "none"], ["heron", "--cost-model", "psa"]):
        parts("--strategy", *asked)
        assert capsys.readouterr().err == "mschedx: enough\n"


def test_strategies_of_replay_are_listed_without_a_folder(capsys):
    assert cli.main(["replay", "--strategy", "list"]) == 0
    assert "heron\n" in capsys.readouterr().out
    assert cli.main(["replay"]) == 2
    assert "mschedx: replay needs WORK_DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--strategy", "prunner"], "unknown strategy prunner; there are heron, pruner, "),
        (["--cost-model", "tlp"], "expected tlp with the weights that it was trained to"),
        (["--cost-model", "pam:absent"], "expected a file of weights"),
    ],
)
def test_parts_that_cannot_be_made_are_bad_requests(line, says, parts, capsys):
    assert parts(*line) is None
    assert says in capsys.readouterr().err


def test_a_model_without_gradients_beside_descent_is_a_bad_request(tmp_path, capsys):
    args = ["tune", "gemm", "--shape", "8,8,8", "--work-dir", str(tmp_path / "w")]
    assert cli.main([*args, "--strategy", "gradient", "--cost-model", "xgb"]) == 2
    assert "a cost model with gradients beside GradientDescent" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


TUNE = [sys.executable, "-m", "mschedx", "tune"]


def shell(line, **options):
    command = f"{' '.join(TUNE)} {line}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("list > /dev/full", 3, "mschedx: No space left on device: standard output\n"),
        ("list >&-", 0, ""),
        ("list 2>&-", 0, ""),
        ("list <&- >&- 2>&-", 0, ""),
        ("gem <&- >&-", 2, "mschedx: unknown operator 'gem'"),
        ("gem 2> /dev/full", 2, ""),
        ("list | true; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_streams_that_cannot_be_written(line, status, says):
    done = shell(line)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    assert done.stderr.startswith(says)
    assert bool(done.stderr) == bool(says)


def test_a_comparison_is_written_before_a_reader_has_seen_enough(monkeypatch, tmp_path):
    """Of ``mschedx compare ... | head``."""

    def print_table(*_):
        raise BrokenPipeError

    monkeypatch.setattr("mschedx.bench.compare.harness.run_comparison", lambda *_: [])
    monkeypatch.setattr("mschedx.bench.compare.harness.time_winners", lambda *_: {})
    monkeypatch.setattr("mschedx.bench.compare.tables.all_tables", lambda _: ["a table"])
    monkeypatch.setattr(
        "mschedx.bench.compare.present.write_comparison",
        lambda _, path, png: path.write_text("the page") and [path],
    )
    monkeypatch.setattr("rich.console.Console.print", print_table)
    monkeypatch.setattr("mschedx.cli.abandon", lambda stream: None)
    assert cli.main(["compare", "--workloads", "gemm_128", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_text() == "the page"


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (
            OSError(28, "No space left on device", "/w/records"),
            3,
            "No space left on device: /w/rec",
        ),
        (MachineTrouble("no linker found"), 3, "machine: no linker found"),
        (IncompatibleVersion("mschedx works with"), 3, "mschedx works with"),
        (WorkDirError("is being tuned into"), 2, "is being tuned into"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_each_kind_of_trouble_has_its_status_and_line(error, status, says, monkeypatch, capsys):
    def tune(*_, **__):
        raise error

    monkeypatch.setattr(tune_module, "tune", tune)
    assert cli.main(["tune", "gemm", "--shape", "8,8,8"]) == status
    assert capsys.readouterr().err.startswith(f"mschedx: {says}")


def test_ctrl_c_that_a_library_makes_another_error_of_is_ctrl_c(monkeypatch, capsys):
    """NumPy, while it is imported; TVM's C++."""

    def tune(*_, **__):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("could not import datetime") from error

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(tune_module, "tune", tune)
    assert cli.main(["tune", "gemm", "--shape", "8,8,8"]) == 130
    assert capsys.readouterr().err == "mschedx: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_the_command_is_imported_has_no_traceback():
    script = """
import signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "mschedx.cli":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
from mschedx.__main__ import command
command()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize("entry", ["mschedx", "cli"])
def test_ctrl_c_that_a_shell_has_it_ignore_stays_ignored(entry):
    """As for what runs in the background of a script."""
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
import mschedx.cli.arguments as arguments
parser = arguments.make_parser
def make_parser():
    signal.raise_signal(signal.SIGINT)
    return parser()
import mschedx.cli
mschedx.cli.make_parser = make_parser
from mschedx.__main__ import command
sys.argv[1:] = ["--version"]
command() if {entry == "mschedx"} else mschedx.cli.main()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_handler_of_the_caller_s_own_still_decides_what_ctrl_c_does(monkeypatch):
    calls = []

    def tune(*_, **__):
        signal.raise_signal(signal.SIGINT)
        return SimpleNamespace(schedule=None, interrupted=True)

    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        monkeypatch.setattr(tune_module, "tune", tune)
        assert cli.main(["tune", "gemm", "--shape", "8,8,8"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [1]


def test_ctrl_c_before_anything_was_measured_is_no_failure_to_find(monkeypatch, capsys):
    def tune(*_, **__):
        return SimpleNamespace(schedule=None, interrupted=True)

    monkeypatch.setattr(tune_module, "tune", tune)
    assert cli.main(["tune", "gemm", "--shape", "8,8,8"]) == 130
    assert capsys.readouterr().err == "mschedx: interrupted\n"


def test_errors_that_are_ours_keep_their_traceback(monkeypatch):
    def tune(*_, **__):
        raise ImportError("no module named mschedx.spaec")

    monkeypatch.setattr(tune_module, "tune", tune)
    with pytest.raises(ImportError, match="spaec"):
        cli.main(["tune", "gemm", "--shape", "8,8,8"])


def test_a_display_that_nobody_reads_does_not_end_the_run(tmp_path):
    with open("/dev/full", "wb", buffering=0) as full:
        file = io.TextIOWrapper(full, write_through=True)
        how = quick(Runner(), progress=PlainProgress(1.0, file))
        assert tune_module.tune(gemm(), trials=8, work_dir=tmp_path, **how).measured == 8
