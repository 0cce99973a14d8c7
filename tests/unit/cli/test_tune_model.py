import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stand_ins import Runner
from tiny_networks import quick, two

from mschedx import cli
from mschedx.cli import tune_model
from mschedx.measure.failures import MachineTrouble
from mschedx.networks import conclude
from mschedx.networks.checking import Check
from mschedx.networks.errors import NetworkError
from mschedx.networks.result import NetworkResult
from mschedx.plan import name_of
from mschedx.record.contents import TRIALS


@pytest.fixture
def invented(monkeypatch):
    real = tune_model.tune_model

    def tune(model, inputs, target, **options):
        assert target is None
        return real(model, inputs, **{**options, **quick()})

    monkeypatch.setattr(tune_model, "tune_model", tune)


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(
        "import torch\n"
        "def both():\n    return torch.nn.Linear(8, 4).eval(), (torch.rand(3, 8),)\n"
        "class Bessel(torch.nn.Module):\n"
        "    def forward(self, x):\n        return torch.special.i0(x.relu() + 1)\n"
        "def unknown():\n    return Bessel().eval(), (torch.rand(3, 8),)\n"
        "def alone():\n    return torch.nn.Linear(8, 4).eval()\n"
        "number = 3\n"
    )
    return path


def test_a_network_of_a_file_is_tuned_exported_and_profiled(invented, factory, tmp_path, capsys):
    library = tmp_path / "net.so"
    args = ["tune-model", f"{factory}:both", "--trials-per-task", "1", "--profile"]
    work = ["--work-dir", str(tmp_path / "w"), "--export", str(library)]
    assert cli.main([*args, *work]) == 0
    out = capsys.readouterr().out
    assert "Linear: " in out
    assert "output checked" in out
    assert "in place" in out
    assert library.exists()


def test_a_network_that_does_not_run_here_is_exported_and_not_profiled(
    invented, factory, tmp_path, capsys, monkeypatch
):
    def profile(self):
        raise NetworkError("this CPU lacks avx512bw")

    monkeypatch.setattr(NetworkResult, "profile", profile)
    library = tmp_path / "net.so"
    args = ["tune-model", f"{factory}:both", "--trials-per-task", "1", "--profile"]
    work = ["--work-dir", str(tmp_path / "w"), "--export", str(library)]
    assert cli.main([*args, *work]) == 0
    assert "the profile is left out: this CPU lacks avx512bw" in capsys.readouterr().err
    assert library.exists()


@pytest.mark.parametrize(
    "trouble", [OSError(28, "No space left on device", "net.so"), MachineTrouble("no linker")]
)
def test_a_library_that_cannot_be_written_costs_no_profile(
    trouble, invented, factory, tmp_path, capsys, monkeypatch
):
    def export(self, path):
        raise trouble

    monkeypatch.setattr(NetworkResult, "export", export)
    args = ["tune-model", f"{factory}:both", "--trials-per-task", "1", "--profile"]
    work = ["--work-dir", str(tmp_path / "w"), "--export", str(tmp_path / "net.so")]
    assert cli.main([*args, *work]) == 3
    said = capsys.readouterr()
    assert "in place" in said.out
    assert "No space left on device: net.so" in said.err or "no linker" in said.err


@pytest.mark.parametrize("exact", [False, True])
def test_exactness_is_asked_for_on_the_command_line(exact, factory, monkeypatch):
    asked = []

    def stop(model, inputs, target, **options):
        asked.append(options["exact"])
        raise ValueError("enough")

    monkeypatch.setattr(tune_model, "tune_model", stop)
    assert cli.main(["tune-model", f"{factory}:both", *(["--exact"] if exact else [])]) == 2
    assert asked == [exact]


