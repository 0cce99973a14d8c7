"""What compiling candidates costs, against the effort that their statements tell.

    python benchmarks/build_effort.py gemm_nt:512x512x512 batch_gemm_nt:12x128x128x64 --great 10

Random configs of TVM's space, and some of great effort; CPU seconds of compiling each in a fork of
this process, cut at ``--limit``; latencies of those that compile, with the runner at real-time
priority. Its table stands in docs/findings.md.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile

import numpy as np
import tvm

from mschedx.bench.collect import measure_schedules, open_workload, undisturbed
from mschedx.hardware import host_target
from mschedx.measure import LocalBuilder, LocalRunner, work
from mschedx.search.build_effort import MOST_EFFORT, BuildEffort
from mschedx.search.points import Points, SketchSet
from mschedx.workloads import Workload


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("workloads", nargs="+", help="operator:sizes, such as gemm_nt:512x512x512")
    parser.add_argument("--random", type=int, default=50)
    parser.add_argument("--great", type=int, default=10, help="more, above the limit of effort")
    parser.add_argument("--limit", type=int, default=20, help="CPU seconds of one candidate")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for text in arguments.workloads:
        op, sizes = text.split(":")
        workload = Workload(text, op, tuple(map(int, sizes.split("x"))))
        report(workload, arguments)


def report(workload: Workload, arguments: argparse.Namespace) -> None:
    target = host_target()
    space = SketchSet(open_workload(workload, target, "post-order-apply"))
    points, effort = drawn(space, arguments)
    schedules = [
        space.sketches[s].schedule(space.config(points, i)) for i, s in enumerate(points.sketch)
    ]
    seconds = np.array([compiled(s.mod, target, arguments.limit) for s in schedules])
    fits = np.flatnonzero(seconds < arguments.limit - 1)
    latency_s = np.full(len(points), np.inf)
    builder, runner = LocalBuilder(timeout_s=600.0), LocalRunner(initializer=undisturbed)
    latency_s[fits] = measure_schedules([schedules[i] for i in fits], target, builder, runner)
    held = effort > MOST_EFFORT
    random = np.arange(len(points)) < arguments.random
    quarter = np.quantile(latency_s[random], 0.25)
    print(f"{workload.name}: {len(points)} built, {held.sum()} above effort {MOST_EFFORT:.0f}")
    for name, which in (("random", random), ("random, kept", random & ~held)):
        ninety_fifth, most = np.quantile(seconds[which], 0.95), seconds[which].max()
        print(f"  {name}: 95th percentile {ninety_fifth:.1f} s, most {most:.1f} s")
    slow = seconds > 3
    print(f"  over 3 s: {slow.sum()}, of these above: {(slow & held).sum()}")
    best = latency_s[held].min(initial=np.inf) * 1e3
    print(f"  fastest {latency_s.min() * 1e3:.3g} ms, of those above {best:.3g} ms")
    print(f"  above, in the fastest quarter of the random: {(held & (latency_s <= quarter)).sum()}")


def drawn(space: SketchSet, arguments: argparse.Namespace) -> tuple[Points, np.ndarray]:
    """Random points, then some of great effort, with the effort of each."""
    rng = np.random.default_rng(arguments.seed)
    pool = space.sample(4000, rng).distinct()
    effort = BuildEffort(space).of(pool)
    print(f"{(effort > MOST_EFFORT).mean():.1%} of {len(pool)} random configs are above the limit")
    order = rng.permutation(len(pool))
    rest = order[arguments.random :]
    chosen = [*order[: arguments.random], *rest[effort[rest] > MOST_EFFORT][: arguments.great]]
    return pool.take(np.array(chosen)), effort[chosen]


def compiled(mod: tvm.IRModule, target: tvm.target.Target, limit: int) -> float:
    """CPU seconds of compiling a module, or about the limit where it takes longer."""
    texts = tvm.ir.save_json(mod), tvm.ir.save_json(target)
    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()
        if not child:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            work.build_candidate(*texts, folder, None, False)
            os._exit(0)
        used = os.wait4(child, 0)[2]
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
