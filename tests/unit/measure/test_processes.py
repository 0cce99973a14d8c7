"""Processes of workers: none outlives its session, and all that is told of them arrives."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from pool_jobs import config, do, only

from mschedx.measure import failures, pool, processes
from mschedx.measure.pool import shared_pool


@pytest.fixture(scope="module", autouse=True)
def end_workers():
    yield
    pool.shutdown()


FORKS = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
    time.sleep(600)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are found as Linux shows them")
def test_what_leaves_its_session_ends_with_its_worker(monkeypatch):
    mark = f"marked-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("MSCHEDX_TEST_MARK", mark)
    doomed = config(recycle_after=77)  # processes of its own, started with the mark
    pool.shutdown()
    assert failures.reason(only(exec, FORKS, timeout_s=1.0, recycle_after=77).error) == "timeout"
    known = {*shared_pool(doomed).pids(), shared_pool(doomed)._zygote.process.pid}
    end = time.monotonic() + 10
    while (left := set(marked(mark)) - known) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


def marked(mark):
    """Processes with this text in their environment, this one left out."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                if mark.encode() in file.read():
                    yield int(entry)


SESSION = """
    import os, signal, sys, time
    from mschedx.measure import pool
    from mschedx.measure.pool import Job, PoolConfig, shared_pool
    # A shell's background jobs, and what they start, ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    workers = shared_pool(PoolConfig(workers=2, cores=1, memory_bytes=1 << 30))
    pids = workers.pids()
    print(*pids, workers._zygote.process.pid, workers.directory, flush=True)
    jobs = [lambda: Job(exec, ("while True: pass",))] * 2
    workers.map(jobs, kind="run", timeout_s=600)
"""


def start_session(tmp_path):
    session = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SESSION)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    *pids, directory = session.stdout.readline().split()
    time.sleep(0.3)  # let the endless jobs begin
    return session, [int(pid) for pid in pids], directory


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_nothing_outlives_the_session(tmp_path, name):
    session, pids, directory = start_session(tmp_path)
    assert all(alive(pid) for pid in pids)
    # To the whole foreground group, as a terminal does on Ctrl-C.
    os.killpg(session.pid, getattr(signal, name))
    session.wait(timeout=20)
    end = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in pids if alive(pid)]
    assert not os.path.exists(directory)
    assert not os.listdir(tmp_path)


def test_a_session_that_ends_during_start_up_leaves_nothing(tmp_path):
    script = """
        import tempfile, time
        import cloudpickle
        from mschedx.measure.processes import Zygote
        zygote = Zygote(tempfile.mkdtemp(), [cloudpickle.dumps(lambda: time.sleep(3600))])
        print(zygote.process.pid, flush=True)
        time.sleep(3600)
    """
    session = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    pid = int(session.stdout.readline())
    session.kill()
    session.wait()
    end = time.monotonic() + 20
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(pid)
    assert not os.listdir(tmp_path)


@pytest.fixture
def little_room(monkeypatch):
    """Start processes that can say a few things until somebody listens, not some hundred."""
    pair = socket.socketpair

    def small():
        ours, theirs = pair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        return ours, theirs

    pool.shutdown()
    monkeypatch.setattr(socket, "socketpair", small)
    monkeypatch.setattr(processes, "_START_LIMIT_S", 20.0)
    yield
    pool.shutdown()


def test_what_is_told_of_stopped_workers_fills_no_socket(little_room):
    outcomes = do([(len, ("ab",))] * 60, recycle_after=1)
    assert [outcome.value for outcome in outcomes] == [2] * 60
    zygote = shared_pool(config(recycle_after=1))._zygote
    assert len(zygote._living) == 2
    assert not zygote._ended, "nobody will ask how those ended"


def test_how_a_worker_died_is_known_after_many_were_stopped(little_room):
    jobs = [(len, ("ab",))] * 20 + [(os.kill, (0, signal.SIGSEGV))]
    assert do(jobs, recycle_after=1)[-1].error.splitlines()[0] == "crash: SIGSEGV"


def test_threads_that_start_the_processes_together_wait_for_the_same(monkeypatch):
    monkeypatch.setattr(processes, "_START_LIMIT_S", 30.0)
    pool.shutdown()
    found = {}

    def use(cores):
        found[cores] = only(len, "abc", cores=cores).value

    begin = time.monotonic()
    threads = [threading.Thread(target=use, args=(cores,)) for cores in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {1: 3, 2: 3}
    assert time.monotonic() - begin < 25.0
