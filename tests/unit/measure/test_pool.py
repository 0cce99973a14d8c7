"""Workers: warm, shared, replaced when they die."""

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from pool_jobs import GIB, config, do, only

from mschedx.measure import failures, pool, processes
from mschedx.measure.pool import Job, shared_pool


@pytest.fixture(scope="module", autouse=True)
def end_workers():
    yield
    pool.shutdown()


def test_results_come_in_order_whatever_ends_first():
    naps = [0.2, 0.0, 0.1, 0.0]
    jobs = [(time.sleep, (nap,)) for nap in naps] + [(len, (range(i),)) for i in range(5)]
    assert [o.value for o in do(jobs)] == [None] * 4 + list(range(5))


def test_equal_configurations_share_processes():
    assert shared_pool(config()) is shared_pool(config())
    assert shared_pool(config()).pids() == shared_pool(config()).pids()
    assert not set(shared_pool(config()).pids()) & set(shared_pool(config(cores=2)).pids())


def test_workers_stay_warm_from_one_batch_to_the_next():
    pids = set(shared_pool(config()).pids())
    assert {o.value for o in do([(os.getpid, ())] * 6)} <= pids
    assert {o.value for o in do([(os.getpid, ())] * 6)} <= pids


def test_an_exception_is_an_outcome_and_the_worker_lives_on():
    pids = shared_pool(config()).pids()
    outcome = only(int, "not a number")
    assert outcome.error.startswith("run: ValueError")
    assert shared_pool(config()).pids() == pids


def fail_on_the_device():
    raise RuntimeError("CUDA: an illegal memory access was encountered")


def test_a_failure_on_the_device_costs_the_worker():
    pids = set(shared_pool(config()).pids())
    assert "illegal memory access" in only(fail_on_the_device).error
    assert len(pids & set(shared_pool(config()).pids())) == len(pids) - 1


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGILL", "SIGFPE", "SIGKILL"])
def test_a_crash_costs_one_job(name):
    before = set(shared_pool(config()).pids())
    kill = (os.kill, (0, getattr(signal, name)))  # pid 0: the worker's own process group
    crashed, *others = do([kill, (len, ("ab",)), (len, ("abc",))])
    assert crashed.error.splitlines()[0] == f"crash: {name}"
    assert [o.value for o in others] == [2, 3]
    assert len(before - set(shared_pool(config()).pids())) == 1


def test_the_last_words_of_a_crash_are_kept_and_are_its_own():
    script = "import os; os.write(2, b'LLVM ERROR: no'); os.abort()"
    assert only(exec, script).error == "crash: SIGABRT\nLLVM ERROR: no"
    do([(exec, ("import os; os.write(2, b'chatter of another job')",))] * 4)
    assert only(os.abort).error == "crash: SIGABRT"


def test_an_exit_is_a_crash_with_its_code():
    assert only(os._exit, 7).error == "crash: the worker exited with code 7"


def test_a_hanging_job_is_stopped_in_time():
    start = time.monotonic()
    outcome = only(exec, "while True: pass", timeout_s=0.5)
    assert outcome.error == "timeout: stopped after 0.5 s"
    assert time.monotonic() - start < 5
    assert only(len, "ab").value == 2


