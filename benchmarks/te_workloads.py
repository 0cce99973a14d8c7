"""TVM's own test workloads, opened in both spaces on this machine's target.

    python benchmarks/te_workloads.py                       # every configuration
    python benchmarks/te_workloads.py --only C2D,SFM --out te_workloads.jsonl

For every configuration of ``CONFIGS`` in ``tvm.s_tir.meta_schedule.testing.te_workload``: sketches,
seconds until the first candidate is there, and how many of the sampled configs became schedules. A
sketch without any is printed with its reason. ``--out`` is continued where it ends.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from resuming import Rows, options_of
from tvm import te
from tvm.s_tir.meta_schedule.testing.te_workload import CONFIGS

from mschedx.hardware import host_target
from mschedx.space import EmptySpace, InvalidSchedule, UnsupportedTrace, sketches

SPACES = {"ours": None, "tvm": "post-order-apply"}


def configurations(only: str = "") -> Iterator[tuple[str, int, tvm.IRModule]]:
    """Name, number and module of every configuration."""
    names = only.split(",") if only else list(CONFIGS)
    for name in names:
        make, shapes = CONFIGS[name]
        for number, shape in enumerate(shapes):
            try:
                function = te.create_prim_func(list(make(*shape)))
            except RuntimeError as error:  # TVM no longer makes some of its own
                print(f"{name}.{number}: TVM does not make it: {error}")
                continue
            yield name, number, tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def opened(mod: tvm.IRModule, space: str, configs: int, most: int) -> dict[str, Any]:
    """Open a module, sample and materialise; nothing is built.

    Returns
    -------
    dict
        ``sketches``, ``first_s`` (None if nothing materialises), ``sampled``, ``materialised``,
        ``empty`` (reasons of sketches of which nothing does) and ``error``.
    """
    rng, begin = np.random.default_rng(0), time.perf_counter()
    row: dict[str, Any] = {"sketches": 0, "first_s": None, "sampled": 0, "materialised": 0,
                           "empty": [], "error": None}  # fmt: skip
    try:
        found = sketches(mod, host_target(), SPACES[space])
        row["sketches"] = len(found)
        for sketch in found[:: max(1, len(found) // most)]:
            try:
                outcomes = sketch.schedules(sketch.sample(configs, rng), threads=1)
            except (EmptySpace, UnsupportedTrace) as error:
                row["empty"].append(str(error)[:200])
                continue
            good = [o for o in outcomes if not isinstance(o, InvalidSchedule)]
            row["sampled"] += len(outcomes)
            row["materialised"] += len(good)
            if good and row["first_s"] is None:
                row["first_s"] = round(time.perf_counter() - begin, 2)
            if not good:
                row["empty"].append(str(outcomes[0])[:200])
    except Exception as error:  # whatever it is, it is what is looked for
        row["error"] = f"{type(error).__name__}: {str(error).strip()[-200:]}"
    return row


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--only", default="", help="workloads, separated by commas; all if empty")
    made.add_argument("--space", default="ours,tvm", help="spaces, separated by a comma")
    made.add_argument("--configs", type=int, default=4, help="of every sketch")
    made.add_argument("--sketches", type=int, default=6, help="most of a space, about")
    made.add_argument("--out", type=Path, default=Path("te_workloads.jsonl"))
    arguments = made.parse_args()
    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.CRITICAL)
    chosen = options_of(arguments, "configs", "sketches")
    kept = Rows(arguments.out, chosen)
    done = {(row["workload"], row["number"], row["space"]) for row in kept.rows}
    for name, number, mod in configurations(arguments.only):
        for space in arguments.space.split(","):
            if (name, number, space) in done:
                continue
            row = opened(mod, space, arguments.configs, arguments.sketches)
            where = {"workload": name, "number": number, "space": space}
            kept.append({**where, **row})
    print(table(kept.rows))


def table(rows: list[dict[str, Any]]) -> str:
    """One line a configuration and space, then what went wrong."""
    lines = ["workload  space  sketches  first s  materialised"]
    for row in rows:
        first = "-" if row["first_s"] is None else f"{row['first_s']:.2f}"
        share = f"{row['materialised']}/{row['sampled']}"
        name = f"{row['workload']}.{row['number']}"
        lines.append(f"{name:<9} {row['space']:<6} {row['sketches']:>8}  {first:>7}  {share}")
    for row in rows:
        name = f"{row['workload']}.{row['number']} {row['space']}"
        lines += [f"{name}: raised {row['error']}"] if row["error"] else []
        lines += [f"{name}: a sketch has no schedule: {reason}" for reason in row["empty"]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
