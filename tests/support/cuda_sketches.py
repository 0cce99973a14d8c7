"""Sketches of the benchmarks' CUDA workloads, analysed once per process."""

from __future__ import annotations

from functools import cache

from cuda_workloads import TARGET, WORKLOADS
from tvm.target import Target

from mschedx.space import Sketch


@cache
def cuda_sketches(name: str) -> tuple[Sketch, ...]:
    """The sketches of a workload on the A100 that the emulator stands for."""
    return tuple(WORKLOADS[name].sketches(Target(TARGET)))