def test_a_job_that_eats_memory_is_stopped():
    outcome = only(exec, "x = [b'1' * (1 << 24) for _ in range(1 << 12)]", memory_bytes=GIB // 2)
    assert failures.reason(outcome.error) == "memory"
    assert "512 MiB" in outcome.error


def test_an_allocation_that_fails_is_of_that_category():
    assert failures.reason(only(bytearray, 1 << 60).error) == "memory"


def test_workers_are_recycled_by_jobs_and_by_growth():
    aged = [o.value for o in do([(os.getpid, ())] * 6, workers=None, recycle_after=2)]
    assert len(set(aged)) >= 3
    grow = "import builtins; builtins.leak = b'1' * (1 << 26)"
    small = {"recycle_growth_bytes": 1 << 25, "memory_bytes": 2 * GIB}
    pids = set(shared_pool(config(**small)).pids())
    do([(exec, (grow,))] * 2, **small)
    assert pids != set(shared_pool(config(**small)).pids())


def test_memory_does_not_grow_from_job_to_job():
    workers = shared_pool(config(workers=1, recycle_after=10**9))
    do([(len, ("a",))] * 200, workers=workers)
    before = workers._workers[0].rss()
    do([(len, ("a",))] * 1000, workers=workers)
    assert workers._workers[0].rss() - before < 4 << 20


def test_cores_of_a_worker_are_those_of_its_configuration():
    import tvm_ffi

    for cores in (1, 2):
        threads = only(_threads_of_tvm, cores=cores)
        assert threads.value == cores
    assert tvm_ffi is not None


def _threads_of_tvm() -> int:
    import tvm_ffi

    return tvm_ffi.get_global_func("runtime.NumThreads")()


def test_later_jobs_can_depend_on_earlier_outcomes():
    seen = []
    jobs = [lambda i=i: Job(len, ("x" * (i + sum(seen)),)) for i in range(4)]
    workers = shared_pool(config(workers=1))
    workers.map(jobs, kind="run", timeout_s=10, done=lambda _, outcome: seen.append(outcome.value))
    assert seen == [0, 1, 3, 7]


def test_an_initializer_runs_before_the_jobs_and_its_failure_is_an_error():
    import cloudpickle

    def good():
        os.environ["PREPARED"] = "yes"

    def bad():
        raise KeyError("no such intrinsic")

    assert only(os.getenv, "PREPARED", initializer=cloudpickle.dumps(good)).value == "yes"
    with pytest.raises(pool.WorkerStartError, match="no such intrinsic"):
        only(len, "a", initializer=cloudpickle.dumps(bad))


def test_what_is_no_text_in_the_search_path_is_passed_over(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path / "lib", b"lib"])
    pool.shutdown()  # what is asked for starts anew
    assert only(len, "abc").value == 3


