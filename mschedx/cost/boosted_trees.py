"""Gradient-boosted trees over one table of trials: XGBoost behind three methods.

Labels are relative to the fastest trial of the table, so that they have no unit and trials of
different tasks need not be mixed. A failed trial is the worst there is, not left out: a model that
never sees failures keeps proposing them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from mschedx.ranges import require_counts, require_no_negative, require_shares

from .training_rows import FloatArray, TrainingRows, aligned


class Label(StrEnum):
    """What the trees are fitted to; ``best`` is the least latency of the table."""

    LOG = "log"
    """``log(best / latency)``, <= 0: differences are speed ratios."""
    THROUGHPUT = "throughput"
    """``best / latency`` in (0, 1]: resolves the fast ones, lumps the slow ones together."""
    RANK = "rank"
    """Pairwise order of the latencies."""


@dataclass(frozen=True)
class TreeConfig:
    """Parameters of the trees.

    The defaults of depth, eta, gamma and lambda are Heron's (github IPRC-ICT/Heron, ``xgb_model``).
    It boosts up to 8000 rounds and stops on *training* recall, which on the tens of rows of a
    short run is no signal; a fixed number of rounds with the same shrinkage takes its place.

    Parameters
    ----------
    label : Label
    rounds : int
        Trees, >= 1.
    depth : int
        Depth of a tree, >= 1.
    eta : float
        Shrinkage in (0, 1].
    gamma, l2 : float
        Least loss reduction of a split and L2 weight of leaves, >= 0.
    min_child_weight : float
        Least hessian sum (rows, for squared error) of a leaf, >= 0.
    failure_margin : float
        How far below the slowest trial a failed one is put, in natural-log units (``LOG`` only).
    threads : int
        Threads of XGBoost, >= 1. One: tables have at most a few thousand rows, the result does
        not depend on the machine, and the other cores are left to builds and measurements.
    seed : int
    """

    label: Label = Label.LOG
    rounds: int = 100
    depth: int = 7
    eta: float = 0.3
    gamma: float = 1e-5
    l2: float = 1.0
    min_child_weight: float = 1.0
    failure_margin: float = 1.0
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", Label(self.label))
        require_counts(self, "rounds", "depth", "threads")
        require_no_negative(self, "gamma", "l2", "min_child_weight", "failure_margin")
        require_shares(self, "eta", zero=False)


def labels(latency_s: FloatArray, config: TreeConfig) -> FloatArray:
    """Turn latencies [n] (seconds, ``inf`` = failed, at least one finite) into labels [n]."""
    ran = np.isfinite(latency_s)
    best = latency_s[ran].min()
    if config.label is Label.THROUGHPUT:
        return np.where(ran, best / np.where(ran, latency_s, np.inf), 0.0)
    log = np.log(best / np.where(ran, latency_s, best))
    log[~ran] = log[ran].min() - config.failure_margin
    if config.label is Label.LOG:
        return log
    # Ranking objectives want relevance grades; the position among distinct labels is one.
    return np.unique(log, return_inverse=True)[1].astype(np.float64)


class BoostedTrees:
    """XGBoost on one table.

    Parameters
    ----------
    config : TreeConfig
    """

    def __init__(self, config: TreeConfig) -> None:
        self.config = config
        self.names: tuple[str, ...] = ()
        self._booster: Any = None

    @property
    def fitted(self) -> bool:
        """Whether `fit` saw at least two different labels."""
        return self._booster is not None

    def fit(self, table: TrainingRows) -> None:
        """Train from scratch; a table in which nothing ran, or all alike, leaves it unfitted."""
        self._booster, self.names = None, table.names
        if not np.isfinite(table.latency_s).any() or not table.names:
            return
        target = labels(table.latency_s, self.config)
        if len(np.unique(target)) < 2:
            return
        import xgboost as xgb

        config = self.config
        data = xgb.DMatrix(table.features, label=target, nthread=config.threads)
        parameters = {
            "objective": "reg:squarederror",
            "max_depth": config.depth,
            "eta": config.eta,
            "gamma": config.gamma,
            "lambda": config.l2,
            "min_child_weight": config.min_child_weight,
            "nthread": config.threads,
            "seed": config.seed,
            "verbosity": 0,
            # The histogram method's set-up dominates on small tables.
            "tree_method": "exact" if len(table) <= 512 else "hist",
        }
        if config.label is Label.RANK:
            parameters["objective"] = "rank:pairwise"
            parameters["tree_method"] = "hist"
            parameters["lambdarank_pair_method"] = "topk"
            parameters["lambdarank_num_pair_per_sample"] = min(len(table), 32)
            data.set_group([len(table)])
        self._booster = xgb.train(parameters, data, num_boost_round=config.rounds)

    def predict(self, features: FloatArray, names: tuple[str, ...]) -> FloatArray:
        """Score features [n, F] with these column names: float64 [n], > 0, finite.

        The score is a fixed increasing function of the trees' output, ``exp`` (of a throughput
        label: ``exp(x - 1)``), so that it estimates throughput relative to the best trial and
        stays positive. Before `fit` it is 1.
        """
        if self._booster is None:
            return np.ones(len(features))
        import xgboost as xgb

        rows = aligned(features, names, self.names)
        raw = self._booster.predict(xgb.DMatrix(rows, nthread=self.config.threads))
        if self.config.label is Label.THROUGHPUT:
            raw = raw - 1.0
        return np.exp(np.clip(raw.astype(np.float64), -60.0, 60.0))

    def importance(self) -> FloatArray:
        """How often each column is split on (XGBoost's "weight"): float64 [F], >= 0."""
        found = np.zeros(len(self.names))
        if self._booster is not None:
            for name, weight in self._booster.get_score(importance_type="weight").items():
                found[int(name[1:])] = weight
        return found
