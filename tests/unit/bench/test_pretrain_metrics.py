"""How a model ranks tasks, as numbers."""

from types import SimpleNamespace

import numpy as np
import pytest

from mschedx.bench.pretrain_metrics import card_metrics, evaluate


def test_a_task_without_an_order_leaves_the_means_of_the_others():
    """All scores of one are equal, as of two configs of one program; all latencies of another."""
    latency_s = np.array([1e-6, 2e-6, 3e-6])
    tasks = [
        SimpleNamespace(name=name, latency_s=seconds, scores=lambda model, s=scores: s)
        for name, seconds, scores in (
            ("a", latency_s, 1 / latency_s),
            ("b", latency_s, np.ones(3)),
            ("c", np.ones(3), 1 / latency_s),
        )
    ]
    *_, overall = evaluate(None, tasks)
    assert overall.correlation == pytest.approx(1.0)
    assert overall.pairs == pytest.approx((1.0 + 0.5) / 2)
    assert {"pairwise accuracy", "rank correlation"} <= set(card_metrics(overall))
    *_, none = evaluate(None, tasks[2:])
    assert np.isnan(none.pairs)
    assert "pairwise accuracy" not in card_metrics(none)


def test_a_draft_is_a_quarter_of_each_task_s_trials():
    """The best of 256 comes up as the 60th, the best of 16 as the first."""
    seconds = np.arange(2.0, 258.0)
    seconds[59] = 1.0
    tasks = [
        SimpleNamespace(name="long", latency_s=seconds, scores=lambda _: -np.arange(256.0)),
        SimpleNamespace(
            name="short", latency_s=np.arange(1.0, 17.0), scores=lambda _: -np.arange(16.0)
        ),
    ]
    long, short, both = evaluate(None, tasks)
    assert long.best == (1.0, 1 / 5)
    assert short.best == (1.0, 1 / 4), "of a draft of four the fourth counts as the fifth"
    assert both.best == (1.0, 2 / 9)
