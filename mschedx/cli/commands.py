"""What each subcommand does; called with its parsed arguments, returns the exit status."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from mschedx.files import written_before

from .status import INTERRUPTED, NOTHING_FOUND, WRONG
from .streams import complain, say


def _workload(args: argparse.Namespace) -> Any:
    """The operator that is asked for; its sizes are checked before anything heavy is imported."""
    from mschedx.workloads import Workload, find

    operator = find(args.op)
    if args.shape is None:
        raise ValueError(f"{args.op} needs --shape {operator.describe()}")
    operator.complete(args.shape)
    return Workload(args.op, args.op, args.shape, args.dtype)


def rank(args: argparse.Namespace) -> int:
    """Print the best configs of an operator, none measured."""
    workload = _workload(args)

    from mschedx.compat import without_torch

    with without_torch():
        from mschedx.cost.stand_ins import notes_on_stand_in, said_already
        from mschedx.inputs import normalize_target
        from mschedx.ranking import rank
    options = {"model": args.model, "space": args.space, "seed": args.seed}
    target = normalize_target(args.target)
    for note in notes_on_stand_in(target):
        complain(f"note: {note}")
    with said_already():
        best = rank(workload.func(), target, args.limit, **options)
    for place, one in enumerate(best, start=1):
        config = ", ".join(f"{name} = {value}" for name, value in one.decisions().items())
        reasons = ", ".join(map(str, (*one.main_reasons(), *one.left_out)))
        predicted = f"{one.latency_s * 1e6:.4g} us" if math.isfinite(one.latency_s) else "-"
        print(f"{place:3}  {predicted:>12} predicted; {reasons}; {config}")
    return 0


def explain(args: argparse.Namespace) -> int:
    """Print what a measured trial's time goes into, statement by statement, as predicted."""
    from mschedx.bench.explain import explain

    print(explain(args.work_dir, args.trial, args.workload, args.space))
    return 0


def _parts(args: argparse.Namespace) -> Any:
    """What makes the strategy and the cost model that are asked for."""
    from mschedx.bench.named_parts import find_parts, note_on_parts

    parts = find_parts(args.strategy, args.cost_model)
    note = note_on_parts(args.strategy, args.cost_model)
    if note is not None:
        complain(f"note: {note}")
    return parts


def tune(args: argparse.Namespace) -> int:
    """Tune an operator, then time the winner beside other libraries."""
    from mschedx.workloads import OPERATORS

    if args.op == "list":
        for operator in OPERATORS.values():
            print(f"{operator.name:18} --shape {operator.describe()}")
        return 0
    workload = _workload(args)

    parts = _parts(args)

    # Before TVM is imported here: the workers import theirs at the same time.
    from mschedx.compat import without_torch
    from mschedx.measure import start

    start()
    with without_torch():  # a second; the final table has its own process for torch
        from mschedx.tuning import tune

    work_dir = args.work_dir or Path(
        f"mschedx_{args.op}_{'x'.join(map(str, args.shape))}_{args.dtype}"
    )
    result = tune(
        workload.func(),
        args.target,
        trials=args.trials,
        work_dir=work_dir,
        seed=args.seed,
        space=args.space,
        patience=args.patience,
        **parts(),
        timeout_s=args.timeout,
        progress=not args.quiet,
    )
    if result.schedule is None:
        complain("interrupted" if result.interrupted else _no_winner(result))
        return INTERRUPTED if result.interrupted else NOTHING_FOUND

    from mschedx.bench.summary import print_summary

    print_summary(workload, result, compare=not args.no_compare)
    if result.unscheduled:
        complain(result.why_unscheduled)
        return NOTHING_FOUND
    return INTERRUPTED if result.interrupted else 0


def tune_model(args: argparse.Namespace) -> int:
    """Tune a network from a file or a factory."""
    parts = _parts(args)

    from .tune_model import tune_from_command

    result = tune_from_command(args, parts())
    if result.interrupted:
        return INTERRUPTED
    return WRONG if result.wrong else 0


def report(args: argparse.Namespace) -> int:
    """Write the page of a run or of a comparison."""
    from mschedx.report.analysis import analyse_run
    from mschedx.report.figures import run_figures
    from mschedx.report.network import analyse_folder, count_workloads, write_folder_page
    from mschedx.report.page import write_page
    from mschedx.report.png import require_matplotlib, write_pngs

    if args.png:
        require_matplotlib()
    page = "report.html" if args.workload is None else f"report-{args.workload}.html"
    output = args.output or args.work_dir / page
    if (args.work_dir / "cells.jsonl").exists():
        return _report_comparison(args, output)
    if args.reference is not None:
        raise ValueError(f"--reference is for a comparison, and {args.work_dir} is none")
    if args.workload is None and count_workloads(args.work_dir) > 1:
        if args.png:
            raise ValueError(
                f"{args.work_dir} holds several workloads, and --png draws the charts of one: add "
                "--workload N, a number of the page without --png"
            )
        print(write_folder_page(analyse_folder(args.work_dir), output))
        return 0
    report = analyse_run(args.work_dir, args.workload, calibrate=not args.no_calibrate)
    print(write_page(report, output))
    if args.png:
        for path in write_pngs(run_figures(report), output.parent, output.stem):
            print(path)
    return 0


