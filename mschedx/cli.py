"""The ``mschedx`` command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mschedx.streams import abandon, about, complain, flush, open_streams

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

BAD_REQUEST, NOTHING_FOUND, MACHINE, INTERRUPTED = 2, 1, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        The exit status: 0; 1 where nothing better than the function as it is was found; 2 for a
        bad request; 3 where the machine is to blame (a full disk, a dead helper process, a missing
        linker, an output that cannot be written); 130 after Ctrl-C.
    """
    open_streams()
    try:
        return _run(argv)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        abandon(sys.stdout)
        return 0


def _run(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = args.command
    try:
        status = command(args)
        flush(sys.stdout)
        return status
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except (ValueError, TypeError, FileNotFoundError) as error:
        complain(str(error))
        return BAD_REQUEST
    except BrokenPipeError:
        raise
    except OSError as error:
        complain(about(error))
        return MACHINE
    except RuntimeError as error:
        from mschedx.measure.failures import MachineTrouble

        if not isinstance(error, MachineTrouble):
            raise
        complain(str(error))
        return MACHINE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mschedx", description="Tune tensor programs with TVM's MetaSchedule."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print versions and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_tune(commands)
    _add_tune_model(commands)
    _add_rank(commands)
    _add_explain(commands)
    _add_report(commands)
    _add_compare(commands)
    _add_replay(commands)
    _add_dataset(commands)
    _add_train(commands)
    return parser


def _add_tune(commands: Commands) -> None:
    tune = commands.add_parser("tune", help="tune an operator and compare it with NumPy and torch")
    tune.add_argument("op", help="operator: gemm, conv2d, softmax, ... ('list' shows all)")
    tune.add_argument("--shape", type=_ints, default=None, help="sizes, e.g. 1024,1024,1024")
    tune.add_argument("--dtype", default="float32", help="float32 (default), float16, int8 ...")
    tune.add_argument("--target", default=None, help="JSON or a tag; this machine by default")
    tune.add_argument("--trials", type=int, default=64, help="measurements (default 64)")
    tune.add_argument("--timeout", type=float, default=None, help="stop after this many seconds")
    tune.add_argument("--work-dir", type=Path, default=None, help="records; resumes if it exists")
    tune.add_argument("--seed", type=int, default=0)
    tune.add_argument("--space", default=None, help='"post-order-apply" for TVM\'s own space')
    tune.add_argument(
        "--strategy",
        default=None,
        help='"gradient" (with FelixMLP), or a name that TVM knows: "evolutionary" ...',
    )
    tune.add_argument(
        "--patience", type=int, default=None, help="end once so many trials brought nothing faster"
    )
    tune.add_argument("--cost-model", default=None, help='a name that TVM knows: "xgb" ...')
    tune.add_argument("--no-compare", action="store_true", help="leave out the final table")
    tune.add_argument("--quiet", action="store_true", help="no progress")
    tune.set_defaults(command=_tune)


def _add_tune_model(commands: Commands) -> None:
    tune = commands.add_parser("tune-model", help="tune a whole network")
    tune.add_argument(
        "model",
        help="an ONNX file, MODULE:FACTORY or FILE.py:FACTORY, or a name of mschedx.models",
    )
    tune.add_argument(
        "--input", action="append", default=None, help="1,3,224,224 or 1,128:int64; once for each"
    )
    tune.add_argument("--target", default=None, help="JSON or a tag; this machine by default")
    tune.add_argument("--trials-per-task", type=int, default=16, help="0 measures nothing")
    tune.add_argument("--timeout", type=float, default=None, help="stop after this many seconds")
    tune.add_argument("--work-dir", type=Path, default=None, help="records; resumes if it exists")
    tune.add_argument("--seed", type=int, default=0)
    tune.add_argument("--fix-shapes", action="store_true", help="dynamic sizes as those of --input")
    tune.add_argument("--no-prepack", action="store_true", help="weights stay as they lie")
    tune.add_argument("--exact", action="store_true", help="no rewrites that round more")
    tune.add_argument("--export", type=Path, default=None, help="a library that TVM alone runs")
    tune.add_argument("--profile", action="store_true", help="each operator, timed in its place")
    tune.add_argument("--quiet", action="store_true", help="no progress")
    tune.set_defaults(command=_tune_model)


def _add_rank(commands: Commands) -> None:
    ranked = commands.add_parser("rank", help="the best configs of an operator, none measured")
    ranked.add_argument("op", help="operator: gemm, conv2d, softmax, ...")
    ranked.add_argument("--shape", type=_ints, default=None, help="sizes, e.g. 1024,1024,1024")
    ranked.add_argument("--dtype", default="float32", help="float32 (default), float16, int8 ...")
    ranked.add_argument("--target", default=None, help="JSON or a tag; this machine by default")
    ranked.add_argument("--limit", type=int, default=16, help="how many (default 16)")
    ranked.add_argument("--space", default=None, help='"post-order-apply" for TVM\'s own space')
    ranked.add_argument(
        "--model", default=None, help='a second opinion: "cpu", or what `mschedx train` wrote'
    )
    ranked.add_argument("--seed", type=int, default=0)
    ranked.set_defaults(command=_rank)


def _add_explain(commands: Commands) -> None:
    explain = commands.add_parser("explain", help="a trial's statements, predicted and measured")
    explain.add_argument("work_dir", type=Path, help="what tune wrote")
    explain.add_argument("trial", type=int, help="its number, from 0")
    explain.add_argument("--workload", type=int, default=None, help="which, if there are several")
    explain.add_argument("--space", default=None, help="the space that was tuned in")
    explain.set_defaults(command=_explain)


def _add_report(commands: Commands) -> None:
    report = commands.add_parser("report", help="make a page of a run, or of a comparison")
    report.add_argument("work_dir", type=Path, help="what tune, compare or stock TVM wrote")
    report.add_argument("-o", "--output", type=Path, default=None, help="WORK_DIR/report.html")
    report.add_argument("--workload", type=int, default=None, help="which, if there are several")
    report.add_argument("--png", action="store_true", help="the charts as files beside the page")
    report.add_argument("--no-calibrate", action="store_true", help="do not measure the peak")
    report.set_defaults(command=_report)


def _add_compare(commands: Commands) -> None:
    compare = commands.add_parser("compare", help="tuners against each other on named workloads")
    compare.add_argument(
        "--workloads", default=None, help="groups, names or globs; 'list' shows all (default suite)"
    )
    compare.add_argument("--tuners", default="heron,tvm", help="comma-separated; 'list' shows all")
    compare.add_argument("--reference", default=None, help="the tuner compared with; the last one")
    compare.add_argument("--seeds", type=int, default=3)
    compare.add_argument("--trials", type=int, default=64)
    compare.add_argument("--timeout", type=float, default=None, help="seconds a run, for all")
    compare.add_argument("--png", action="store_true", help="the charts as files beside the page")
    compare.add_argument(
        "--warm", action="store_true", help="fork runs from one process: times without imports"
    )
    compare.add_argument(
        "--out", type=Path, default=Path("comparison"), help="resumes if it exists"
    )
    compare.set_defaults(command=_compare)


def _add_replay(commands: Commands) -> None:
    replay = commands.add_parser("replay", help="searches on recorded trials, without hardware")
    replay.add_argument("work_dir", type=Path, help="records: what tune wrote, or stock TVM")
    replay.add_argument("--strategy", default="heron,random", help="comma-separated; 'list'")
    replay.add_argument("--seeds", type=int, default=20)
    replay.add_argument("--trials", type=int, default=64)
    replay.add_argument("--trials-per-round", type=int, default=None, help="as the strategies do")
    replay.add_argument("--space", default=None, help="the space that was tuned in")
    replay.add_argument("--workload", type=int, default=None, help="which, if there are several")
    replay.set_defaults(command=_replay)


def _add_dataset(commands: Commands) -> None:
    dataset = commands.add_parser("dataset", help="measure random configs, to train models on")
    dataset.add_argument("file", type=Path, help="data set to write; what it has is kept")
    dataset.add_argument("--workloads", default=None, help="groups, names or globs (suite)")
    dataset.add_argument("--target", default=None, help="JSON or a tag; this machine by default")
    dataset.add_argument("--space", default=None, help='"post-order-apply" for TVM\'s own space')
    dataset.add_argument("--trials", type=int, default=256, help="of each workload (default 256)")
    dataset.add_argument("--seed", type=int, default=0)
    dataset.set_defaults(command=_dataset)


def _add_train(commands: Commands) -> None:
    train = commands.add_parser("train", help="train a cost model on data sets")
    train.add_argument("files", type=Path, nargs="+", help="what `mschedx dataset` wrote")
    train.add_argument("--model", default="pam", help="pam, tlp, one-shot or felix")
    train.add_argument("-o", "--output", type=Path, default=None, help="MODEL.safetensors")
    train.add_argument(
        "--held-out", type=float, default=0.2, help="share of the tasks to test on (default 0.2)"
    )
    train.add_argument("--epochs", type=int, default=None, help="passes over the data (50)")
    train.add_argument("--published", action="store_true", help="the paper's network, unimproved")
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(command=_train)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from mschedx.record.work_dir import versions

        print(" ".join(f"{name} {version}" for name, version in versions().items()))
        parser.exit()


def _ints(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected sizes as 1024,1024,1024 (or 1024x1024x1024), got {text!r}"
        ) from None


def _workload(args: argparse.Namespace) -> Any:
    """The operator that is asked for; its sizes are checked before anything heavy is imported."""
    from mschedx.workloads import Workload, find

    operator = find(args.op)
    if args.shape is None:
        raise ValueError(f"{args.op} needs --shape {operator.describe()}")
    operator.complete(args.shape)
    return Workload(args.op, args.op, args.shape, args.dtype)


def _rank(args: argparse.Namespace) -> int:
    workload = _workload(args)

    from mschedx.compat import without_torch

    with without_torch():
        from mschedx.ranking import rank
    options = {"model": args.model, "space": args.space, "seed": args.seed}
    best = rank(workload.func(), args.target, args.limit, **options)
    for place, one in enumerate(best, start=1):
        config = ", ".join(f"{name} = {value}" for name, value in one.decisions().items())
        print(f"{place:3}  {one.latency_s * 1e6:9.4g} us predicted; {one.reasons[0]}; {config}")
    return 0


def _explain(args: argparse.Namespace) -> int:
    from mschedx.bench.explain import explain

    print(explain(args.work_dir, args.trial, args.workload, args.space))
    return 0


def _tune(args: argparse.Namespace) -> int:
    from mschedx.workloads import OPERATORS

    if args.op == "list":
        for operator in OPERATORS.values():
            print(f"{operator.name:18} --shape {operator.describe()}")
        return 0
    workload = _workload(args)

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
        **_parts(args.strategy, args.cost_model),
        timeout_s=args.timeout,
        progress=not args.quiet,
    )
    if result.schedule is None:
        complain(_no_winner(result))
        return NOTHING_FOUND

    from mschedx.bench.summary import print_summary

    print_summary(workload, result, compare=not args.no_compare)
    if result.unscheduled:
        complain(result.notes[-1])
        return NOTHING_FOUND
    return INTERRUPTED if result.interrupted else 0


