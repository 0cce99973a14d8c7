"""Whole networks at batch 1 against other runtimes, in turn, on the same threads.

    python benchmarks/networks.py                       # the four of the table, 16 trials a task
    python benchmarks/networks.py resnet18 dcgan --trials-per-task 8 --work-dir nets
    python benchmarks/networks.py --trials-per-task 0   # nothing measured
    python benchmarks/networks.py --untuned --repeats 3 # that beside it, timed in new processes
    python benchmarks/networks.py resnet50 --stock      # TVM's own pipeline, as many trials
    python benchmarks/networks.py resnet50 --kills 10   # killed at random, and resumed

Every contender runs in a process of its own on all cores that this one may use; what is not
installed is left out. Outputs are compared with torch's first. Run it on an idle machine, with
Python's bytecode compiled as pip leaves it: `PYTHONDONTWRITEBYTECODE` costs every new process
seconds of compiling torch's modules.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from typing import Any

import numpy as np

NETWORKS = ("resnet50", "mobilenet_v2", "bert_base", "vit_b_32")
NEEDS = {
    "torch": "torch",
    "torch.compile": "torch",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
}
_call: Any = None  # in a contender's process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--trials-per-task", type=int, default=16)
    parser.add_argument("--work-dir", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=11, help="turns of each contender")
    parser.add_argument("--repeats", type=int, default=1, help="the same in new processes")
    parser.add_argument("--untuned", action="store_true", help="what nothing measured gives, too")
    parser.add_argument("--stock", action="store_true", help="TVM's static_shape_tuning_pipeline")
    parser.add_argument("--kills", type=int, default=0, help="kill tuning so often, then finish")
    parser.add_argument("--warm", action="store_true", help="time tasks with all in caches")
    parser.add_argument("--profile", action="store_true", help="each operator in its place")
    args = parser.parse_args()
    folder = args.work_dir or Path(tempfile.mkdtemp(prefix="mschedx-networks-"))
    if not has_bytecode("torch"):
        print(
            "torch's modules are not compiled to bytecode: imports are timed with that", flush=True
        )
    for name in args.networks:
        if args.kills:
            print(killed(name, args.trials_per_task, folder / "killed" / name, args.kills))
        else:
            compare(name, args, folder)


def compare(name: str, args: argparse.Namespace, folder: Path) -> None:
    """Tune one network, time it and its peers in turn, print a row each."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"{name}.so"
    work_dir = folder / (f"{name}-warm" if args.warm else name)
    tuned = in_process(tune, name, args.trials_per_task, work_dir, library, args.profile, args.warm)
    print(f"\n{name}: {json.dumps(tuned)}", flush=True)
    contenders = {"mschedx": (use_library, (name, str(library)))}
    if args.untuned:
        untuned = folder / f"{name}-untuned.so"
        found = in_process(tune, name, 0, folder / f"{name}-untuned", untuned, False, args.warm)
        print(f"{name}: nothing measured took {found['wall_s']} s", flush=True)
        contenders["nothing measured"] = (use_library, (name, str(untuned)))
    if args.stock:
        stock = folder / f"{name}-stock.so"
        trials = tuned["trials"]
        wall = in_process(tune_stock, name, trials, folder / f"{name}-stock", stock)
        print(f"{name}: TVM's pipeline took {wall:.0f} s for {trials} trials", flush=True)
        contenders["TVM's pipeline"] = (use_library, (name, str(stock)))
    contenders |= {
        peer: (use_peer, (name, peer)) for peer, needs in NEEDS.items() if find_spec(needs)
    }
    for _ in range(args.repeats):
        print_row(name, contenders, args.rounds)


def has_bytecode(package: str) -> bool:
    """Whether a package has been compiled; True where it is not installed."""
    spec = find_spec(package)
    return spec is None or Path(cache_from_source(str(spec.origin))).exists()


