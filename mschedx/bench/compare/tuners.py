"""The tuners that can be compared, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Parts = Callable[[], dict[str, Any]]


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
    """

    name: str
    about: str
    parts: Parts
    stock: bool = False


def _tvm(strategy: str, cost_model: str) -> Parts:
    return lambda: {
        "space": "post-order-apply",
        "strategy": strategy,
        "cost_model": cost_model,
    }


def _ours() -> dict[str, Any]:
    return {}


def _ours_on_tvm_space() -> dict[str, Any]:
    return {"space": "post-order-apply"}


def _direct() -> dict[str, Any]:
    from mschedx.hardware import host_target
    from mschedx.space import for_target

    return {"space": for_target(host_target(), im2col=False)}


def _random() -> dict[str, Any]:
    from mschedx.search import ConstrainedRandom

    return {"strategy": ConstrainedRandom()}


def _random_keys() -> dict[str, Any]:
    from mschedx.search import ConstrainedEvolution

    return {"strategy": ConstrainedEvolution(keys="random")}


def _genetic() -> dict[str, Any]:
    from mschedx.search import RepairedGenetic

    return {"strategy": RepairedGenetic()}


def _pruner() -> dict[str, Any]:
    from mschedx.cost import PAM
    from mschedx.search import DraftVerify

    return {"strategy": DraftVerify(), "cost_model": PAM()}


def _felix() -> dict[str, Any]:
    from mschedx.cost import FelixMLP
    from mschedx.search import GradientDescent

    return {"strategy": GradientDescent(), "cost_model": FelixMLP()}


def _tvm_on_our_space() -> dict[str, Any]:
    return {"strategy": "evolutionary", "cost_model": "xgb"}


TUNERS = {
    tuner.name: tuner
    for tuner in (
        Tuner("heron", "ConstrainedEvolution + HeronXGB on mschedx's space", _ours),
        Tuner("heron-tvm-space", "the same on TVM's own space", _ours_on_tvm_space),
        Tuner("heron-direct", "heron with no convolution as a product with its patches", _direct),
        Tuner("heron-random-keys", "heron with keys drawn at random (its ablation)", _random_keys),
        Tuner("pruner", "DraftVerify + PSA and PAM on mschedx's space", _pruner),
        Tuner("felix", "GradientDescent + FelixMLP on mschedx's space", _felix),
        Tuner("random", "uniform valid candidates of mschedx's space", _random),
        Tuner("genetic", "a plain genetic algorithm with repair, mschedx's space", _genetic),
        Tuner(
            "tvm", "TVM's evolutionary search + xgb on its own space", _tvm("evolutionary", "xgb")
        ),
        Tuner("tvm-mschedx-space", "TVM's search + xgb on mschedx's space", _tvm_on_our_space),
        Tuner("tvm-random", "TVM's search, random scores", _tvm("evolutionary", "random")),
        Tuner(
            "tvm-replay", "TVM's replay-trace: random candidates", _tvm("replay-trace", "random")
        ),
        Tuner("stock", "TVM as installed, its builder and runner too", _tvm("", ""), stock=True),
    )
}


def find_tuners(names: str) -> list[Tuner]:
    """Look tuners up by comma-separated names."""
    unknown = [name for name in names.split(",") if name not in TUNERS]
    if unknown:
        known = "; ".join(f"{t.name}: {t.about}" for t in TUNERS.values())
        raise ValueError(f"unknown tuner {', '.join(unknown)}; there are {known}")
    return [TUNERS[name] for name in names.split(",")]
