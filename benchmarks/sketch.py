"""Design spaces as sketches: how many valid configs, how fast they are drawn, whether they hold.

    python benchmarks/sketch.py --target llvm --space tvm --configs 50

For every workload, space and sketch it prints the seconds to open the design spaces and to analyse
one sketch, the exact number of valid configs, how many a second are sampled (after the first
draw), the seconds for all features of 10 000 configs, and the share of ``--configs`` sampled
configs that become schedules with all postprocs applied. One process, one thread but for the
materialising. Nothing is run, so no GPU is needed; with ``--compile N`` the first N of the sampled
schedules are also compiled, for CUDA with nvcc, and failures are counted by their last line.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
from sketch_suite import SPACES, chosen, line, module_of, parser, spaces_of, target_of
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.builder import BuilderInput

from mschedx.measure import LocalBuilder
from mschedx.space import InvalidSchedule, Sketch, sketches


def report(
    sketch: Sketch, arguments: argparse.Namespace, builder: LocalBuilder | None
) -> dict[str, object]:
    """Measure one sketch; see the module's header for what the columns mean."""
    rng = np.random.default_rng(arguments.seed)
    start = time.perf_counter()
    analysis = sketch.analysis
    analysed = time.perf_counter()
    count = sketch.count()
    row: dict[str, object] = {
        "D": len(sketch.decisions),
        "constraints": len(sketch.constraints),
        "analyse_s": analysed - start,
        "join_s": time.perf_counter() - analysed,
        "count": count,
        "unresolved": len(analysis.unresolved),
    }
    if count == 0:
        return row
    row["samples_per_s"] = _rate(sketch, rng)
    configs = sketch.sample(10_000, rng)
    row["F"] = sketch.features(configs[:1]).shape[1]
    start = time.perf_counter()
    sketch.features(configs)
    row["features_s"] = time.perf_counter() - start
    row["acceptance"] = sketch.sampler.acceptance
    outcomes = sketch.schedules(configs[: max(arguments.configs, arguments.compile)])
    failed = [outcome for outcome in outcomes if isinstance(outcome, InvalidSchedule)]
    row["tried"], row["valid"] = len(outcomes), len(outcomes) - len(failed)
    row["failures"] = Counter(failure.reason for failure in failed)
    if builder is not None:
        good = [outcome for outcome in outcomes if not isinstance(outcome, InvalidSchedule)]
        row |= _compile(sketch, good[: arguments.compile], builder)
    return row


def _rate(sketch: Sketch, rng: np.random.Generator, n: int = 20_000) -> float:
    """Valid configs a second, the best of three."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        sketch.sample(n, rng)
        seconds.append(time.perf_counter() - start)
    return n / min(seconds)


def _compile(sketch: Sketch, schedules: list[Schedule], builder: LocalBuilder) -> dict[str, object]:
    """Build schedules to libraries and count those that fail, by the last line of the reason."""
    start = time.perf_counter()
    results = builder.build(
        [BuilderInput(schedule.mod, sketch.design.target) for schedule in schedules]
    )
    errors = [str(result.error_msg) for result in results if result.error_msg is not None]
    return {
        "compiled": f"{len(results) - len(errors)}/{len(results)}",
        "compile_s": time.perf_counter() - start,
        "compile_errors": dict(Counter((e.strip().splitlines() or [""])[-1][:120] for e in errors)),
    }


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    builder = None
    if arguments.compile:
        builder = LocalBuilder(max_workers=arguments.workers, timeout_s=120)
    for where in spaces_of(arguments):
        start = time.perf_counter()
        try:
            found = sketches(
                module_of(where["workload"]), target_of(where["target"]), SPACES[where["space"]]
            )
        except Exception as error:
            yield {**where, "error": f"{type(error).__name__}: {error}"[:300]}
            continue
        opened = time.perf_counter() - start
        for number in chosen(len(found), arguments.sketches):
            row = report(found[number], arguments, builder)
            yield {**where, "sketch": f"{number}/{len(found)}", "open_s": opened, **row}


def main() -> None:
    options = parser(__doc__, configs=20)
    options.add_argument("--compile", type=int, default=0, help="schedules to compile per sketch")
    options.add_argument("--workers", type=int, default=2, help="processes that compile")
    arguments = options.parse_args()
    measured = []
    for row in rows(arguments):
        print(line(row), flush=True)
        measured.append(row)
    done = [row for row in measured if "valid" in row]
    tried, valid = (sum(int(str(row[key])) for row in done) for key in ("tried", "valid"))
    print(f"{len(done)} sketches, {valid} of {tried} sampled configs became schedules")
    for row in measured:
        if "error" in row:
            print("not opened:", line(row))


if __name__ == "__main__":
    main()
