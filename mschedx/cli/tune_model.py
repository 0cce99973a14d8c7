"""``mschedx tune-model``: a network named on the command line, tuned, exported, profiled."""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mschedx.bench.named import find_named, made_by
from mschedx.files import require_writable, written_before
from mschedx.inputs import normalize_target
from mschedx.measure.failures import MachineTrouble
from mschedx.networks.buckets import BucketsResult, tune_buckets
from mschedx.networks.errors import NetworkError
from mschedx.networks.linking import library_path, require_linker_for
from mschedx.networks.parts import PartsResult, tune_parts
from mschedx.networks.result import NetworkResult, said_of_output
from mschedx.networks.tuning import tune_model

from .streams import complain


def tune_from_command(
    args: argparse.Namespace, parts: Mapping[str, Any]
) -> NetworkResult | BucketsResult | PartsResult:
    """Tune what the command line names, and print what was found.

    What is wrong or was interrupted is not exported. The error stream says what is left out, and
    the notes where there is no progress.

    Parameters
    ----------
    args : Namespace
    parts : mapping of str
        The strategy and cost model, where they are not our own; see `tune_model`.

    Raises
    ------
    ValueError
        For options that do not go together, for a path that is no library's, and for a library that
        nothing here links.
    OSError
        For a path that cannot be written, before anything is tuned.
    """
    options = {**_options(args), **parts}
    if args.export is not None and args.target is not None:
        require_linker_for(normalize_target(args.target))
    if args.bucket:
        return _tune_buckets(args, options)
    if args.unsupported == "torch":
        return _tune_parts(args, options)
    if args.export is not None:
        require_writable(library_path(args.export).parent)
    model, inputs = network_of(args.model, args.input)
    result = tune_model(model, inputs, args.target, fix_shapes=args.fix_shapes, **options)
    print(describe(result))
    _notes(args, result.notes)
    left_out = partial(_is_left_out, result)

    def export() -> None:
        if args.export is not None and not left_out(f"{args.export}", wrong=result.wrong):
            print(result.export(args.export))

    # The library first: a profile runs the network, which may fail.
    with written_before(export, (OSError, MachineTrouble)):
        if args.profile and not left_out("the profile"):
            _profile(result)
    return result


def _profile(result: NetworkResult) -> None:
    """Print where a run spends its time, or why that cannot be measured here."""
    try:
        print(result.profile().table())
    except NetworkError as error:
        complain(f"the profile is left out: {error}")


def _notes(args: argparse.Namespace, notes: Sequence[str]) -> None:
    """Say the notes of a run, which its progress has said already where there is one."""
    for note in notes if args.quiet else ():
        complain(f"note: {note}")


def _is_left_out(result: NetworkResult | BucketsResult, what: str, *, wrong: str = "") -> bool:
    """Whether a result is not to be used further; says why."""
    if result.interrupted:
        complain(
            f"{what} is left out, since tuning was interrupted; call it again with --work-dir "
            f"{result.work_dir} to go on"
        )
    elif wrong:
        complain(f"{what} is left out, since the output is wrong: {wrong}")
    return result.interrupted or bool(wrong)


def _tune_buckets(args: argparse.Namespace, options: Mapping[str, Any]) -> BucketsResult:
    """Tune for several sizes."""
    if args.fix_shapes or args.profile:
        raise ValueError("--bucket goes with neither --fix-shapes nor --profile: leave one out")
    if args.unsupported == "torch":
        raise ValueError("--bucket does not go with --unsupported torch: leave one out")
    buckets = _buckets(args.bucket)
    if args.export is not None:
        require_writable(args.export)
    model, inputs = network_of(args.model, args.input)
    result = tune_buckets(model, inputs, buckets, args.target, **options)
    print(result)
    for sizes, one in result.results.items():
        _notes(args, [f"{result.buckets.name(sizes)}: {note}" for note in one.notes])
    left_out = partial(_is_left_out, result)
    if args.export is not None and not left_out(f"{args.export}"):
        for sizes, one in result.results.items():
            path = args.export / f"{result.buckets.name(sizes)}.so"
            if not left_out(f"{path}", wrong=one.wrong):
                print(one.export(path))
    return result


