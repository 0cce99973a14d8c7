"""The tuners that can be compared, by name."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mschedx.bench.named import find_named, made_by
from mschedx.bench.named_parts import Parts, find_parts


@dataclass(frozen=True, slots=True)
class Tuner:
    """A way to tune.

    Attributes
    ----------
    parts : Callable
        Gives the space, strategy and cost model for :func:`mschedx.tune`; builder and runner are
        mschedx's for all.
    stock : bool
        Run ``ms.tune_tir`` with all of TVM's defaults instead, builder and runner too.
    code : str
        Of a user's own, a digest of the file that it is in, as it is now; "" of others, and where
        there is no file. What that file imports is not looked at.
    """

    name: str
    about: str
    parts: Parts
    stock: bool = False
    code: str = ""


def _tvm(strategy: str, cost_model: str) -> Parts:
    return lambda: {
        "space": "post-order-apply",
        "strategy": strategy,
        "cost_model": cost_model,
    }


def _direct() -> dict[str, Any]:
    from mschedx.hardware import host_target
    from mschedx.space import for_target

    return {"space": for_target(host_target(), im2col=False)}


def _random_keys() -> dict[str, Any]:
    from mschedx.search import ConstrainedEvolution

    return {"strategy": ConstrainedEvolution(keys="random")}


def _felix_undrafted() -> dict[str, Any]:
    from mschedx.cost import FelixMLP
    from mschedx.search import GradientDescent

    return {"strategy": GradientDescent(draft="none"), "cost_model": FelixMLP()}


def _on_tvm_space(parts: Parts) -> Parts:
    return lambda: {**parts(), "space": "post-order-apply"}


def _tvm_on_our_space() -> dict[str, Any]:
    return {"strategy": "evolutionary", "cost_model": "xgb"}


_HERON = find_parts("heron", "heron-xgb")
_DEFAULT = find_parts("pruner", "heron-xgb")
_PRUNER = find_parts("pruner")
_MOA = find_parts("pruner", "moa")
_DRAFT_ONLY = find_parts("heron", "psa")
_VERIFY_ONLY = find_parts("heron", "pam")
_FELIX = find_parts("felix", "felix")  # named, so that torch is imported before the clock starts
_RANDOM = find_parts("random")
_GENETIC = find_parts("genetic")

TUNERS = {
    tuner.name: tuner
    for tuner in (
        Tuner("heron", "ConstrainedEvolution + HeronXGB on mschedx's space", _HERON),
        Tuner("default", "DraftVerify + HeronXGB on mschedx's space, as mschedx.tune", _DEFAULT),
        Tuner("heron-direct", "heron with no convolution as a product with its patches", _direct),
        Tuner("heron-random-keys", "heron with keys drawn at random (its ablation)", _random_keys),
        Tuner("pruner", "DraftVerify + PSA and PAM on mschedx's space", _PRUNER),
        Tuner("moa", "pruner with the shipped model, adapted by momentum", _MOA),
        Tuner("draft-only", "evolution by PSA, corrected by what is measured", _DRAFT_ONLY),
        Tuner("verify-only", "evolution by PAM, without drafts", _VERIFY_ONLY),
        Tuner("felix", "GradientDescent + FelixMLP on mschedx's space", _FELIX),
        Tuner("felix-undrafted", "felix that samples until its model is ready", _felix_undrafted),
        Tuner("random", "uniform valid candidates of mschedx's space", _RANDOM),
        Tuner("genetic", "a plain genetic algorithm with repair, mschedx's space", _GENETIC),
        Tuner(
            "tvm", "TVM's evolutionary search + xgb on its own space", _tvm("evolutionary", "xgb")
        ),
        Tuner("tvm-mschedx-space", "TVM's search + xgb on mschedx's space", _tvm_on_our_space),
        Tuner("tvm-random", "TVM's search, random scores", _tvm("evolutionary", "random")),
        Tuner(
            "tvm-replay", "TVM's replay-trace: random candidates", _tvm("replay-trace", "random")
        ),
        *(
            Tuner(f"{name}-tvm-space", f"{name} on TVM's own space", _on_tvm_space(parts))
            for name, parts in (
                ("heron", _HERON),
                ("default", _DEFAULT),
                ("pruner", _PRUNER),
                ("moa", _MOA),
                ("draft-only", _DRAFT_ONLY),
                ("verify-only", _VERIFY_ONLY),
                ("felix", _FELIX),
                ("felix-undrafted", _felix_undrafted),
                ("random", _RANDOM),
            )
        ),
        Tuner("stock", "TVM as installed, its builder and runner too", _tvm("", ""), stock=True),
    )
}


PARTS = ("space", "strategy", "cost_model")


def find_tuner(name: str) -> Tuner:
    """Look a tuner up: one of `TUNERS`, or ``module:function`` of a user's own.

    The function takes nothing and returns a dict with some of `PARTS`, as ``mschedx.tune`` takes
    them; it is called in each run's process.
    """
    return find_named(name, TUNERS, _own, "tuner")


def _own(name: str, function: Callable[..., Any]) -> Tuner:
    def parts() -> dict[str, Any]:
        found = made_by(name, function)
        if not isinstance(found, dict) or not set(found) <= set(PARTS):
            raise ValueError(
                f"expected {name}() to return a dict with some of {', '.join(PARTS)}, got {found!r}"
            )
        return found

    return Tuner(name, "a user's own", parts, code=_code_of(function))


def _code_of(function: Callable[..., Any]) -> str:
    """Digest of the file that a callable is written in; "" where there is none."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
        text = b"" if file is None else Path(file).read_bytes()
    except (TypeError, OSError):  # of builtins and objects; of what was made by hand
        return ""
    return hashlib.sha256(text).hexdigest()[:16] if text else ""


def find_tuners(names: str) -> list[Tuner]:
    """Look tuners up by comma-separated names.

    Raises
    ------
    ValueError
        For an unknown one, with those that there are.
    """
    return [find_tuner(name.strip()) for name in names.split(",")]
