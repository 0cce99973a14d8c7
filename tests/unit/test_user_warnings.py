"""Warnings point at the line of a user's that led to them."""

import contextlib
import inspect
import threading
import warnings

import pytest

from mschedx import user_warnings
from mschedx.user_warnings import warn_user

INSIDE = """
@contextlib.contextmanager
def opened():
    deeper()
    yield

def deeper():
    warn_user("it is so", FutureWarning)
"""


@pytest.fixture
def opened():
    """A function that is the package's, as far as the name of its file goes."""
    scope = {"contextlib": contextlib, "warn_user": warn_user}
    exec(compile(INSIDE, user_warnings.__file__, "exec"), scope)
    return scope["opened"]


def test_frames_of_the_package_and_of_a_with_statement_are_passed_over(opened):
    line = inspect.currentframe().f_lineno + 1
    with pytest.warns(FutureWarning, match="it is so") as said, opened():
        pass
    assert [(one.filename, one.lineno) for one in said] == [(__file__, line)]


def test_a_line_warns_once_and_another_one_again():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for _ in range(3):
            warn_user("twice")
        warn_user("twice")
    assert [one.filename for one in said] == [__file__] * 2
    assert said[0].lineno < said[1].lineno


def test_a_thread_of_the_packages_own_has_no_such_line():
    thread = threading.Thread(target=warn_user, args=("from a thread",))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        thread.start()
        thread.join()
    assert [one.filename for one in said] == [user_warnings.__file__]