def print_row(name: str, contenders: dict[str, Any], rounds: int) -> None:
    """Time all contenders in turn, each in a new process."""
    pools = {peer: new_process() for peer in contenders}
    try:
        errors = {
            peer: pools[peer].submit(prepare, make, name, arguments).result()
            for peer, (make, arguments) in contenders.items()
        }
        timings = in_turn(pools, rounds)
    finally:
        for pool in pools.values():
            pool.shutdown(cancel_futures=True)
    ours = timings["mschedx"]
    for peer, seconds in sorted(timings.items(), key=lambda item: item[1]):
        print(
            f"  {peer:16} {seconds * 1e3:9.3f} ms   {seconds / ours:6.3f} of mschedx's   "
            f"largest difference from torch {errors[peer]:.2g}",
            flush=True,
        )


def in_turn(pools: dict[str, ProcessPoolExecutor], rounds: int) -> dict[str, float]:
    """Median seconds of a call of each contender."""
    from mschedx.bench.fair import time_in_turn

    timers = {
        peer: lambda number, pool=pool: pool.submit(timed, number).result()
        for peer, pool in pools.items()
    }
    found = time_in_turn(timers, rounds=rounds, group_s=0.2)
    return {peer: timing.median_s for peer, timing in found.items()}


def new_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def in_process(function: Any, *args: Any) -> Any:
    """Call a function where nothing has been imported: imports are part of its time."""
    with new_process() as pool:
        return pool.submit(function, *args).result()


def tune(
    name: str, trials_per_task: int, work_dir: Path, library: Path, profile: bool, warm: bool
) -> dict[str, Any]:
    """Tune and export a network; seconds from before the first import to a compiled network."""
    begin = time.perf_counter()
    from mschedx import LocalRunner, tune_model
    from mschedx.models import make

    model, inputs = make(name)
    runner = LocalRunner() if warm else None
    result = tune_model(
        model, inputs, trials_per_task=trials_per_task, work_dir=work_dir, runner=runner
    )
    wall_s = time.perf_counter() - begin
    result.export(library)
    measured = result.profile(*inputs)
    if profile:
        print(measured.table(), flush=True)
    whole = measured.whole_s
    return {
        "wall_s": round(wall_s, 1),
        "tasks": len(result.tasks),
        "trials": sum(choice.trials for choice in result.tasks),
        "sum_of_tasks_ms": round(result.latency_s * 1e3, 3),
        "sum_rotated_ms": round(measured.rotated_s * 1e3, 3),
        "sum_in_place_ms": round(measured.in_place_s * 1e3, 3),
        "whole_ms": round(whole * 1e3, 3),
        "verified": result.verified,
        "gflops_at_peak_ms": round(at_peak_s(result) * 1e3, 3),
        "notes": result.notes,
    }


def at_peak_s(result: Any) -> float:
    """Seconds that the network's arithmetic takes at the machine's measured fp32 peak."""
    from mschedx.hardware.peak import measure_peak_flops

    flops = sum(choice.task.weight * choice.task.flops for choice in result.tasks)
    return flops / measure_peak_flops(result.target)


def tune_stock(name: str, trials: int, work_dir: Path, library: Path) -> float:
    """TVM's own pipeline with as many trials; its seconds."""
    begin = time.perf_counter()
    import torch
    import tvm
    from tvm import relax
    from tvm.relax.frontend.torch import from_exported_program

    from mschedx.hardware import host_target
    from mschedx.models import make

    model, inputs = make(name)
    with torch.no_grad():
        mod = from_exported_program(torch.export.export(model, inputs))
    target = host_target()
    work_dir.mkdir(parents=True, exist_ok=True)
    pipeline = relax.pipeline.static_shape_tuning_pipeline(trials, target, str(work_dir))
    with target:
        executable = tvm.compile(pipeline(mod), target)
    wall_s = time.perf_counter() - begin
    executable.export_library(str(library))
    return wall_s


