"""Expressions against programs: every number exact, nothing valid excluded.

    python benchmarks/sketch_exactness.py --target llvm --space tvm --sketches 100 --output o.jsonl

For every workload, space and sketch it replays corner configs and ``--configs`` random ones that
the analysis has not seen, and compares every expression with the program, number by number. Each
(or the first ``--lowered``) is put to TVM's postprocs too; what they accept is lowered and compared
(allocations, threads, vectors, parallel loops, unrolling). Where constraints leave only a part of
the space, as many valid configs are drawn from it and compared the same way. Counted beside wrong
numbers: random configs that a constraint excludes although the postprocs accept them, and configs
that all constraints admit although a postproc rejects them. What ``StorageRewrite`` and code
generation refuse is no verdict of the postprocs and is left out there. No GPU is needed.

With ``--output`` every sketch becomes a line of JSON as soon as it is done, and a later call with
the same file leaves out what is in it; ``--summary`` only adds up such files.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from resuming import Rows, options_of, rows_of
from sketch_suite import SPACES, chosen, line, module_of, parser, spaces_of, target_of

from mschedx.space import Sketch, sketches
from mschedx.space.analysis.derive.index_vectors import CODE_GENERATION
from mschedx.space.analysis.exactness import check
from mschedx.space.analysis.read.probe import corner_configs, random_configs

Row = dict[str, object]


def key_of(row: Row) -> tuple[object, ...]:
    """What a row is about."""
    return tuple(row[name] for name in ("workload", "target", "space", "sketch"))


def report(sketch: Sketch, arguments: argparse.Namespace) -> Row:
    """Check one sketch; see the module's header for what the columns mean."""
    rng = np.random.default_rng(arguments.seed + 1)
    start = time.perf_counter()
    analysis = sketch.analysis
    analysed = time.perf_counter()
    open_ended = random_configs(sketch.design, arguments.configs, rng)
    batches = [np.concatenate([open_ended, corner_configs(sketch.design)])]
    if sketch.constraints != sketch.design.constraints and sketch.count() != 0:
        batches.append(sketch.sample(arguments.configs, rng))
    row: Row = {"analyse_s": analysed - start, "unresolved": sorted(analysis.unresolved)}
    total: Counter[str] = Counter()
    wrong: dict[str, object] = {}
    for configs in batches:
        lowering = len(configs) if arguments.lowered is None else arguments.lowered
        verdict = check(sketch.design, analysis, configs, lowering)
        wrong |= verdict.wrong
        total.update(
            programs=verdict.programs,
            numbers=verdict.compared,
            wrong=len(verdict.wrong),
            lowered=verdict.lowered,
            **agreement(sketch, configs[:lowering], verdict.accepted),
        )
    row |= total
    row["sampled"] = len(batches[1]) if len(batches) > 1 else 0
    row["check_s"] = time.perf_counter() - analysed
    if wrong:
        row["first"] = [f"{name}: {seen}" for name, seen in wrong.items()][:3]
    return row


def agreement(sketch: Sketch, configs: np.ndarray, accepted: list[bool]) -> dict[str, int]:
    """Count where constraints and postprocs disagree on configs [n, D]."""
    later = ("StorageRewrite", CODE_GENERATION)
    tested = [c for c in sketch.constraints if not c.origin.startswith(later)]
    admitted = np.all([c.holds(configs) for c in tested] or [np.ones(len(configs), bool)], axis=0)
    verdicts = Counter(zip(admitted.tolist(), accepted))
    return {
        "valid": verdicts[True, True] + verdicts[False, True],
        "excluded_valid": verdicts[False, True],
        "admitted": verdicts[True, True] + verdicts[True, False],
        "admitted_invalid": verdicts[True, False],
    }


def rows(arguments: argparse.Namespace, done: set[tuple[object, ...]]) -> Iterator[Row]:
    for where in spaces_of(arguments):
        key = tuple(where.values())
        # So that a resumed run need not open the space to see that nothing is missing.
        complete = f"{arguments.sketches} of them"
        if (*key, complete) in done:
            continue
        kind, space = where["target"], SPACES[where["space"]]
        try:
            found = sketches(module_of(where["workload"]), target_of(kind), space)
        except Exception as error:
            yield {**where, "sketch": complete, "error": f"{type(error).__name__}: {error}"[:300]}
            continue
        for number in chosen(len(found), arguments.sketches):
            if (*key, f"{number}/{len(found)}") not in done:
                yield {
                    **where,
                    "sketch": f"{number}/{len(found)}",
                    **report(found[number], arguments),
                }
        yield {**where, "sketch": complete}


def current(measured: list[Row]) -> list[Row]:
    """Leave out that a space did not open where it has since, and all but its last failure."""
    opened = {key_of(row) for row in measured if "error" not in row}
    failed = {key_of(row): row for row in measured if "error" in row}
    return [
        *(row for row in measured if "error" not in row),
        *(row for key, row in failed.items() if key not in opened),
    ]


def summary(measured: list[Row]) -> None:
    """Add up what was measured, by target and space."""
    groups: dict[tuple[object, object], Counter[str]] = {}
    for row in measured:
        total = groups.setdefault((row["target"], row["space"]), Counter())
        total.update({k: v for k, v in row.items() if isinstance(v, int)})
        total["sketches"] += "programs" in row
        total["not_opened"] += "error" in row
        total["below_99"] += int(str(row.get("admitted_invalid", 0))) > 0.01 * int(
            str(row.get("admitted", 0))
        )
    for (target, space), total in groups.items():
        print("total:", line({"target": target, "space": space, **total}))


def main() -> None:
    made = parser(__doc__, configs=200)
    made.add_argument("--output", type=Path, help="file of JSON lines to append to, and resume")
    made.add_argument("--summary", nargs="+", type=Path, default=[], help="add up such files")
    made.add_argument("--lowered", type=int, help="configs to lower of each kind; all if left out")
    arguments = made.parse_args()
    options = options_of(arguments, "configs", "lowered", "seed")
    given: list[Row] = [row for file in arguments.summary for row in rows_of(file)]
    own = Rows(arguments.output, options)
    if not arguments.summary:
        done = {key_of(row) for row in own.rows if "error" not in row}
        for row in rows(arguments, done):
            if "programs" in row or "error" in row:
                print(line(row), flush=True)
            own.append(row)
    summary(current([*given, *own.rows]))


if __name__ == "__main__":
    main()
