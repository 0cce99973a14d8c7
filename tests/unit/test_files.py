import errno
import os
import threading
from pathlib import Path

import pytest

from mschedx.files import require_writable, whole, write_atomic, written_before


def test_a_file_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    file = tmp_path / "f"
    write_atomic(file, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=f"No space left on device: '{file}'"):
        write_atomic(file, "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_threads_that_write_one_file_do_not_meet(tmp_path):
    file, texts = tmp_path / "f", [letter * 50_000 for letter in "abcdefgh"]
    failed = []

    def write(text):
        try:
            for _ in range(20):
                write_atomic(file, text)
                assert file.read_text() in texts
        except (OSError, AssertionError) as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert list(tmp_path.iterdir()) == [file]


def test_names_that_are_no_text_are_written_as_escapes(tmp_path):
    file = tmp_path / "f"
    write_atomic(file, "grün \udcff")
    assert file.read_text(encoding="utf-8") == "grün \\udcff"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyError("x")])
def test_what_lay_there_stays_where_writing_fails(tmp_path, error):
    place = tmp_path / "model.npz"
    place.write_text("old")

    def write():
        with whole(place) as beside:
            beside.write_text("half")
            raise error

    with pytest.raises(type(error), match=r"x|No space left on device: .*model\.npz"):
        write()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("model.npz", "old")]


def test_a_file_takes_the_place_of_another_when_it_is_whole(tmp_path):
    place = tmp_path / "model.npz"
    place.write_text("old")
    with whole(place) as beside:
        beside.write_text("new")
        assert beside.name == place.name
        assert place.read_text() == "old"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("model.npz", "new")]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "latest").symlink_to("first")
    for text in ("old", "new"):
        with whole(tmp_path / "latest") as beside:
            beside.write_text(text)
    write_atomic(tmp_path / "latest", "newer")
    assert (tmp_path / "latest").is_symlink()
    assert (tmp_path / "first").read_text() == "newer"


def test_a_pipe_is_written_to(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with whole(pipe) as beside:
        beside.write_text("new")
    reader.join()
    assert read == ["new"]
    assert pipe.is_fifo()


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    def write(place):
        with whole(place) as beside:
            beside.write_text("new")

    with pytest.raises(FileNotFoundError, match=r"no/model\.npz'$"):
        write(tmp_path / "no" / "model.npz")
    (tmp_path / "folder" / "more").mkdir(parents=True)
    with pytest.raises(OSError, match=r"folder'$"):
        write(tmp_path / "folder")


def test_folders_are_looked_at_before_anything_is_written(tmp_path):
    require_writable(tmp_path / "not" / "there")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        require_writable(tmp_path / "file" / "below")
    with pytest.raises(OSError, match="/proc"):
        require_writable(Path("/proc"))


def test_what_is_printed_behind_a_file_depends_on_no_file():
    said = []

    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "page")

    with (
        pytest.raises(OSError, match="No space left on device: 'page'"),
        written_before(full) as got,
    ):
        said.append(got)
    assert said == [None]
    with written_before(lambda: ["page"]) as got:
        said.append(got)
    assert said == [None, ["page"]]


def test_a_reader_who_has_seen_enough_hides_no_file_that_cannot_be_written():
    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space"), written_before(full):
        raise BrokenPipeError
    with pytest.raises(BrokenPipeError), written_before(list):
        raise BrokenPipeError
    with pytest.raises(KeyError), written_before(full):
        raise KeyError


def test_other_troubles_than_those_named_are_raised_at_once():
    def broken():
        raise KeyError("x")

    with pytest.raises(KeyError), written_before(broken):
        pytest.fail("nothing is printed")
    said = []
    with pytest.raises(KeyError), written_before(broken, (KeyError,)):
        said.append("printed")
    assert said == ["printed"]
