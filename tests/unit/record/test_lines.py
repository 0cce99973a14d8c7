import errno
from pathlib import Path

import pytest

from mschedx.record import lines
from mschedx.record.lines import append_lines, parse, read_lines


def test_a_line_is_appended_on_a_line_of_its_own(tmp_path):
    file = tmp_path / "f"
    for cut in (b"", b'{"a": 1}', b'{"a": 1}\n', b'{"a": '):
        file.write_bytes(cut)
        append_lines(file, [{"b": 2}, 3])
        assert [line.content for line in read_lines(file)][-2:] == [{"b": 2}, 3]
        assert file.read_bytes().startswith(cut)
        assert file.read_bytes().endswith(b'{"b": 2}\n3\n')


def test_lines_are_numbered_as_they_stand_broken_ones_included(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b'1\n\n"a\x0bb"\n%$#@\n[2]\n  \n{"c": 1')
    lines = read_lines(file)
    assert [line.number for line in lines] == [0, 1, 2, 3, 4]
    assert [line.content for line in lines] == [1, None, None, [2], None]


def test_separators_of_other_alphabets_end_no_line(tmp_path):
    file = tmp_path / "f"
    file.write_text('"a\u2028b\x85c"\n2\n', encoding="utf-8")
    assert [line.content for line in read_lines(file)] == ["a\u2028b\x85c", 2]


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "-Infinity", "[" * 100_000, "\ufffd", "1 2"])
def test_what_is_not_json_is_broken(text):
    assert parse(text) is None


def test_no_file_has_no_lines(tmp_path):
    assert read_lines(tmp_path / "none") == []


def test_a_disk_that_is_full_is_named():
    with pytest.raises(OSError, match="No space left on device: '/dev/full'") as caught:
        append_lines(Path("/dev/full"), [1])
    assert caught.value.errno == errno.ENOSPC


def test_blanks_at_the_end_are_no_line_that_may_still_grow(tmp_path):
    path, reader = tmp_path / "x.jsonl", lines.Reader()
    path.write_text("1\n2\n ")
    assert [line.content for line in reader.lines(path)] == [1, 2]
    path.write_text("1\n2\n")
    assert [line.content for line in reader.lines(path)] == [1, 2]


def test_a_reader_parses_what_was_added_and_notices_what_was_changed(tmp_path, monkeypatch):
    path, parsed = tmp_path / "x.jsonl", []
    whole = lines.parse
    monkeypatch.setattr(lines, "parse", lambda text: parsed.append(text) or whole(text))
    reader = lines.Reader()
    assert reader.lines(path) == []
    path.write_text("1\n2\n")
    assert [line.content for line in reader.lines(path)] == [1, 2]
    with path.open("a") as file:
        file.write("3\n[4")
    found = reader.lines(path)
    assert [(line.number, line.content) for line in found] == [(0, 1), (1, 2), (2, 3), (3, None)]
    with path.open("a") as file:
        file.write("]\n")
    assert [line.content for line in reader.lines(path)] == [1, 2, 3, [4]]
    assert parsed == [b"1", b"2", b"3", b"[4", b"[4]"]
    path.write_text("2\n3\n")
    assert [line.content for line in reader.lines(path)] == [2, 3]
    path.unlink()
    assert reader.lines(path) == []