@pytest.mark.parametrize("size", [[], ["--bucket", "input[0]=2,4"], ["--unsupported", "torch"]])
def test_what_searches_is_named_on_the_command_line(size, factory, monkeypatch):
    asked = {}

    def stop(*network, **options):
        asked.update(options)
        raise ValueError("enough")

    for name in ("tune_model", "tune_buckets", "tune_parts"):
        monkeypatch.setattr(tune_model, name, stop)
    args = ["tune-model", f"{factory}:both", *size]
    assert cli.main(args) == 2
    assert not {"strategy", "cost_model"} & set(asked), "those of tune_model"
    assert asked["space"] is None
    named = ["--strategy", "gradient", "--cost-model", "psa", "--space", "post-order-apply"]
    assert cli.main([*args, *named]) == 2
    assert name_of(asked["strategy"]) == "GradientDescent"
    assert name_of(asked["cost_model"]) == "PSA"
    assert asked["space"] == "post-order-apply"


def test_a_network_is_tuned_with_what_is_named(factory, monkeypatch, tmp_path):
    real = tune_model.tune_model
    own = {name: part for name, part in quick().items() if name in ("builder", "runner")}
    monkeypatch.setattr(tune_model, "tune_model", lambda *_, **how: real(*_, **{**how, **own}))
    args = ["tune-model", f"{factory}:both", "--trials-per-task", "2", "--quiet"]
    named = ["--strategy", "random", "--cost-model", "none", "--work-dir", str(tmp_path / "w")]
    assert cli.main([*args, *named]) == 0
    (session,) = [
        line
        for line in map(json.loads, (tmp_path / "w" / TRIALS).read_text().splitlines())
        if line["kind"] == "session"
    ]
    assert session["parts"]["strategy"] == "ConstrainedRandom"
    assert session["parts"]["cost_model"] == "none"