def _tune_model(args: argparse.Namespace) -> int:
    from mschedx.networks.command import tune_from_command

    result = tune_from_command(args)
    return INTERRUPTED if result.interrupted else 0


def _parts(strategy: str | None, cost_model: str | None) -> dict[str, Any]:
    """The strategy and cost model of the names that were given."""
    if strategy != "gradient":
        return {"strategy": strategy, "cost_model": cost_model}
    if cost_model is not None:
        raise ValueError(
            f"expected no --cost-model with --strategy gradient, got {cost_model!r}: the models "
            "that TVM knows by name have no gradients; FelixMLP is taken"
        )
    from mschedx.cost import FelixMLP
    from mschedx.search import GradientDescent

    return {"strategy": GradientDescent(), "cost_model": FelixMLP()}


def _report(args: argparse.Namespace) -> int:
    from mschedx.report.analysis import analyse_run
    from mschedx.report.figures import run_figures
    from mschedx.report.network import analyse_folder, count_workloads, write_folder_page
    from mschedx.report.page import write_page
    from mschedx.report.png import write_pngs

    output = args.output or args.work_dir / "report.html"
    if (args.work_dir / "cells.jsonl").exists():
        return _report_comparison(args.work_dir, output, args.png)
    if args.workload is None and count_workloads(args.work_dir) > 1:
        print(write_folder_page(analyse_folder(args.work_dir), output))
        return 0
    report = analyse_run(args.work_dir, args.workload, calibrate=not args.no_calibrate)
    print(write_page(report, output))
    if args.png:
        for path in write_pngs(run_figures(report), output.parent, output.stem):
            print(path)
    return 0


