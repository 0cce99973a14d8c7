import numpy as np
import pytest

from mschedx.cost.boosted_trees import BoostedTrees, Label, TreeConfig, labels
from mschedx.cost.training_rows import TrainingRows, aligned


def rows(n=200, seed=0):
    """Latency that depends on the first two of four features."""
    x = np.random.default_rng(seed).integers(0, 8, size=(n, 4)).astype(float)
    return TrainingRows(tuple("abcd"), x, 1e-3 * np.exp(0.3 * np.abs(x[:, 0] - 3) + 0.5 * x[:, 1]))


@pytest.mark.parametrize("label", list(Label))
def test_trees_order_unseen_rows_and_score_above_zero(label):
    trees = BoostedTrees(TreeConfig(label=label))
    trees.fit(rows())
    unseen = rows(seed=1)
    scores = trees.predict(unseen.features, unseen.names)
    assert (scores > 0).all()
    assert np.isfinite(scores).all()
    order = np.argsort(np.argsort(-unseen.latency_s)), np.argsort(np.argsort(scores))
    assert np.corrcoef(*order)[0, 1] > 0.8


def test_importance_counts_the_splits_of_what_matters():
    trees = BoostedTrees(TreeConfig())
    trees.fit(rows())
    a, b, c, d = trees.importance()
    assert min(a, b) > max(c, d) >= 0


def test_unfitted_trees_score_one():
    trees = BoostedTrees(TreeConfig())
    assert np.array_equal(trees.predict(np.ones((3, 2)), ("a", "b")), np.ones(3))
    alike = TrainingRows(("a",), np.arange(4.0)[:, None], np.full(4, 1e-3))
    failed = TrainingRows(("a",), np.arange(4.0)[:, None], np.full(4, np.inf))
    for table in (alike, failed, TrainingRows.join([])):
        trees.fit(table)
        assert not trees.fitted
        assert np.array_equal(trees.predict(np.ones((2, 1)), ("a",)), np.ones(2))


@pytest.mark.parametrize("label", list(Label))
def test_failed_trials_are_the_worst_label(label):
    found = labels(np.array([2e-3, np.inf, 1e-3, 4e-3]), TreeConfig(label=label))
    assert np.isfinite(found).all()
    assert np.argsort(found).tolist() == [1, 3, 0, 2]


def test_labels_have_no_unit():
    latency = np.array([2e-3, np.inf, 1e-3, 4e-3])
    for label in Label:
        config = TreeConfig(label=label)
        assert np.allclose(labels(latency, config), labels(1e3 * latency, config))


def test_training_does_not_depend_on_the_run():
    scores = []
    for _ in range(2):
        trees = BoostedTrees(TreeConfig())
        trees.fit(rows(700))
        scores.append(trees.predict(rows(seed=1).features, tuple("abcd")))
    assert np.array_equal(*scores)


def test_columns_are_matched_by_name():
    trees = BoostedTrees(TreeConfig())
    table = rows()
    trees.fit(table)
    backwards = table.features[:, ::-1]
    assert np.array_equal(
        trees.predict(backwards, tuple("dcba")), trees.predict(table.features, tuple("abcd"))
    )
    assert np.isnan(aligned(np.ones((2, 1)), ("a",), ("b", "a"))[:, 0]).all()


def test_joined_tables_unite_columns():
    joined = TrainingRows.join(
        [
            TrainingRows(("a", "b"), np.ones((1, 2)), np.ones(1)),
            TrainingRows(("b", "c"), np.full((1, 2), 2.0), np.ones(1)),
        ]
    )
    assert joined.names == ("a", "b", "c")
    assert np.array_equal(joined.features, [[1, 1, np.nan], [np.nan, 2, 2]], equal_nan=True)
    with pytest.raises(ValueError, match=r"expected features \[2, 1\]"):
        TrainingRows(("a",), np.ones((2, 3)), np.ones(2))


@pytest.mark.parametrize(
    ("name", "value"),
    [("rounds", 0), ("depth", -1), ("eta", 0.0), ("eta", 1.5), ("l2", -1.0), ("threads", 0)],
)
def test_parameters_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"TreeConfig.{name} .*got {value}"):
        TreeConfig(**{name: value})
    with pytest.raises(ValueError, match="not a valid Label"):
        TreeConfig(label="speed")