@pytest.mark.parametrize("executable", ["", None])
def test_without_a_python_to_start_workers_with(monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(pool.WorkerStartError, match=r"expected sys\.executable to be the Python"):
        processes.Zygote("unused", [])


def test_the_session_survives_the_death_of_the_process_that_forks():
    doomed = config(cores=2)
    zygote = shared_pool(doomed)._zygote
    zygote.process.kill()
    zygote.process.wait()
    assert only(len, "abc", cores=2).value == 3


def test_a_batch_survives_the_death_of_the_process_that_forks():
    doomed = config(cores=2)
    assert only(len, "abc", cores=2).value == 3
    victim = shared_pool(doomed)._zygote.process
    jobs = [lambda: Job(len, ("a",)), lambda: Job(time.sleep, (1.0,)), lambda: Job(len, ("ab",))]
    threading.Timer(0.5, victim.kill).start()
    outcomes = pool.carry_out(doomed, jobs, kind="run", timeout_s=30)
    assert [outcome.value for outcome in outcomes] == [1, None, 2]
    assert victim.wait(timeout=5) == -signal.SIGKILL


def test_a_process_that_dies_as_a_pool_is_made_is_started_again(monkeypatch):
    monkeypatch.setattr(pool, "_PAUSE_S", 0.0)
    fork, victims = processes.Zygote.fork, []

    def doomed(zygote, *args):
        if not victims:
            victims.append(zygote)
            zygote.process.kill()
            zygote.process.wait()
            zygote.sock.shutdown(socket.SHUT_RDWR)
        return fork(zygote, *args)

    monkeypatch.setattr(processes.Zygote, "fork", doomed)
    jobs = [lambda: Job(len, ("abc",))]
    outcomes = pool.carry_out(config(recycle_after=7), jobs, kind="run", timeout_s=30)
    assert victims
    assert [outcome.value for outcome in outcomes] == [3]


def test_what_was_built_outlives_the_process_that_forks():
    assert only(len, "abc", cores=2).value == 3
    workers = shared_pool(config(cores=2))
    (directory,) = {workers.directory, shared_pool(config()).directory}
    workers._zygote.process.kill()
    workers._zygote.process.wait()
    assert only(os.path.exists, directory, cores=2).value is True
    assert shared_pool(config(cores=2)).directory == directory


def full(path):
    """Fail as on a full disk, but for the third time."""
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 3:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/built")
    return "built"


def test_what_the_machine_fails_is_done_again_and_the_rest_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_PAUSE_S", 0.0)
    seen = []
    jobs = [
        lambda: Job(len, ("a",)),
        lambda: Job(full, (tmp_path / "f",)),
        lambda: Job(len, ("ab",)),
    ]
    outcomes = pool.carry_out(
        config(), jobs, kind="build", timeout_s=30, done=lambda i, outcome: seen.append(i)
    )
    assert [outcome.value for outcome in outcomes] == [1, "built", 2]
    assert sorted(seen) == [0, 1, 2], "each is told of once"


@pytest.mark.parametrize(
    ("raise_it", "says"),
    [
        ("raise OSError(28, 'No space left on device', '/tmp/x')", "No space left.*'/tmp/x'"),
        ("raise OSError(24, 'Too many open files')", "Too many open files"),
        ("raise RuntimeError('ld: final link failed: No space left on device')", "final link"),
        ("from mschedx.measure.failures import MachineTrouble as M; raise M('no nvcc')", "no nvcc"),
    ],
)
def test_the_trouble_of_a_machine_is_raised_with_its_name(raise_it, says, monkeypatch):
    monkeypatch.setattr(pool, "_PAUSE_S", 0.0)
    jobs = [lambda: Job(exec, (raise_it,))]
    with pytest.raises(failures.MachineTrouble, match=f"machine: .*{says}"):
        pool.carry_out(config(), jobs, kind="build", timeout_s=30)


def test_a_process_without_file_handles_says_so():
    script = """
        import resource
        from mschedx.measure import failures, pool
        from mschedx.measure.pool import Job, PoolConfig
        pool._PAUSE_S = 0.0
        config = PoolConfig(workers=2, cores=1, memory_bytes=1 << 30)
        jobs = [lambda: Job(len, ("ab",))]
        assert pool.carry_out(config, jobs, kind="run", timeout_s=30)[0].value == 2
        pool.shutdown()
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (5, before[1]))
        try:
            pool.carry_out(config, jobs, kind="run", timeout_s=30)
        except failures.MachineTrouble as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        print(pool.carry_out(config, jobs, kind="run", timeout_s=30)[0].value)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    assert done.stdout == "machine: [Errno 24] Too many open files\n2\n", done.stderr


def test_workers_do_not_hold_torch():
    assert only(_loaded, "torch").value is False
    assert only(_loaded, "tvm").value is True


def _loaded(name: str) -> bool:
    return name in sys.modules


def test_threads_share_a_pool_safely():
    results = {}

    def use(index):
        results[index] = [o.value for o in do([(len, ("x" * index,))] * 5)]

    threads = [threading.Thread(target=use, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: [i] * 5 for i in range(4)}


SPOIL = """
import os, stat
for fd in range(3, 64):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.write(fd, b"x" * 64)
    except OSError:
        pass
"""


def test_an_answer_that_cannot_be_read_is_a_crash():
    assert failures.reason(only(exec, SPOIL).error) == "crash"
    assert only(len, "ab").value == 2


def test_an_interrupted_batch_leaves_the_pool_usable():
    workers = shared_pool(config())
    pids = set(workers.pids())

    def interrupt(*_):
        raise KeyboardInterrupt

    jobs = [lambda: Job(len, ("a",))] + [lambda: Job(time.sleep, (60,))] * 2
    with pytest.raises(KeyboardInterrupt):
        workers.map(jobs, kind="run", timeout_s=60, done=interrupt)
    assert only(len, "ab").value == 2
    assert not pids & set(workers.pids())
