"""Libraries are written whole or not at all, and what keeps them from it is an OSError."""

import pytest

from mschedx.measure.failures import MachineTrouble
from mschedx.networks.linking import library_path, link


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
