import pytest

from mschedx.error_text import first_line, last_line


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (ValueError("one"), "one", "one"),
        (RuntimeError("\n  one \ntwo\n\nthree\n \n"), "one ", "three"),
        (ValueError(), "ValueError()", "ValueError()"),
        (TypeError(" \n"), "TypeError(' \\n')", "TypeError(' \\n')"),
        (KeyError(""), "''", "''"),
    ],
)
def test_an_error_always_says_something(error, first, last):
    assert (first_line(error), last_line(error)) == (first, last)
