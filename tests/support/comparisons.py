"""Comparisons of tuners whose cells are invented."""

from dataclasses import replace

from mschedx.bench.compare import harness
from mschedx.bench.compare.cell import CellResult
from mschedx.bench.compare.tuners import find_tuners
from mschedx.bench.suite import find_workloads


def comparison(path, **changes):
    options = {
        "workloads": find_workloads("gemm_128,softmax"),
        "tuners": find_tuners("heron,tvm"),
        "seeds": 2,
        "trials": 3,
        "path": path,
    }
    return harness.Comparison(**{**options, **changes})


def invented(request, work_dir, host=None):
    factor = 0.5 if request.tuner == "heron" else 1.0
    return CellResult(
        key=request.key, workload=request.workload.name, tuner=request.tuner, seed=request.seed,
        trials=request.trials, latency_s=[None, 2e-3 * factor, 1e-3 * factor],
        elapsed_s=[1.0, 1.0, 2.0], wall_s=3.0, stages={"build": 1.5}, failures={"crash": 1},
        timeout_s=request.timeout_s, warm=request.warm,
    )  # fmt: skip


def run(path, **changes):
    made = comparison(path, **changes)
    results = harness.run_comparison(made)
    return made, results, harness.time_winners(made)


def broken(request, work_dir, host=None):
    nothing = [None] * request.trials
    return replace(invented(request, work_dir), latency_s=nothing, error="exit status 1: no parts")
