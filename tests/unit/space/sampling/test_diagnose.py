"""Which constraints are said to leave no config, and that no more is said than was found out."""

import numpy as np

from mschedx.space.algebra.constraints import at_least, at_most, equal
from mschedx.space.algebra.expression import add, column
from mschedx.space.sampling import diagnose, join

DIGITS = np.arange(10)[:, None]
TABLES = [((place,), DIGITS) for place in range(4)]
A, B, C, D = map(column, range(4))


def explained(*constraints):
    return diagnose.explain(TABLES, constraints, len(TABLES))


def test_constraints_that_are_not_needed_are_left_out():
    said = explained(
        at_most(add(A, B), 9, "needless"),
        at_least(A, 7, "large"),
        at_most(add(A, C), 6, "small"),
        equal(D, 3, "elsewhere"),
    )
    assert "these 2 constraints exclude every one together, and no fewer of them do" in said
    assert "large" in said
    assert "small" in said
    assert "needless" not in said
    assert "elsewhere" not in said


def test_what_takes_too_many_states_to_find_out_is_not_claimed(monkeypatch):
    monkeypatch.setattr(join, "MAX_PAIRS", 20)
    said = explained(at_least(add(A, B), 12, "large"), at_most(add(A, B), 5, "small"))
    assert "these 2 constraints exclude every one together" in said
    assert "whether fewer of them do cannot be told" in said


def test_what_could_be_told_once_others_were_left_out_is(monkeypatch):
    """The join with C is too large; when that constraint is gone, the rest is tried again."""
    monkeypatch.setattr(join, "MAX_PAIRS", 50)
    said = explained(
        at_least(add(A, B), 12, "large"),
        at_most(add(A, B), 5, "small"),
        at_most(add(B, C), 12, "needless"),
    )
    assert "these 2 constraints exclude every one together, and no fewer of them do" in said
    assert "needless" not in said


def test_constraints_on_other_tables_are_joined_once(monkeypatch):
    joined = []

    class Counted(join.Joiner):
        def run(self, plan=None):
            joined.append(self)
            return super().run(plan)

    monkeypatch.setattr(diagnose, "Joiner", Counted)
    own = [at_most(add(A, B), most, "own") for most in range(12, 18)]
    said = explained(*own, at_most(add(C, D), 1, "low"), at_least(C, 2, "high"))
    assert "low" in said
    assert "high" in said
    assert "own" not in said
    assert len(joined) == 4  # one for each group, one without each of the two
