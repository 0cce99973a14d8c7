"""Time torch in a process of its own.

Torch's OpenMP workers spin between parallel regions only while all OpenMP threads of the process
fit its cores, and share a core with the caller otherwise: beside TVM's pools, and after torch was
called from several threads, a convolution read half its rate for the rest of the process.
"""

from __future__ import annotations

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from mschedx.workloads import Workload

from . import fair
from .vendor import inputs, torch_call


class TorchProcess:
    """A process that calls torch's form of workloads, on all cores; a context manager.

    It starts with the first call of :meth:`timer`, which takes the seconds of importing torch, and
    again with the next call where it has died, for lack of memory, say.
    """

    def __init__(self) -> None:
        self._pool = _pool()

    def __enter__(self) -> TorchProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def timer(self, workload: Workload, seed: int = 0) -> fair.Timer | None:
        """Timer of a workload on the inputs of `seed`; its seconds are inf once the process died.

        None where torch has no form of the workload, or the process dies of it.
        """
        pool = self._pool
        try:
            if not pool.submit(_prepare, workload, seed).result():
                return None
        except BrokenProcessPool:
            self._pool = _pool()
            return None
        return partial(self._seconds, pool, workload, seed)

    def _seconds(
        self, pool: ProcessPoolExecutor, workload: Workload, seed: int, number: int
    ) -> float:
        try:
            return pool.submit(_timed, workload, seed, number).result()
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = _pool()
            return math.inf


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _use_all_cores)


_calls: dict[tuple[Workload, int], fair.Call] = {}  # in that process: of one workload


def _use_all_cores() -> None:
    import torch

    from mschedx import compat

    torch.set_num_threads(compat.available_cores())


def _prepare(workload: Workload, seed: int) -> bool:
    call = torch_call(workload, inputs(workload, seed))
    _calls.clear()
    if call is not None:
        _calls[workload, seed] = call
    return call is not None


def _timed(workload: Workload, seed: int, number: int) -> float:
    return fair.timed(_calls[workload, seed], number)
