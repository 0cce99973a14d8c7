"""Kernels of a workload timed beside NumPy, torch and what the cores can do at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mschedx.measure.timing import numpy_dtype
from mschedx.workloads import Workload

from .fair import Timer, bound, time_all, timed
from .torch_process import TorchProcess
from .vendor import inputs, numpy_call

if TYPE_CHECKING:
    from mschedx.hardware.peak import PeakKernel

PEAK = "peak"
"""What the kernel of multiply-adds is called among the others."""


@dataclass(frozen=True)
class BesideVendor:
    """What one call of each takes.

    Attributes
    ----------
    seconds : dict of str to float
        The least of the rounds: kernels in their order, then "NumPy" and "torch" where these have
        a form of the workload.
    peak_flops : float or None
        FLOP/s of the peak kernel, timed among them; None without one.
    """

    seconds: dict[str, float]
    peak_flops: float | None


def compared(
    workload: Workload,
    kernels: Mapping[str, Callable[..., Any]],
    *,
    peak: PeakKernel | None = None,
    torch: TorchProcess | None = None,
) -> BesideVendor:
    """Time compiled kernels of a workload in turn, on the same inputs and on all cores.

    Parameters
    ----------
    workload : Workload
    kernels : mapping of str to callable
        Compiled TVM functions of the workload's parameters.
    peak : PeakKernel, optional
    torch : TorchProcess, optional
        Has torch and NumPy take turns too.
    """
    arrays = inputs(workload)
    out = list(workload.func().params)[-1]
    zeros = np.zeros([int(d) for d in out.shape], numpy_dtype(str(out.dtype)))
    calls = {name: bound(kernel, [*arrays, zeros]) for name, kernel in kernels.items()}
    if peak is not None:
        calls[PEAK] = peak.call()
    others: dict[str, Timer | None] = {}
    if torch is not None:
        in_numpy = numpy_call(workload, arrays)
        others = {"NumPy": in_numpy and partial(timed, in_numpy), "torch": torch.timer(workload)}
    timings = time_all(calls, {name: timer for name, timer in others.items() if timer})
    seconds = {name: timing.min_s for name, timing in timings.items()}
    return BesideVendor(seconds, None if peak is None else peak.flops / seconds.pop(PEAK))
