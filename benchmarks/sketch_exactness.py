"""Expressions against programs: every number exact, nothing valid excluded.

    python benchmarks/sketch_exactness.py --target llvm --space tvm --configs 200

For every workload, space and sketch it replays random and corner configs that the analysis has not
seen and compares every expression with the program, number by number; sampled valid configs are
also materialised and lowered (allocations, threads, vectors, parallel loops, unrolling). Then it
counts, of random configs, those that a constraint excludes although TVM's postprocs accept them,
and those that all constraints admit although a postproc rejects them. ``StorageRewrite`` clashes
are no verdict of the postprocs and are left out there. No GPU is needed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np
from sketch import SPACES, WORKLOADS, line, module_of, target_of

from mschedx.space import InvalidSchedule, Sketch, sketches
from mschedx.space.analysis.check import check
from mschedx.space.analysis.probe import corner_configs, random_configs


def report(sketch: Sketch, arguments: argparse.Namespace) -> dict[str, object]:
    """Check one sketch; see the module's header for what the columns mean."""
    rng = np.random.default_rng(arguments.seed + 1)
    design, analysis = sketch.design, sketch.analysis
    configs = np.concatenate(
        [corner_configs(design), random_configs(design, arguments.configs, rng)]
    )
    verdict = check(design, analysis, configs)
    row: dict[str, object] = {
        "programs": verdict.programs,
        "numbers": verdict.compared,
        "wrong": len(verdict.wrong),
        "unresolved": len(analysis.unresolved),
    }
    if sketch.count() != 0:
        drawn = check(design, analysis, sketch.sample(arguments.lowered, rng), arguments.lowered)
        row |= {"lowered": drawn.lowered, "wrong_lowered": len(drawn.wrong)}
        verdict.wrong.update(drawn.wrong)
    row |= agreement(sketch, random_configs(design, arguments.postprocs, rng))
    if verdict.wrong:
        row["first"] = next(iter(verdict.wrong.items()))
    return row


def agreement(sketch: Sketch, configs: np.ndarray) -> dict[str, object]:
    """Count where constraints and postprocs disagree on configs [n, D]."""
    tested = [c for c in sketch.constraints if "StorageRewrite" not in c.origin]
    admitted = np.all([c.holds(configs) for c in tested] or [np.ones(len(configs), bool)], axis=0)
    outcomes = sketch.schedules(configs)
    valid = [not isinstance(outcome, InvalidSchedule) for outcome in outcomes]
    verdicts = Counter(zip(admitted.tolist(), valid))
    return {
        "valid": verdicts[True, True] + verdicts[False, True],
        "excluded_valid": verdicts[False, True],
        "admitted_invalid": verdicts[True, False],
    }


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    names = arguments.only.split(",") if arguments.only else list(WORKLOADS)
    for name in names:
        for kind in arguments.target.split(","):
            for space in arguments.space.split(","):
                where = {"workload": name, "target": kind, "space": space}
                try:
                    found = sketches(module_of(name), target_of(kind), SPACES[space])
                except Exception as error:
                    yield {**where, "error": f"{type(error).__name__}: {error}"[:300]}
                    continue
                step = max(1, len(found) // arguments.sketches)
                for number in range(0, len(found), step):
                    yield {
                        **where,
                        "sketch": f"{number}/{len(found)}",
                        **report(found[number], arguments),
                    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", default="llvm,cuda", help="llvm, cuda or both")
    parser.add_argument("--space", default="tvm,ours", help="tvm, ours or both")
    parser.add_argument("--only", default="", help="workloads, separated by commas; all if empty")
    parser.add_argument("--configs", type=int, default=200, help="random configs to replay")
    parser.add_argument("--lowered", type=int, default=20, help="valid configs to lower")
    parser.add_argument("--postprocs", type=int, default=50, help="configs put to the postprocs")
    parser.add_argument("--sketches", type=int, default=4, help="most sketches per space, about")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    total: Counter[str] = Counter()
    for row in rows(arguments):
        print(line(row), flush=True)
        total.update({key: value for key, value in row.items() if isinstance(value, int)})
        total["sketches"] += "programs" in row
    print("total:", line(dict(total)))


if __name__ == "__main__":
    main()