def _report_comparison(folder: Path, output: Path, png: bool) -> int:
    from mschedx.bench.compare import present

    results, final, tuners = present.read_comparison(folder)
    for path in present.write_comparison(results, final, tuners, tuners[-1], output, png=png):
        print(path)
    return 0


def _compare(args: argparse.Namespace) -> int:
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
    tuners = find_tuners(args.tuners)
    names = [tuner.name for tuner in tuners]
    reference = args.reference or names[-1]
    if reference not in names:
        raise ValueError(f"--reference {reference} is not among --tuners {args.tuners}")
    if args.seeds < 1 or args.trials < 1:
        raise ValueError(
            f"expected seeds and trials of at least 1, got {args.seeds}, {args.trials}"
        )

    from mschedx.bench.compare import harness, present
    from mschedx.bench.suite import find_workloads

    comparison = harness.Comparison(
        find_workloads(args.workloads),
        tuners,
        args.seeds,
        args.trials,
        args.out,
        args.timeout,
        args.warm,
    )

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    results = harness.run_comparison(comparison, say)
    final = harness.time_winners(comparison, say)
    console = present.console()
    for table in present.all_tables(results, final, names, reference):
        console.print(table)
    page = args.out / "report.html"
    for path in present.write_comparison(results, final, names, reference, page, png=args.png):
        print(path)
    return 0


