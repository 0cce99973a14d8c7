"""What each part of Heron is worth: CGA, its ablations and TVM's search at equal trials.

    python benchmarks/heron.py                                            # everything, ~90 minutes
    python benchmarks/heron.py --tuners heron,random,tvm                  # ~45 minutes

Same builder, runner and cores for all, turn by turn; the winners are timed in turn at the end. The
tuners (``mschedx compare --tuners list`` says what they are): constrained evolution, the same with
random keys, a plain genetic algorithm with repair, constrained random, and TVM's default search on
TVM's space. ``--out`` resumes, also with more seeds, tuners or workloads than before.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

WORKLOADS = "gemm_512,resnet_2_3x3,resnet_3_1x1,r3d_conv3d,attention_nt,gemm_int8"
TUNERS = "heron,heron-random-keys,genetic,random,tvm"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--workloads", default=WORKLOADS, help="as mschedx compare takes them")
    parser.add_argument("--tuners", default=TUNERS)
    parser.add_argument(
        "--reference", default="random", help="tuner that ratios are over (default random)"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("heron"), help="resumes if it exists")
    parser.add_argument("--png", action="store_true", help="the charts as files beside the page")
    args = parser.parse_args()

    from mschedx.bench.compare import tables
    from mschedx.bench.compare.harness import Comparison, run_comparison, time_winners
    from mschedx.bench.compare.present import console, write_comparison
    from mschedx.bench.compare.tuners import find_tuners
    from mschedx.bench.suite import find_workloads
    from mschedx.report.png import require_matplotlib

    if args.png:
        require_matplotlib()
    tuners = find_tuners(args.tuners)
    names = [tuner.name for tuner in tuners]
    if args.reference not in names:
        parser.error(f"--reference {args.reference} is not among --tuners {args.tuners}")
    comparison = Comparison(
        workloads=find_workloads(args.workloads), tuners=tuners, seeds=args.seeds,
        trials=args.trials, path=args.out, warm=True, reference=args.reference,
    )  # fmt: skip

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    results = run_comparison(comparison, say)
    final = time_winners(comparison, say)
    moments = sorted({min(m, args.trials) for m in (16, 32, 64, args.trials)})
    out = console()
    out.print(tables.latency_table(final, names))
    out.print(tables.speedup_table(final, names, args.reference))
    out.print(tables.curve_table(results, names, args.reference, moments))
    out.print(tables.stage_table(results, names))
    compared = tables.ComparisonResult(results, final, names, args.reference)
    for path in write_comparison(compared, args.out / "report.html", png=args.png):
        print(path)


if __name__ == "__main__":
    main()
