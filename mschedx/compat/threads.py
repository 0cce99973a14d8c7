"""How many cores TVM's kernels use.

TVM's thread pool by itself starts too few threads, or binds them all to one core.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mschedx.cgroups import quota
from mschedx.ranges import require_count

_T = TypeVar("_T")

_COUNT, _BIND = "TVM_NUM_THREADS", "TVM_BIND_THREADS"

SETTLE_S = 0.25
"""Pause before timing, for thread pools that ran before to stop spinning.

TVM's and OpenBLAS's workers spin for up to 0.2 s after their last task. Measured on 2 cores: after
TVM kernels NumPy reads 67 GFLOP/s of a 1024³ GEMM with a pause of 0.02 s, with 0.2 s 204, and the
first 0.12 s of a network in a new thread, whose pool is another, take twice as long.
"""


def available_cores() -> int:
    """Number of cores that this process may use: by its affinity, and by a container's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    limit = quota()
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


class _Pool(threading.local):
    """What is known of the calling thread's pool of TVM's.

    Attributes
    ----------
    begun : bool
        Whether `use_cores` has started it.
    given : bool
        Whether it has what `use_cores` was last asked for.
    lost : bool
        Whether its threads are gone: a fork takes the calling thread along, and no others.
    """

    begun, given, lost = False, False, False


_pool = _Pool()


def _lose_pool() -> None:
    _pool.lost = _pool.begun


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lose_pool)


class _Count:
    """What stands in ``TVM_NUM_THREADS``: a user's wish, or what `use_cores` wrote over it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ours: str | None = None
        self._before: str | None = None

    def stated(self) -> str | None:
        """What the user, or who started this process, wrote there."""
        with self._lock:
            return self._stated()

    def _stated(self) -> str | None:
        found = os.environ.get(_COUNT)
        return self._before if found is not None and found == self._ours else found

    def write(self, count: str) -> None:
        with self._lock:
            self._before = self._stated()
            self._ours = os.environ[_COUNT] = count


_count = _Count()


def stated_cores() -> int | None:
    """Number of cores that the user states in ``TVM_NUM_THREADS``; None where that says nothing.

    What :func:`use_cores` wrote there is not taken for it.
    """
    text = (_count.stated() or "").strip()
    return int(text) or None if text.isdecimal() else None


def cores_environment(cores: int) -> dict[str, str]:
    """Environment variables with which a new process really uses `cores` cores.

    By itself TVM starts one thread for every two cores, and binds its threads to the first cores
    of the machine even when other processes are bound there too; OpenMP and BLAS libraries in the
    same process must agree on the number.

    Parameters
    ----------
    cores : int
        At least 1.
    """
    count = str(require_count("cores", cores))
    return {
        _COUNT: count,
        _BIND: "0",
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
    }


def use_cores(cores: int | None = None) -> int:
    """Make TVM kernels that the calling thread runs use `cores` cores, from now on.

    Sets ``TVM_NUM_THREADS`` and ``TVM_BIND_THREADS`` for the process: threads (and processes)
    that start later follow too.

    Parameters
    ----------
    cores : int, optional
        At least 1. When None as many as the user states in ``TVM_NUM_THREADS``, and all that the
        process may use where that says nothing or more.

    Returns
    -------
    int
        How many they are.

    Raises
    ------
    RuntimeError
        If this thread has already run a parallel kernel with fewer threads: TVM gives every
        thread a pool at its first use, which cannot grow. Also in a process that was forked by a
        thread with a pool, which waits for ever for threads that were left behind.
        :func:`on_cores` then helps.
    """
    if _pool.lost:
        raise RuntimeError(
            "TVM's thread pool of this thread has no threads in this process, which was forked "
            "after the pool was started. Run the work through mschedx.compat.on_cores()."
        )
    if cores is None:
        cores = min(stated_cores() or available_cores(), available_cores())
    cores = require_count("cores", cores)
    wanted = cores_environment(cores)
    _count.write(wanted[_COUNT])
    os.environ[_BIND] = wanted[_BIND]
    import tvm.runtime  # noqa: F401
    import tvm_ffi

    _pool.begun, _pool.given = True, False
    found = tvm_ffi.get_global_func("runtime.NumThreads")()
    if found > cores:  # a pool can shrink
        tvm_ffi.get_global_func("runtime.config_threadpool")(0, cores)
        found = tvm_ffi.get_global_func("runtime.NumThreads")()
    if found < cores:
        raise RuntimeError(
            f"asked for {cores} cores, but TVM's thread pool of this thread was started with "
            f"{found} thread(s) before and cannot grow. Call mschedx.compat.use_cores() before "
            "the first kernel runs, or run the work through mschedx.compat.on_cores()."
        )
    _pool.given = True
    return cores


def on_cores(cores: int | None, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """Call `function` in a new thread whose TVM kernels use `cores` cores, and return its result.

    None for `cores` is what it is for :func:`use_cores`.
    Works whatever the calling thread has run before, since TVM's pools belong to threads.
    """
    result: list[_T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            use_cores(cores)
            result.append(function(*args, **kwargs))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="mschedx-on-cores", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


class Caller:
    """Calls functions where TVM's kernels have their cores, whichever thread asks.

    That is the asking thread where its pool has so many or is started now, and one of the caller's
    own else: a pool cannot grow, and it does not outlive a fork.

    Parameters
    ----------
    cores : int, optional
        At least 1. When None as many as :func:`use_cores` gave the asking thread before, and what
        it gives for None where it has not been called there.

    Raises
    ------
    ValueError
        For cores that are no whole number of at least 1.
    """

    def __init__(self, cores: int | None = None) -> None:
        self._cores = None if cores is None else require_count("cores", cores)
        self._begin()

    def _begin(self) -> None:
        """Know no thread: in a new process those of another one are gone."""
        self._process = os.getpid()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._apart: ThreadPoolExecutor | None = None

    def call(self, function: Callable[..., _T], *args: Any) -> _T:
        """Call a function, wherever its kernels have their cores."""
        if self._process != os.getpid():
            self._begin()
        if self._is_here():
            return function(*args)
        with self._lock:
            if self._apart is None:
                self._apart = ThreadPoolExecutor(
                    1, "mschedx-calls", initializer=use_cores, initargs=(self._cores,)
                )
        return self._apart.submit(function, *args).result()

    def _is_here(self) -> bool:
        """Whether kernels of this thread have them; found out at its first call."""
        if not hasattr(self._local, "here"):
            asked_for = self._cores is None and _pool.given and not _pool.lost
            self._local.here = asked_for or self._can_be_had()
        return self._local.here

    def _can_be_had(self) -> bool:
        try:
            use_cores(self._cores)
        except RuntimeError:  # its pool has too few threads, or none after a fork
            return False
        return True
