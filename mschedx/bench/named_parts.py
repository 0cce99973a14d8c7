"""Strategies and cost models by name: what the command line takes and tuners are put together of.

Nothing heavy is imported before a part is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

from .named import find_named, made_by

SHIPPED = "cpu"
"""Name of the pretrained model."""

Parts = Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class NamedStrategy:
    """A strategy by name.

    Attributes
    ----------
    make : callable
        Makes it; what TVM knows by name stays a name.
    beside : str or None
        The cost model that it takes where none is named; None leaves that to the tuner.
    asks : bool
        Whether it asks a cost model for anything.
    """

    make: Callable[[], Any]
    beside: str | None = None
    asks: bool = True


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A cost model by name.

    Attributes
    ----------
    make : callable
        Makes it, of weights where it has any: a file or the name of a model that comes with the
        package.
    trained : bool
        Whether it takes weights, as ``NAME:FILE``.
    weights : str or None
        Those that it takes where none are named.
    needed : bool
        Whether it is nothing without weights.
    """

    make: Callable[..., Any]
    trained: bool = False
    weights: str | None = None
    needed: bool = False


def _make(home: str, name: str, *args: Any, **options: Any) -> Any:
    return getattr(import_module(home), name)(*args, **options)


def _search(name: str, beside: str | None = None, **options: Any) -> NamedStrategy:
    return NamedStrategy(partial(_make, "mschedx.search", name, **options), beside)


def _model(name: str) -> NamedModel:
    return NamedModel(partial(_make, "mschedx.cost", name))


def _trained(name: str, weights: str | None = None, *, needed: bool = False) -> NamedModel:
    def make(pretrained: str | None) -> Any:
        return _make("mschedx.cost", name, pretrained=pretrained)

    return NamedModel(make, trained=True, weights=weights, needed=needed)


def _as_named(name: str) -> str:
    return name


_FELIX = _search("GradientDescent")

TVM_STRATEGIES = ("evolutionary", "replay-trace", "replay-func")

STRATEGIES: dict[str, NamedStrategy] = {
    "heron": _search("ConstrainedEvolution"),
    "pruner": _search("DraftVerify", "pam"),
    "draft-verify": _search("DraftVerify"),
    "felix": _FELIX,
    "gradient": _FELIX,
    "genetic": _search("RepairedGenetic"),
    "random": replace(_search("ConstrainedRandom"), asks=False),
    **{
        name: NamedStrategy(partial(_as_named, name), asks=name == "evolutionary")
        for name in TVM_STRATEGIES
    },
}
"""Ours and TVM's; `bench.replay` has ours from here. "pruner" learns with the paper's network,
"draft-verify" with what `mschedx.tune` takes."""

MODELS: dict[str, NamedModel] = {
    "heron-xgb": _model("HeronXGB"),
    "psa": _model("PSA"),
    "pam": _trained("PAM"),
    "moa": _trained("MoA", SHIPPED),
    "felix": _trained("FelixMLP"),
    "tlp": _trained("TLP", needed=True),
    "one-shot": _trained("OneShotTuner", needed=True),
    "consensus": _trained("Consensus", SHIPPED),
    **{name: NamedModel(partial(_as_named, name)) for name in ("xgb", "mlp", "random", "none")},
}
"""The last ones are TVM's; "none" is no model at all."""


def find_parts(strategy: str | None = None, cost_model: str | None = None) -> Parts:
    """Look a strategy and a cost model up; nothing is made before what is returned is called.

    Parameters
    ----------
    strategy : str, optional
        One of `STRATEGIES`, or ``module:attribute`` of a callable that returns one.
    cost_model : str, optional
        One of `MODELS`, ``NAME:FILE`` for one with the weights of a file (or the name of those
        that come with the package), or ``module:attribute`` of a callable that returns one. When
        None, what goes with the strategy.

    Returns
    -------
    callable
        Makes them, as `mschedx.tune` takes them: a dict with "strategy" and "cost_model", without
        those that are left to the tuner. It raises ``FileNotFoundError`` for weights that are not
        there, and ``ValueError`` for weights of another model.

    Raises
    ------
    ValueError
        For an unknown name, with those that there are; for a model that needs weights and has
        none, or has none to load.
    """
    search = None if strategy is None else find_strategy(strategy)
    if cost_model is None and search is not None:
        cost_model = search.beside
    model = None if cost_model is None else find_model(cost_model)

    def parts() -> dict[str, Any]:
        made = {"strategy": search and search.make(), "cost_model": model and model()}
        return {name: part for name, part in made.items() if part is not None}

    return parts


def note_on_parts(strategy: str | None, cost_model: str | None) -> str | None:
    """What to say of a cost model that is named beside a strategy that asks none."""
    known = STRATEGIES.get(strategy or "")
    if known is None or known.asks or cost_model in (None, "none"):
        return None
    return f"the strategy {strategy} asks no cost model, {cost_model} has no part in the search"


def find_strategy(name: str) -> NamedStrategy:
    """Look a strategy up, as `find_parts` does."""
    return find_named(name, STRATEGIES, _own_strategy, "strategy")


def find_model(name: str) -> Callable[[], Any]:
    """Look a cost model up, as `find_parts` does; what makes it."""
    short, colon, weights = name.partition(":")
    known = MODELS.get(short)
    if known is None:
        return find_named(name, MODELS, _own_model, "cost model").make
    if not known.trained:
        if colon:
            loads = ", ".join(one for one, model in MODELS.items() if model.trained)
            raise ValueError(f"{short} has no weights to load, got {name!r}; these do: {loads}")
        return known.make
    if known.needed and not weights:
        raise ValueError(
            f"expected {short} with the weights that it was trained to, as {short}:FILE "
            f"(`mschedx train --model {short}` writes one), got {name!r}"
        )
    return partial(known.make, weights or known.weights)


def _own_strategy(name: str, function: Callable[..., Any]) -> NamedStrategy:
    def make() -> Any:
        from tvm.s_tir import meta_schedule as ms

        found = made_by(name, function)
        if not isinstance(found, (ms.SearchStrategy, str)):
            raise ValueError(
                f"expected {name}() to return a strategy as ms.tune_tir takes it, got "
                f"{type(found).__name__}"
            )
        return found

    return NamedStrategy(make)


def _own_model(name: str, function: Callable[..., Any]) -> NamedModel:
    def make() -> Any:
        from tvm.s_tir import meta_schedule as ms

        from mschedx.cost import TVMCostModel

        found = made_by(name, function)
        if isinstance(found, (ms.CostModel, str)):
            return found
        try:
            return TVMCostModel(found)
        except TypeError as error:
            raise ValueError(f"{name}(): {error}") from None

    return NamedModel(make)