def _buckets(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Sizes by the name of their dimension, from ``INPUT[AXIS]=SIZES``."""
    buckets: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        try:
            found = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            raise ValueError(
                f"expected --bucket as INPUT[AXIS]=SIZES ('x[0]=1,8,32'), got {text!r}"
            ) from None
        if name in buckets:
            both = ",".join(map(str, (*buckets[name], *found)))
            raise ValueError(f"--bucket {name} is given twice: write --bucket '{name}={both}'")
        buckets[name] = found
    return buckets


def _tune_parts(
    args: argparse.Namespace, options: Mapping[str, Any]
) -> PartsResult | NetworkResult:
    """Tune around what is left to torch."""
    if args.export is not None or args.profile:
        raise ValueError(
            "--unsupported torch goes with neither --export nor --profile, since no library of "
            "TVM's holds what torch runs: leave one out"
        )
    model, inputs = network_of(args.model, args.input)
    result = tune_parts(model, inputs, args.target, fix_shapes=args.fix_shapes, **options)
    if isinstance(result, NetworkResult):
        print(describe(result))
        _notes(args, result.notes)
    else:
        print(result)
    return result


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "trials_per_task": args.trials_per_task,
        "work_dir": args.work_dir,
        "seed": args.seed,
        "space": args.space,
        "timeout_s": args.timeout,
        "prepack": False if args.no_prepack else None,
        "exact": args.exact,
        "progress": not args.quiet,
    }


def describe(result: NetworkResult) -> str:
    """What a run found, in a few lines."""
    kinds: dict[str, int] = {}
    for choice in result.tasks:
        kinds[choice.origin.value] = kinds.get(choice.origin.value, 0) + 1
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
    checked = f"output {said_of_output(result)}"
    if result.verified:
        checked += f" (off by {result.max_error:.2g}, {result.tolerance:.2g} allowed)"
    return (
        f"{result.name}: {result.latency_s * 1e3:.4g} ms by its tasks ({counted}), {checked}\n"
        f"{result.measured} trials measured now, {result.wall_s:.0f} s; records in "
        f"{result.work_dir}"
    )


def network_of(name: str, inputs: Sequence[str] | None) -> tuple[Any, Any]:
    """Find a network and its inputs.

    Parameters
    ----------
    name : str
        A name of `mschedx.models`, the path of an ONNX file, or ``MODULE:FACTORY`` (also
        ``FILE.py:FACTORY``), whose factory returns a module, or a module and its inputs.
    inputs : sequence of str, optional
        Shape and dtype of each input, as ``1,3,224,224`` or ``1,128:int64``.

    Raises
    ------
    ValueError
        For what cannot be found or called.
    """
    given = tuple(_tensor(text) for text in inputs or ()) or None
    if name.endswith(".onnx"):
        return Path(name), given
    if ":" not in name:
        from mschedx.models import make

        model, example = make(name)
        return model, given or example
    made = made_by(name, _factory(name))
    if isinstance(made, tuple):
        model, example = made
        return model, given or example
    return made, given


def _factory(name: str) -> Any:
    place, _, attribute = name.rpartition(":")
    if not place.endswith(".py"):
        return find_named(name, {}, lambda _, found: found, "network")
    if not Path(place).exists():
        raise FileNotFoundError(f"expected a Python file, got {place!r}: not there")
    folder = str(Path(place).resolve().parent)
    if folder not in sys.path:  # as `python FILE.py` finds what lies beside it, later too
        sys.path.insert(0, folder)
    try:
        found = runpy.run_path(place).get(attribute)
    except ImportError as error:
        raise NetworkError(f"cannot import network {name}: {error}") from error
    if not callable(found):
        raise NetworkError(f"expected a function {attribute!r} in {place}, got {found!r}")
    return found


def _tensor(text: str) -> Any:
    """An input of random floats, or of zeros and ones, from ``SHAPE[:DTYPE]``."""
    import torch

    shape, _, dtype = text.partition(":")
    kind = getattr(torch, dtype or "float32", None)
    try:
        extents = [int(extent) for extent in shape.replace("x", ",").split(",")]
    except ValueError:
        kind = None
        extents = []
    if not isinstance(kind, torch.dtype):
        raise NetworkError(f"expected an input as 1,3,224,224 or 1,128:int64, got {text!r}")
    generator = torch.Generator().manual_seed(0)
    if kind.is_floating_point:
        return torch.randn(extents, generator=generator).to(kind)
    return torch.randint(0, 2, extents, generator=generator).to(kind)