def prepare(make_call: Any, name: str, arguments: tuple[Any, ...]) -> float:
    """In a contender's process: make its call; the largest difference from torch's output."""
    global _call
    import torch

    from mschedx import compat
    from mschedx.models import make

    torch.set_num_threads(compat.available_cores())
    model, inputs = make(name)
    with torch.no_grad():
        expected = first(model(*inputs)).numpy()
    _call = make_call(model, inputs, *arguments[1:])
    return float(np.abs(_call() - expected).max())


def timed(number: int) -> float:
    """Mean seconds of some calls."""
    begin = time.perf_counter()
    for _ in range(number):
        _call()
    return (time.perf_counter() - begin) / number


def use_library(model: Any, inputs: Any, path: str) -> Any:
    """What `tune` exported, with TVM alone."""
    del model
    import tvm
    from tvm import relax

    from mschedx import compat

    compat.use_cores()
    machine = relax.VirtualMachine(tvm.runtime.load_module(path), tvm.cpu())
    tensors = [tvm.runtime.tensor(value.numpy()) for value in inputs]
    return lambda: first(machine["main"](*tensors)).numpy()


def use_peer(model: Any, inputs: Any, peer: str) -> Any:
    import torch

    if peer == "torch":
        return lambda: _torch(model, inputs)
    if peer == "torch.compile":
        torch._inductor.config.freezing = True
        compiled = torch.compile(model)
        return lambda: _torch(compiled, inputs)
    path = Path(tempfile.mkdtemp()) / "network.onnx"
    torch.onnx.export(model, inputs, str(path), dynamo=False, opset_version=17)
    return {"onnxruntime": _onnxruntime, "openvino": _openvino}[peer](path, inputs)


def _torch(model: Any, inputs: Any) -> np.ndarray:
    import torch

    with torch.no_grad():
        return first(model(*inputs)).numpy()


def _onnxruntime(path: Path, inputs: Any) -> Any:
    import onnxruntime

    from mschedx import compat

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = compat.available_cores()
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    given = {node.name: value.numpy() for node, value in zip(session.get_inputs(), inputs)}
    return lambda: session.run(None, given)[0]


def _openvino(path: Path, inputs: Any) -> Any:
    import openvino

    from mschedx import compat

    hints = {
        "INFERENCE_NUM_THREADS": compat.available_cores(),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(str(path), "CPU", hints).create_infer_request()
    arrays = [value.numpy() for value in inputs]
    return lambda: request.infer(arrays)[0]


def first(output: Any) -> Any:
    """The first of several outputs."""
    return output[0] if type(output).__name__ in ("tuple", "list", "Array") else output


def killed(name: str, trials_per_task: int, work_dir: Path, times: int) -> str:
    """Kill tuning at random moments, finish it, and look at the records."""
    from mschedx.record.contents import RECORDS
    from mschedx.record.lines import read_lines

    code = (
        "import sys; from mschedx import tune_model; from mschedx.models import make; "
        "tune_model(*make(sys.argv[1]), trials_per_task=int(sys.argv[2]), work_dir=sys.argv[3])"
    )
    command = [sys.executable, "-c", code, name, str(trials_per_task), str(work_dir)]

    def whole() -> int:
        lines = read_lines(work_dir / RECORDS) if (work_dir / RECORDS).exists() else []
        return sum(line.content is not None for line in lines)

    rng, kept, alive = np.random.default_rng(0), 0, 0
    for _ in range(times):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and whole() == kept:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 5))
        alive += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = whole()
        if found < kept:
            return f"{name}: LOST {kept - found} records"
        kept = found
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    records = [line.content for line in read_lines(work_dir / RECORDS)]
    different = {json.dumps([workload, record[0]]) for workload, record in records}
    return (
        f"{name}: killed {alive} times; {len(records)} records, {kept} of them from before the "
        f"last start, {len(records) - len(different)} measured twice"
    )


if __name__ == "__main__":
    main()
