"""Calls whose kernels use so many cores, whatever the thread that makes them has run before."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from .threads import use_cores

_T = TypeVar("_T")


class Pool:
    """Runs TVM's kernels on a number of cores.

    TVM's pools of threads belong to the thread that calls, and cannot grow. So a call runs in its
    own thread where the pool there has the cores, or gets them; where it was started with fewer, or
    was left behind by a fork, in a thread that is kept for such calls.

    Parameters
    ----------
    cores : int, optional
        When None what :func:`~mschedx.compat.use_cores` takes then.
    """

    def __init__(self, cores: int | None = None) -> None:
        self._cores = cores
        self._begin()

    def _begin(self) -> None:
        """Know no thread: in a new process those of another one are gone."""
        self._process = os.getpid()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._apart: ThreadPoolExecutor | None = None

    def run(self, function: Callable[..., _T], *args: Any) -> _T:
        """Call a function that runs kernels.

        Raises
        ------
        RuntimeError
            If a new thread's pool has too few cores, too.
        """
        if self._process != os.getpid():
            self._begin()
        if self._is_enough():
            return function(*args)
        with self._lock:
            if self._apart is None:
                self._apart = ThreadPoolExecutor(1, "mschedx-kernel", use_cores, (self._cores,))
        return self._apart.submit(function, *args).result()

    def _is_enough(self) -> bool:
        """Whether the calling thread's pool has the cores."""
        if not hasattr(self._local, "enough"):
            try:
                use_cores(self._cores)
            except RuntimeError:  # its pool has too few threads, or none after a fork
                self._local.enough = False
            else:
                self._local.enough = True
        return self._local.enough
