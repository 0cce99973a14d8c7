"""Time torch in a process of its own.

Torch's OpenMP workers spin between parallel regions only while all OpenMP threads of the process
fit its cores, and share a core with the caller otherwise: beside TVM's pools, and after torch was
called from several threads, a convolution read half its rate for the rest of the process.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from mschedx.workloads import Workload

from . import fair
from .vendor import inputs, torch_call


class TorchProcess:
    """A process that calls torch's form of workloads, on all cores; a context manager.

    It starts with the first call of :meth:`timer`, which takes the seconds of importing torch.
    """

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _use_all_cores)

    def __enter__(self) -> TorchProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def timer(self, workload: Workload, seed: int = 0) -> fair.Timer | None:
        """Timer of a workload on the inputs of `seed`; None where torch has no form of it."""
        if not self._pool.submit(_prepare, workload, seed).result():
            return None
        return lambda number: self._pool.submit(_timed, workload, seed, number).result()


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
