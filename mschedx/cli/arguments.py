"""What the command takes: its subcommands and their options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mschedx.bench.named_parts import MODELS, STRATEGIES

from . import commands

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="mschedx", description="Tune tensor programs with TVM's MetaSchedule."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print versions and exit")
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_tune(subcommands)
    _add_tune_model(subcommands)
    _add_rank(subcommands)
    _add_explain(subcommands)
    _add_report(subcommands)
    _add_compare(subcommands)
    _add_replay(subcommands)
    _add_dataset(subcommands)
    _add_train(subcommands)
    return parser


def _add_tune(subcommands: Subcommands) -> None:
    tune = subcommands.add_parser(
        "tune", help="tune an operator and compare it with NumPy and torch"
    )
    tune.add_argument("op", help="operator: gemm, conv2d, softmax, ... ('list' shows all)")
    tune.add_argument("--shape", type=_ints, default=None, help="sizes, e.g. 1024,1024,1024")
    tune.add_argument("--dtype", default="float32", help="float32 (default), float16, int8 ...")
    tune.add_argument("--target", default=None, help="JSON or a tag; this machine by default")
    tune.add_argument("--trials", type=int, default=64, help="measurements (default 64)")
    tune.add_argument("--timeout", type=float, default=None, help="stop after this many seconds")
    tune.add_argument(
        "--work-dir",
        type=Path,
        default=None,
        help="records, and where to go on (default ./mschedx_OP_SIZES_DTYPE)",
    )
    tune.add_argument("--seed", type=int, default=0)
    _add_parts(tune)
    tune.add_argument(
        "--patience", type=int, default=None, help="end once so many trials brought nothing faster"
    )
    tune.add_argument("--no-compare", action="store_true", help="leave out the final table")
    tune.add_argument("--quiet", action="store_true", help="no progress")
    tune.set_defaults(command=commands.tune)


def _add_parts(tune: argparse.ArgumentParser) -> None:
    """Add what a call of the tuner searches with."""
    tune.add_argument("--space", default=None, help='"post-order-apply" for TVM\'s own space')
    tune.add_argument(
        "--strategy", default=None, help=f"{', '.join(STRATEGIES)}, or module:attribute of your own"
    )
    tune.add_argument(
        "--cost-model",
        default=None,
        help=f"{', '.join(MODELS)}; NAME:FILE for one that `mschedx train` wrote; or "
        "module:attribute of your own (default: what goes with the strategy)",
    )


def _add_tune_model(subcommands: Subcommands) -> None:
    tune = subcommands.add_parser("tune-model", help="tune a whole network")
    tune.add_argument(
        "model",
        help="an ONNX file, MODULE:FACTORY or FILE.py:FACTORY, or a name of mschedx.models",
    )
    tune.add_argument(
        "--input", action="append", default=None, help="1,3,224,224 or 1,128:int64; once for each"
    )
    tune.add_argument("--target", default=None, help="JSON or a tag; this machine by default")
    tune.add_argument(
        "--trials-per-task",
        type=int,
        default=16,
        help="measurements, in the mean (default 16); 0 measures nothing",
    )
    tune.add_argument("--timeout", type=float, default=None, help="stop after this many seconds")
    tune.add_argument(
        "--work-dir",
        type=Path,
        default=None,
        help="records, and where to go on (default: a new temporary folder, which is printed)",
    )
    tune.add_argument("--seed", type=int, default=0)
    _add_parts(tune)
    tune.add_argument(
        "--fix-shapes", action="store_true", help="give dynamic dimensions the sizes of the inputs"
    )
    tune.add_argument(
        "--bucket",
        action="append",
        default=None,
        metavar="INPUT[AXIS]=SIZES",
        help="tune for several sizes, as 'x[0]=1,8,32'; once for each dynamic dimension",
    )
    tune.add_argument(
        "--unsupported",
        choices=("stop", "torch"),
        default="stop",
        help="operators that TVM cannot import: stop (default), or leave them to torch",
    )
    tune.add_argument(
        "--no-prepack", action="store_true", help="do not lay weights out anew at compile time"
    )
    tune.add_argument(
        "--exact", action="store_true", help="leave out rewrites that round more than the network"
    )
    tune.add_argument(
        "--export",
        type=Path,
        default=None,
        help="a library that TVM alone runs; with --bucket a folder",
    )
    tune.add_argument("--profile", action="store_true", help="each operator, timed in its place")
    tune.add_argument("--quiet", action="store_true", help="no progress")
    tune.set_defaults(command=commands.tune_model)


def _add_rank(subcommands: Subcommands) -> None:
    ranked = subcommands.add_parser("rank", help="the best configs of an operator, none measured")
    ranked.add_argument("op", help="operator: gemm, conv2d, softmax, ...")
    ranked.add_argument("--shape", type=_ints, default=None, help="sizes, e.g. 1024,1024,1024")
    ranked.add_argument("--dtype", default="float32", help="float32 (default), float16, int8 ...")
    ranked.add_argument("--target", default=None, help="JSON or a tag; this machine by default")
    ranked.add_argument("--limit", type=int, default=16, help="how many (default 16)")
    ranked.add_argument("--space", default=None, help='"post-order-apply" for TVM\'s own space')
    ranked.add_argument(
        "--model",
        default=None,
        help='model to order by as well: "cpu", or what `mschedx train` wrote; "psa" for none',
    )
    ranked.add_argument("--seed", type=int, default=0)
    ranked.set_defaults(command=commands.rank)


def _add_explain(subcommands: Subcommands) -> None:
    explain = subcommands.add_parser(
        "explain",
        help="what a measured trial's time goes into, statement by statement, as predicted",
    )
    explain.add_argument("work_dir", type=Path, help="what tune wrote")
    explain.add_argument("trial", type=int, help="its number, from 0")
    explain.add_argument("--workload", type=int, default=None, help="which, if there are several")
    explain.add_argument(
        "--space", default=None, help="the space that was tuned in, if its journal does not name it"
    )
    explain.set_defaults(command=commands.explain)


def _add_report(subcommands: Subcommands) -> None:
    report = subcommands.add_parser("report", help="make a page of a run, or of a comparison")
    report.add_argument("work_dir", type=Path, help="what tune, compare or stock TVM wrote")
    report.add_argument(
        "-o",
        "--output",
        type=Path,
        default=None,
        help="page (default WORK_DIR/report.html, with --workload N report-N.html)",
    )
    report.add_argument("--workload", type=int, default=None, help="which, if there are several")
    report.add_argument("--png", action="store_true", help="the charts as files beside the page")
    report.add_argument(
        "--no-calibrate", action="store_true", help="leave out the peak, and with it the roofline"
    )
    report.add_argument(
        "--reference",
        default=None,
        help="tuner that ratios are over (of comparisons; default: as compared)",
    )
    report.set_defaults(command=commands.report)


def _add_compare(subcommands: Subcommands) -> None:
    compare = subcommands.add_parser("compare", help="tuners against each other on named workloads")
    compare.add_argument(
        "--workloads",
        default=None,
        help="groups, names, globs, or gemm:512,512,512; 'list' shows all (default suite)",
    )
    compare.add_argument(
        "--tuners",
        default="heron,tvm",
        help="comma-separated; 'list' shows all (default heron,tvm)",
    )
    compare.add_argument(
        "--reference", default=None, help="tuner that ratios are over (default: the last one)"
    )
    compare.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    compare.add_argument("--first-seed", type=int, default=0, help="first of the seeds (default 0)")
    compare.add_argument("--trials", type=int, default=64, help="of each run (default 64)")
    compare.add_argument(
        "--reference-trials",
        type=int,
        default=None,
        help="of the reference's, if another number: what others are held to",
    )
    compare.add_argument("--timeout", type=float, default=None, help="seconds a run, for all")
    compare.add_argument("--png", action="store_true", help="the charts as files beside the page")
    compare.add_argument(
        "--warm", action="store_true", help="fork runs from one process: times without imports"
    )
    compare.add_argument(
        "--out",
        type=Path,
        default=Path("comparison"),
        help="what is in it is not run again (default ./comparison)",
    )
    compare.set_defaults(command=commands.compare)


def _add_replay(subcommands: Subcommands) -> None:
    replay = subcommands.add_parser("replay", help="searches on recorded trials, without hardware")
    replay.add_argument(
        "work_dir", type=Path, nargs="?", help="records: what tune wrote, or stock TVM"
    )
    replay.add_argument(
        "--strategy",
        default="heron,random",
        help="comma-separated; 'list' shows all (default heron,random)",
    )
    replay.add_argument("--seeds", type=int, default=20, help="how many (default 20)")
    replay.add_argument("--trials", type=int, default=64, help="of each search (default 64)")
    replay.add_argument(
        "--trials-per-round",
        type=int,
        default=None,
        help="default: an eighth of the trials, 8 to 32 (mschedx.tune: at most 16)",
    )
    replay.add_argument("--space", default=None, help="the space that was tuned in")
    replay.add_argument("--workload", type=int, default=None, help="which, if there are several")
    replay.set_defaults(command=commands.replay)


def _add_dataset(subcommands: Subcommands) -> None:
    dataset = subcommands.add_parser("dataset", help="measure configs, to train models on")
    dataset.add_argument("file", type=Path, help="data set to write or to add to")
    dataset.add_argument(
        "--workloads",
        default=None,
        help="groups, names, globs, or operators with sizes: gemm:512,512,512:int8 (default suite)",
    )
    dataset.add_argument("--target", default=None, help="JSON or a tag; this machine by default")
    dataset.add_argument("--space", default=None, help='"post-order-apply" for TVM\'s own space')
    dataset.add_argument("--trials", type=int, default=256, help="of each workload (default 256)")
    dataset.add_argument(
        "--ranked", type=int, default=0, help="of these, the best ranked ones first (default 0)"
    )
    dataset.add_argument("--model", default=None, help="ranks beside PSA: a file, or its name")
    dataset.add_argument("--seed", type=int, default=0)
    dataset.set_defaults(command=commands.dataset)


def _add_train(subcommands: Subcommands) -> None:
    train = subcommands.add_parser("train", help="train a cost model on data sets")
    train.add_argument("files", type=Path, nargs="+", help="what `mschedx dataset` wrote")
    train.add_argument("--model", default="pam", help="pam, tlp, one-shot or felix")
    train.add_argument("-o", "--output", type=Path, default=None, help="MODEL.safetensors")
    train.add_argument(
        "--held-out", type=float, default=0.2, help="share of the tasks to test on (default 0.2)"
    )
    train.add_argument(
        "--epochs",
        type=int,
        default=None,
        help="passes over the data (50; one-shot 200; felix 30; 12 with --start)",
    )
    train.add_argument("--published", action="store_true", help="the network as its paper has it")
    train.add_argument(
        "--start", default=None, help='weights to go on from: "cpu", or what this command wrote'
    )
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(command=commands.train)


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
