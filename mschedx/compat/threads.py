"""How many cores TVM's kernels use.

TVM's thread pool by itself starts too few threads, or binds them all to one core.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from mschedx.cgroups import quota

_T = TypeVar("_T")

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
    if not isinstance(cores, int) or cores < 1:
        raise ValueError(f"cores must be an integer of at least 1, got {cores!r}")
    count = str(cores)
    return {
        "TVM_NUM_THREADS": count,
        "TVM_BIND_THREADS": "0",
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
        At least 1; all that the process may use when None.

    Returns
    -------
    int
        `cores`.

    Raises
    ------
    RuntimeError
        If this thread has already run a parallel kernel with fewer threads: TVM gives every
        thread a pool at its first use, which cannot grow. :func:`on_cores` then helps.
    """
    cores = available_cores() if cores is None else cores
    wanted = cores_environment(cores)
    os.environ["TVM_NUM_THREADS"] = wanted["TVM_NUM_THREADS"]
    os.environ["TVM_BIND_THREADS"] = wanted["TVM_BIND_THREADS"]
    import tvm.runtime  # noqa: F401
    import tvm_ffi

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
    return cores


def on_cores(cores: int | None, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """Call `function` in a new thread whose TVM kernels use `cores` cores, and return its result.

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
