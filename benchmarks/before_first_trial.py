"""CPU seconds from a strategy's first sight of a task to its first candidates; nothing is built.

    python benchmarks/before_first_trial.py                      # five functions, both strategies
    python benchmarks/before_first_trial.py --seed 2             # other sketches come first
    python benchmarks/before_first_trial.py --network resnet18   # a network's tasks, as tune_model

User and system time of the process, its threads included.
"""

from __future__ import annotations

import argparse
import logging
import resource
from collections.abc import Iterator
from typing import Any

import tvm
from tvm import te
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.testing import te_workload

import mschedx
import mschedx.cost
from mschedx import compat
from mschedx.hardware import host_target

FUNCTIONS = {
    "T2D/0": (lambda: te_workload.create_te_workload("T2D", 0), "ours"),
    "GRP/0": (lambda: te_workload.create_te_workload("GRP", 0), "post-order-apply"),
    "gemm 512": (lambda: te.create_prim_func(te_workload.matmul(512, 512, 512)), "ours"),
    "C2D/1": (lambda: te_workload.create_te_workload("C2D", 1), "ours"),
    "dense 128x3072x768": (
        lambda: te.create_prim_func(te_workload.matmul(128, 3072, 768)),
        "ours",
    ),
}
STRATEGIES = {
    "evolution": mschedx.ConstrainedEvolution,
    "draft": mschedx.DraftVerify,
}


def cpu_s() -> float:
    """User and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def first_candidates_s(
    mod: tvm.IRModule, space: str, strategy: str, seed: int
) -> tuple[float, int]:
    """CPU seconds until a round of eight candidates is there, and how many there are."""
    target = host_target()
    begin = cpu_s()
    context = ms.TuneContext(
        mod,
        target=target,
        space_generator=mschedx.space.for_target(target) if space == "ours" else space,
        search_strategy=STRATEGIES[strategy](),
        num_threads=1,
        rand_state=seed,
    )
    search: Any = context.search_strategy
    designs = context.generate_design_space()
    search.pre_tuning(64, 8, designs, ms.database.MemoryDatabase(), mschedx.cost.HeronXGB())
    candidates = search.generate_measure_candidates()
    return cpu_s() - begin, len(candidates or ())


def cases(network: str) -> Iterator[tuple[str, tvm.IRModule, str, tuple[str, ...]]]:
    """Name, module, space and strategies of everything to be timed."""
    if not network:
        for name, (make, space) in FUNCTIONS.items():
            function = make().with_attr("global_symbol", "main")
            yield name, tvm.IRModule({"main": function}), space, tuple(STRATEGIES)
        return
    from mschedx.models.catalogue import make as make_network
    from mschedx.networks.importing import import_network
    from mschedx.networks.rewrites.pipeline import fuse, simplify
    from mschedx.networks.tasks import tasks_of

    imported = import_network(*make_network(network))
    fused = fuse(simplify(imported.mod), host_target(), prepack=True)
    for task in tasks_of(fused, host_target()).tunable:
        yield task.name, task.mod, "ours", ("draft",)


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--network", default="", help="of mschedx.models")
    made.add_argument("--seed", type=int, default=1)
    arguments = made.parse_args()
    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.ERROR)
    compat.load_tensor_intrinsics()
    total = 0.0
    for name, mod, space, strategies in cases(arguments.network):
        for strategy in strategies:
            seconds, candidates = first_candidates_s(mod, space, strategy, arguments.seed)
            total += seconds
            print(f"{name:<36} {space:<17} {strategy:<10} {seconds:6.2f} s  {candidates}")
    print(f"total {total:.1f} s")


if __name__ == "__main__":
    main()