def _report_comparison(args: argparse.Namespace, output: Path) -> int:
    from mschedx.bench.compare import present

    if args.workload is not None:
        raise ValueError(
            f"--workload is for the folder of a run, and {args.work_dir} is a comparison: its page "
            "has all workloads"
        )
    found = present.read_comparison(args.work_dir, say)
    reference = args.reference or found.reference
    if reference not in found.tuners:
        raise ValueError(f"--reference {reference} is not among {', '.join(found.tuners)}")
    compared = replace(found, reference=reference)
    for path in present.write_comparison(compared, output, png=args.png):
        print(path)
    return 0


def compare(args: argparse.Namespace) -> int:
    """Tune with several tuners, print the tables, write the page."""
    from mschedx.bench.compare.tuners import TUNERS, find_tuners

    if args.tuners == "list":
        for tuner in TUNERS.values():
            print(f"{tuner.name:18} {tuner.about}")
        return 0
    if args.workloads == "list":
        from mschedx.bench.suite import GROUPS

        for group, workloads in GROUPS.items():
            print(f"{group:18} {', '.join(workload.name for workload in workloads)}")
        return 0
    if args.png:
        from mschedx.report.png import require_matplotlib

        require_matplotlib()
    tuners = find_tuners(args.tuners)

    from mschedx.bench.compare import harness, present
    from mschedx.bench.compare.tables import ComparisonResult, all_tables
    from mschedx.bench.suite import find_workloads

    comparison = harness.Comparison(
        workloads=find_workloads(args.workloads),
        tuners=tuners,
        seeds=args.seeds,
        trials=args.trials,
        path=args.out,
        timeout_s=args.timeout,
        warm=args.warm,
        first_seed=args.first_seed,
        reference=args.reference,
        reference_trials=args.reference_trials,
    )

    results = harness.run_comparison(comparison, say)
    final = harness.time_winners(comparison, say)
    compared = ComparisonResult(results, final, comparison.names, comparison.over)
    # Before anything is printed, of which a reader may have seen enough.
    page = args.out / "report.html"
    with written_before(lambda: present.write_comparison(compared, page, png=args.png)) as written:
        console = present.console()
        for table in all_tables(compared):
            console.print(table)
    for path in written or ():
        print(path)
    failed = sum(result.error is not None for result in results)
    if failed:
        complain(f"{failed} of {len(results)} runs failed; the page ends with their last words")
    return 0 if any(result.has_run for result in results) else NOTHING_FOUND


def replay(args: argparse.Namespace) -> int:
    """Run searches on recorded trials and print how they fared."""
    from mschedx.bench import replay
    from mschedx.bench.compare.tables import replay_table

    known = replay.contenders()
    if args.strategy == "list":
        print("\n".join(known))
        return 0
    if args.work_dir is None:
        raise ValueError("replay needs WORK_DIR, the records: what tune or stock TVM wrote")
    chosen = [replay.find_contender(name.strip(), known) for name in args.strategy.split(",")]
    from mschedx.search.strategy import round_size

    batch = round_size(args.trials) if args.trials_per_round is None else args.trials_per_round
    if min(args.seeds, args.trials, batch) < 1:
        raise ValueError("expected seeds, trials and trials per round of at least 1")
    landscape = replay.load_landscape(args.work_dir, args.workload, args.space)
    curves = replay.compare_searches(
        landscape,
        chosen,
        seeds=args.seeds,
        trials=args.trials,
        batch=batch,
        say=say,
    )

    from mschedx.bench.console import table_console

    table_console(120).print(replay_table(curves, landscape.best_s, len(landscape.points)))
    return 0


def dataset(args: argparse.Namespace) -> int:
    """Measure configs of workloads into a data set."""
    from mschedx.bench.collect import collect
    from mschedx.bench.suite import find_workloads
    from mschedx.inputs import normalize_target

    file = collect(
        find_workloads(args.workloads),
        normalize_target(args.target),
        args.file,
        trials=args.trials,
        ranked=args.ranked,
        model=args.model,
        space=args.space,
        seed=args.seed,
        say=say,
    )
    for note in file.notes:
        complain(f"{args.file}: {note}")
    print(args.file)
    ran = [math.isfinite(task.best_s) for task in file.tasks.values()]
    return NOTHING_FOUND if ran and not any(ran) else 0


def train(args: argparse.Namespace) -> int:
    """Train a cost model on data sets and print how it ranks held-out tasks."""
    from mschedx.bench.console import table_console
    from mschedx.bench.pretrain import pretrain
    from mschedx.bench.pretrain_table import metrics_table

    def show(tested: list[Any]) -> None:
        if tested:
            table_console(120).print(metrics_table(tested))

    output = args.output or Path(f"{args.model}.safetensors")
    pretrain(
        args.files,
        output,
        model=args.model,
        held_out=args.held_out,
        epochs=args.epochs,
        published=args.published,
        start=args.start,
        seed=args.seed,
        say=say,
        show=show,
    )
    print(output)
    return 0


def _no_winner(result: Any) -> str:
    try:
        result.compile()
    except RuntimeError as error:
        return str(error)
    return "no winner"