def _replay(args: argparse.Namespace) -> int:
    from mschedx.bench import replay
    from mschedx.bench.compare.tables import replay_table

    known = replay.contenders()
    if args.strategy == "list":
        print("\n".join(known))
        return 0
    chosen = [replay.find_contender(name, known) for name in args.strategy.split(",")]
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
    )

    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(
        replay_table(curves, landscape.best_s, len(landscape.points))
    )
    return 0


def _dataset(args: argparse.Namespace) -> int:
    from mschedx.bench.collect import collect
    from mschedx.bench.suite import find_workloads
    from mschedx.inputs import normalize_target

    file = collect(
        find_workloads(args.workloads),
        normalize_target(args.target),
        args.file,
        trials=args.trials,
        space=args.space,
        seed=args.seed,
    )
    for note in file.notes:
        print(f"mschedx: {args.file}: {note}", file=sys.stderr)
    print(args.file)
    return 0


def _train(args: argparse.Namespace) -> int:
    from mschedx.bench.pretrain import pretrain
    from mschedx.bench.pretrain_table import metrics_table

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    output = args.output or Path(f"{args.model}.safetensors")
    tested = pretrain(
        args.files,
        output,
        model=args.model,
        held_out=args.held_out,
        epochs=args.epochs,
        published=args.published,
        seed=args.seed,
        say=say,
    )
    if tested:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 120).print(metrics_table(tested))
    print(output)
    return 0


def _no_winner(result: Any) -> str:
    try:
        result.compile()
    except RuntimeError as error:
        return str(error)
    return "no winner"


if __name__ == "__main__":
    sys.exit(main())