def test_shapes_come_from_the_command_line(invented, factory, capsys):
    args = ["tune-model", f"{factory}:alone", "--trials-per-task", "1", "--quiet"]
    assert cli.main([*args, "--input", "5,8"]) == 0
    assert cli.main(args) == 2
    assert "expected example_inputs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "inputs", "says"),
    [
        ("resnet19", None, "did you mean 'resnet18'"),
        ("absent.onnx", None, "absent.onnx"),
        ("absent.py:f", None, "absent.py"),
        ("no_such_module:f", None, "cannot import network no_such_module:f: No module named"),
        ("math:absent", None, "cannot import network math:absent: "),
        ("math:pi", None, "expected math:pi to be callable, got float"),
        (":f", None, "cannot import network :f: "),
        ("math:sqrt", ["a,b"], "expected an input as"),
        ("math:sqrt", ["2:float33"], "expected an input as"),
    ],
)
def test_bad_names_are_told_apart(name, inputs, says, capsys):
    given = [word for text in inputs or () for word in ("--input", text)]
    assert cli.main(["tune-model", name, "--trials-per-task", "1", *given]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("place", ["spoilt_nets", "{folder}/spoilt_nets.py"])
def test_a_module_that_cannot_be_imported_is_a_bad_request(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    (tmp_path / "spoilt_nets.py").write_text("from os import nothing\n")
    name = f"{place.format(folder=tmp_path)}:make"
    assert cli.main(["tune-model", name, "--trials-per-task", "1"]) == 2
    assert f"cannot import network {name}: cannot import name 'nothing'" in capsys.readouterr().err


def test_inputs_have_the_dtype_that_is_asked_for():
    _, (floats, tokens) = tune_model.network_of("resnet.onnx", ["2,3", "1x4:int64"])
    assert (floats.dtype, tuple(floats.shape)) == (torch.float32, (2, 3))
    assert (tokens.dtype, tuple(tokens.shape)) == (torch.int64, (1, 4))


def test_a_folder_of_several_tasks_has_a_page(tmp_path, capsys):
    from mschedx import tune_model

    model, inputs = two()
    result = tune_model(model, inputs, trials_per_task=2, work_dir=tmp_path, **quick())
    assert cli.main(["report", str(tmp_path), "--no-calibrate"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Two</h2>" in page
    assert all(choice.task.name in page for choice in result.tasks)
    assert page.count("<section>") == page.count("</section>")
    assert cli.main(["report", str(tmp_path), "--no-calibrate", "--workload", "1"]) == 0
    assert "Tuning curve" in (tmp_path / "report-1.html").read_text()
    assert (tmp_path / "report.html").read_text() == page, "the folder's page stays"


def test_several_sizes_are_tuned_and_exported(factory, tmp_path, capsys):
    libraries = tmp_path / "libraries"
    args = ["tune-model", f"{factory}:both", "--trials-per-task", "0", "--quiet"]
    assert cli.main([*args, "--bucket", "input[0]=2,4", "--export", str(libraries)]) == 0
    out = capsys.readouterr().out
    assert "BucketsResult" in out
    assert sorted(path.name for path in libraries.iterdir()) == ["input0=2.so", "input0=4.so"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--bucket", "input[0]"], "INPUT[AXIS]=SIZES"),
        (["--bucket", "input[0]=2,x"], "INPUT[AXIS]=SIZES"),
        (["--bucket", "input[0]=2", "--profile"], "--profile"),
        (["--bucket", "rows=2"], "input[axis]"),
        (
            ["--bucket", "input[0]=1", "--bucket", "input[0]=8,32"],
            "input[0] is given twice: write --bucket 'input[0]=1,8,32'",
        ),
        (["--bucket", "input[0]=2", "--unsupported", "torch"], "--unsupported torch"),
        (["--unsupported", "torch", "--profile"], "--profile"),
        (["--unsupported", "torch", "--export", "net.so"], "--export"),
    ],
)
def test_options_that_cannot_be_read(more, said, factory, capsys):
    assert cli.main(["tune-model", f"{factory}:both", *more]) == 2
    assert said in capsys.readouterr().err


def test_operators_that_tvm_does_not_know_stop_it_or_are_left_to_torch(factory, capsys):
    args = ["tune-model", f"{factory}:unknown", "--trials-per-task", "0", "--quiet"]
    assert cli.main(args) == 2
    assert "i0.default" in capsys.readouterr().err
    assert cli.main([*args, "--unsupported", "torch"]) == 0
    out = capsys.readouterr().out
    assert "PartsResult: Bessel, 1 parts tuned, output checked" in out
    assert re.search(r"work_dir +/\S+", out)


WRONG = "output 0: 3 of 4 values differ"


@pytest.fixture
def wrong_output(monkeypatch):
    """Each check finds the output wrong, that after the records were verified, too."""

    def check(*_):
        return Check(True, True, 1.0, 0.1, WRONG)

    monkeypatch.setattr(conclude, "check_output", check)


@pytest.mark.parametrize("quiet_", [True, False])
def test_a_wrong_output_is_said_and_not_exported(
    quiet_, wrong_output, factory, tmp_path, monkeypatch, capsys
):
    real = tune_model.tune_model

    def tune(model, inputs, target, **options):
        return real(model, inputs, **{**quick(), **options})

    monkeypatch.setattr(tune_model, "tune_model", tune)
    library = tmp_path / "net.so"
    library.write_text("good")
    args = ["tune-model", f"{factory}:both", "--trials-per-task", "1", "--export", str(library)]
    assert cli.main([*args, *(["--quiet"] if quiet_ else [])]) == 4
    out, err = capsys.readouterr()
    assert f"output WRONG ({WRONG})" in out
    assert err.count(f"the network's output is not the framework's: {WRONG}") == 1
    assert f"{library} is left out, since the output is wrong" in err
    assert library.read_text() == "good"


def test_a_wrong_size_is_said_and_the_others_exported(factory, tmp_path, monkeypatch, capsys):
    real, libraries = conclude.check_output, tmp_path / "libraries"

    def check(reference, *rest):
        return replace(
            real(reference, *rest),
            wrong=reference.arrays[0].shape[0] == 4,
            reason=WRONG,
        )

    monkeypatch.setattr(conclude, "check_output", check)
    args = ["tune-model", f"{factory}:both", "--trials-per-task", "0", "--quiet"]
    assert cli.main([*args, "--bucket", "input[0]=2,4", "--export", str(libraries)]) == 4
    assert [path.name for path in libraries.iterdir()] == ["input0=2.so"]
    out, err = capsys.readouterr()
    assert f"WRONG ({WRONG})" in out
    assert "input0=4.so is left out" in err
    assert f"note: input0=4: the network's output is not the framework's: {WRONG}" in err


def test_parts_with_a_wrong_output_end_with_a_status(factory, monkeypatch, capsys):
    check = Check(True, True, 1.0, 0.1, WRONG)
    monkeypatch.setattr("mschedx.networks.parts.compared", lambda *_: check)
    args = ["tune-model", f"{factory}:unknown", "--trials-per-task", "0", "--quiet"]
    assert cli.main([*args, "--unsupported", "torch"]) == 4
    assert f"output WRONG ({WRONG})" in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--profile"]])
def test_what_was_interrupted_is_not_exported(more, factory, tmp_path, monkeypatch, capsys):
    real, library = tune_model.tune_model, tmp_path / "net.so"
    library.write_text("good")

    def tune(model, inputs, target, **options):
        return real(model, inputs, **{**options, **quick(Runner(interrupt_after=0))})

    monkeypatch.setattr(tune_model, "tune_model", tune)
    args = ["tune-model", f"{factory}:both", "--trials-per-task", "1", "--quiet"]
    assert cli.main([*args, "--export", str(library), *more]) == 130
    assert library.read_text() == "good"
    said = capsys.readouterr().err
    assert f"{library} is left out, since tuning was interrupted" in said
    assert ("the profile is left out" in said) == bool(more)


def test_sizes_that_were_interrupted_are_not_exported(factory, tmp_path, monkeypatch, capsys):
    real, libraries = tune_model.tune_buckets, tmp_path / "libraries"

    def tune(model, inputs, buckets, target, **options):
        return real(model, inputs, buckets, **{**options, **quick(Runner(interrupt_after=0))})

    monkeypatch.setattr(tune_model, "tune_buckets", tune)
    args = ["tune-model", f"{factory}:both", "--trials-per-task", "1", "--quiet"]
    assert cli.main([*args, "--bucket", "input[0]=2,4", "--export", str(libraries)]) == 130
    assert not libraries.exists()
    out, err = capsys.readouterr()
    assert f"{libraries} is left out, since tuning was interrupted" in err
    folder = re.search(r"call it again with --work-dir (\S+) to go on", err)[1]
    assert Path(folder).is_dir()
    assert folder in out


@pytest.mark.parametrize(
    ("path", "more", "status", "said"),
    [
        ("net.txt", [], 2, "expected the path of a shared library"),
        ("file/net.so", [], 3, "Not a directory"),
        ("/proc/net.so", [], 3, "/proc"),
        ("file", ["--bucket", "input[0]=2"], 3, "Not a directory"),
    ],
)
def test_paths_are_looked_at_before_anything_is_tuned(
    path, more, status, said, factory, tmp_path, monkeypatch, capsys
):
    def tuned(*_, **__):
        raise AssertionError("tuning takes hours")

    monkeypatch.setattr(tune_model, "tune_model", tuned)
    monkeypatch.setattr(tune_model, "tune_buckets", tuned)
    (tmp_path / "file").write_text("")
    args = ["tune-model", f"{factory}:both", "--export", str(tmp_path / path), *more]
    assert cli.main(args) == status
    assert said in capsys.readouterr().err


def test_a_file_may_import_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    (tmp_path / "beside_it.py").write_text("width = 8\n")
    (tmp_path / "net.py").write_text(
        "import torch, beside_it\n"
        "def make():\n    return torch.nn.Linear(beside_it.width, 4), (torch.rand(3, 8),)\n"
    )
    model, _ = tune_model.network_of(f"{tmp_path / 'net.py'}:make", None)
    assert model.in_features == 8
