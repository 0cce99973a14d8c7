"""Tuned kernels of a GPU against TVM's default search and cuBLAS / cuDNN."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensor_core
import tvm
from gpu_stages import Record
from tvm import te
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.target import Target

import mschedx
from mschedx.bench.compare.tuners import find_tuners
from mschedx.measure.timing import numpy_dtype, random_array
from mschedx.tune_result import TuneResult

WORKLOADS: dict[str, Callable[[], Any]] = {
    "f16_1024": tensor_core.WORKLOADS["f16"],
    "f16_2048": lambda: tensor_core.dense(2048, "float16", "float32"),
    "f16_f16_1024": lambda: tensor_core.dense(1024, "float16", "float16"),
    "bf16_1024": tensor_core.WORKLOADS["bf16"],
    "int8_1024": tensor_core.WORKLOADS["int8"],
    "conv2d_f16": tensor_core.WORKLOADS["conv2d"],
}
_LAST_ROUND_S = 90.0
"""Kept free for the round under way when tuning is told to stop, and for checking its winner."""
_REPEATS = 20
_REPEAT_MS = 20
_CAPTURED = 16
"""Calls of the vendor's kernel in one CUDA graph."""


@dataclass(frozen=True, slots=True)
class TableStage:
    """What is compared, on what, and where the tuning's folders are.

    Attributes
    ----------
    target : Target
    trials : int
    folder : Path
    tuners : tuple[str, ...]
        Names that ``mschedx compare`` knows.
    seeds : tuple[int, ...]
    names : list[str] or None
        Of `WORKLOADS`; None: all.
    """

    target: Target
    trials: int
    folder: Path
    tuners: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    names: list[str] | None = None

    @property
    def runs(self) -> list[str]:
        """Every tuner with every seed: its name, and ``@seed`` unless that is 0."""
        return [f"{name}@{seed}" if seed else name for seed in self.seeds for name in self.tuners]

    def keys(self) -> list[str]:
        """Tuning, then the final timing, of each workload."""
        whats = (*self.runs, f"final:{'+'.join(self.runs)}")
        return [
            f"{name}/{self.trials}/{what}" for name in self.names or WORKLOADS for what in whats
        ]

    def work(self, keys: list[str], left_s: float) -> list[Record]:
        """Tune, or time the winners; as a stage asks it to."""
        return [self._one(key, left_s) for key in keys]

    def _one(self, key: str, left_s: float) -> Record:
        name, _, what = key.split("/")
        if what.startswith("final:"):
            return {"key": key, **self.final(name)}
        result = self.tune(name, what, max(1.0, left_s - _LAST_ROUND_S))
        return {
            "key": key,
            "finished": not (result.timed_out or result.interrupted),
            "ok": result.verified,
            "trials": len(result.history),
            "wall_s": round(result.wall_s, 1),
            "search_latency_s": result.latency_s,
            "failures": result.failures,
            "notes": list(result.notes),
        }

    def tune(
        self, name: str, run: str, timeout_s: float | None = None, *, verify: bool = True
    ) -> TuneResult:
        """Tune on in the folder of a workload and run, through ``ms.tune_tir``."""
        tuner, _, seed = run.partition("@")
        return mschedx.tune(
            te.create_prim_func(WORKLOADS[name]()),
            self.target,
            trials=self.trials,
            work_dir=self.folder / f"{name}-{run}",
            seed=int(seed or 0),
            progress=False,
            timeout_s=timeout_s,
            verify=verify,
            **find_tuners(tuner)[0].parts(),
        )

    def final(self, name: str) -> Record:
        """Time the winners and the vendor's kernel in turn, twice; medians in seconds."""
        calls: dict[str, Callable[[], float]] = {}
        for run in self.runs:
            result = self.tune(name, run, verify=False)
            if result.schedule is not None:
                calls[run] = tvm_timer(result)
        called, vendor = vendor_timer(name)
        if vendor is not None:
            calls["vendor"] = vendor
        seconds: dict[str, list[float]] = {key: [] for key in calls}
        for key in [*calls, *calls]:
            seconds[key].append(calls[key]())
        return {
            "ok": True,
            "latency_s": {key: min(times) for key, times in seconds.items()},
            "tflops": {key: result.flops / min(times) / 1e12 for key, times in seconds.items()},
            "vendor_call": called,
        }


def tvm_timer(result: TuneResult) -> Callable[[], float]:
    """Give what times a winner with TVM's time_evaluator (CUDA events), on random inputs."""
    rng, device = np.random.default_rng(0), tvm.runtime.device_from_target(result.target)
    arguments = []
    for argument in ArgInfo.from_entry_func(result.mod, remove_preproc=False):
        _, dtype, shape = argument.as_json()
        array = random_array(str(dtype), tuple(map(int, shape)), rng, 2)
        arguments.append(tvm.runtime.tensor(array, device=device))
    evaluate = result.compile().mod.time_evaluator(
        "main", device, number=1, repeat=_REPEATS, min_repeat_ms=_REPEAT_MS
    )
    return lambda: float(statistics.median(evaluate(*arguments).results))


def vendor_timer(name: str) -> tuple[str, Callable[[], float] | None]:
    """Give what is called and what times it with CUDA events; None, and why, without CUDA."""
    import torch

    if not torch.cuda.is_available():
        return "none: this torch has no CUDA", None
    torch.backends.cudnn.benchmark = True
    inputs = [_torch_input(tensor) for tensor in WORKLOADS[name]()[:2]]
    if name == "conv2d_f16":
        x = inputs[0].permute(0, 3, 1, 2)
        weight = inputs[1].permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        return (
            "torch.conv2d, channels_last, float16 result (ours is float32)",
            _torch_timer(lambda: torch.conv2d(x, weight, padding=1)),
        )
    a, b = inputs
    if a.dtype == torch.int8:
        return "torch._int_mm", _torch_timer(lambda: torch._int_mm(a, b))
    if name == "f16_f16_1024":
        return "torch.mm", _torch_timer(lambda: torch.mm(a, b))
    return (
        "torch.mm, out_dtype=float32",
        _torch_timer(lambda: torch.mm(a, b, out_dtype=torch.float32)),
    )


def _torch_input(tensor: Any) -> Any:
    import torch

    dtype, shape = str(tensor.dtype), tuple(map(int, tensor.shape))
    array = random_array(dtype, shape, np.random.default_rng(0), 2)
    if array.dtype == numpy_dtype("bfloat16"):
        return torch.from_numpy(array.astype(np.float32)).to("cuda", torch.bfloat16)
    return torch.from_numpy(array).cuda()


def _torch_timer(call: Callable[[], Any]) -> Callable[[], float]:
    """Time calls of a captured graph: Python launches small kernels slower than they run."""
    import torch

    for _ in range(3):
        call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(_CAPTURED):
            call()

    def timed(number: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(number):
            graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / (number * _CAPTURED)

    def measure() -> float:
        timed(1)
        number = max(1, int(_REPEAT_MS / 1e3 / (timed(1) * _CAPTURED)) + 1)
        return statistics.median(timed(number) for _ in range(_REPEATS))

    return measure
