"""Libraries are written whole or not at all, and what keeps them from it is an OSError."""

import json

import pytest
import torch
from tvm.target import Target

from mschedx import cli, compat, tune_model
from mschedx.measure.failures import MachineTrouble
from mschedx.networks.errors import NetworkError
from mschedx.networks.linking import library_path, link, require_linker_for


class Executable:
    """Writes half a library, then raises."""

    def __init__(self, error=None):
        self.error = error

    def export_library(self, path):
        with open(path, "w") as file:
            file.write("new")
        if self.error is not None:
            raise self.error


def test_a_library_takes_the_place_of_another(tmp_path):
    place = tmp_path / "net.so"
    place.write_text("old")
    link(Executable(), place)
    assert place.read_text() == "new"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (RuntimeError("Compilation error:\nld: odd"), OSError, r"net\.so cannot be linked: .*"),
        (RuntimeError("ld: No space left on device"), MachineTrouble, "No space left"),
        (OSError(28, "No space left on device"), OSError, "No space left"),
    ],
)
def test_what_lay_there_stays_where_it_fails(error, kind, said, tmp_path):
    place = tmp_path / "net.so"
    place.write_text("old")
    with pytest.raises(kind, match=said):
        link(Executable(error), place)
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_without_a_compiler_it_is_the_machine(tmp_path, monkeypatch):
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineTrouble, match=r"C\+\+ compiler.*CXX"):
        link(Executable(), tmp_path / "net.so")


def test_a_folder_in_the_place_is_an_error_of_the_system(tmp_path):
    (tmp_path / "net.so" / "more").mkdir(parents=True)
    with pytest.raises(OSError, match=r"net\.so"):
        link(Executable(), tmp_path / "net.so")


def test_a_library_has_a_library_s_ending(tmp_path):
    assert library_path(tmp_path / "a.dylib") == tmp_path / "a.dylib"
    with pytest.raises(ValueError, match=r"a shared library \(\.so"):
        library_path("net.txt")


@pytest.fixture
def elsewhere(monkeypatch):
    """A target of another architecture, and no compiler named that links for it."""
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    if compat.architecture_of(Target("llvm")) == "aarch64":
        pytest.skip("it is this machine's")
    triple = "aarch64-linux-gnu"
    return {"kind": "llvm", "mtriple": triple, "mcpu": "cortex-a72", "num-cores": 4}


def test_a_library_for_another_architecture_needs_its_compiler(elsewhere, tmp_path, monkeypatch):
    model, inputs = torch.nn.Linear(8, 4).eval(), (torch.rand(3, 8),)
    result = tune_model(model, inputs, elsewhere, trials_per_task=0, progress=False)
    with pytest.raises(NetworkError, match=r"is for aarch64.*CXX=aarch64-linux-gnu-g"):
        result.export(tmp_path / "deep" / "net.so")
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("CXX", "aarch64-linux-gnu-g++")
    require_linker_for(result.target)


def test_the_command_says_so_before_it_tunes(elsewhere, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mschedx.cli.tune_model.tune_model", lambda *_, **__: pytest.fail("tuned"))
    line = ["tune-model", "resnet18", "--target", json.dumps(elsewhere), "--export"]
    assert cli.main([*line, str(tmp_path / "net.so")]) == 2
    assert "CXX=aarch64-linux-gnu-g++" in capsys.readouterr().err
