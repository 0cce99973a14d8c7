import errno
import fcntl
import multiprocessing
import os
import subprocess
import sys

import pytest

from mschedx.record.errors import WorkDirError
from mschedx.record.lock import LOCK, locked, try_lock


def entered(directory):
    with locked(directory, "tuned into", "wait for it"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_and_nobody_else(tmp_path, monkeypatch, number):
    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    says = rf"locks do not work on this file system \({os.strerror(number)}\): use a local disk"
    with pytest.raises(WorkDirError, match=says) as caught:
        entered(tmp_path)
    assert "process" not in str(caught.value)
    with open(tmp_path / "file", "a") as file, pytest.raises(OSError, match=says):
        try_lock(file)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_a_lock_that_another_holds_is_refused(tmp_path, monkeypatch, number):
    def held(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", held)
    with pytest.raises(WorkDirError, match="is being tuned into by another process; wait for it"):
        entered(tmp_path)


def test_a_lock_that_was_given_back_names_nobody(tmp_path):
    entered(tmp_path)
    assert (tmp_path / LOCK).read_text() == ""


def test_a_process_that_has_ended_is_not_named(tmp_path):
    """It was killed with the lock, and who has it now has not signed yet."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / LOCK).write_text(f"process {ended.pid}\n")
    with open(tmp_path / LOCK, "a+") as other:
        assert try_lock(other)
        with pytest.raises(WorkDirError, match="by another process; wait for it"):
            entered(tmp_path)


def keep(directory, held, release):
    with locked(directory, "tuned into", "wait for it"):
        held.set()
        release.wait(60)


def test_a_process_that_holds_it_is_named(tmp_path):
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    owner = context.Process(target=keep, args=(tmp_path, held, release))
    owner.start()
    try:
        assert held.wait(60)
        with pytest.raises(WorkDirError, match=f"by process {owner.pid}; wait for it"):
            entered(tmp_path)
    finally:
        release.set()
        owner.join()
