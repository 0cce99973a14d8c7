"""Tapes in groups: every step once, after its arguments, and few groups."""

import numpy as np
from formulas import D, expressions
from hypothesis import given, settings
from hypothesis import strategies as st

from mschedx.space.algebra.expression import add, column, monomial, multiply
from mschedx.space.algebra.grouped import Grouped
from mschedx.space.algebra.tape import Tape


@given(st.lists(expressions, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_every_step_is_in_one_group_after_its_arguments(formulas):
    tape = Tape(formulas)
    grouped = Grouped.of(tape)
    filled = len(tape.columns) + 1 + len(grouped.constants)
    for group in grouped.groups:
        assert group.rows.start == filled
        assert (group.arguments < filled).all()
        assert (group.reads <= len(tape.columns)).all()
        filled = group.rows.stop
    assert filled == grouped.n_rows == len(tape.columns) + 1 + len(tape.steps)


def test_steps_of_a_kind_are_one_group():
    formulas = [monomial(1, {a: 1, b: 1}) for a in range(D) for b in range(a)]
    formulas += [add(column(a), multiply(2, column(b))) for a in range(D) for b in range(a)]
    names = [group.operation.name for group in Grouped.of(Tape(formulas)).groups]
    assert sorted(names) == ["*", "+"]


def test_parts_of_repeated_arguments_add_up():
    (group,) = Grouped.of(Tape([monomial(1, {0: 2}), monomial(1, {0: 1, 1: 1})])).groups
    total = np.zeros((5, 1))
    group.scatter(np.ones((2, 2, 1)), total)
    assert total[:, 0].tolist() == [3, 1, 0, 0, 0]
    group.scatter(np.ones((4, 2, 1)), total)
    # Both read the first column and one the second; what they do not read goes to the row of 1s.
    assert total[:, 0].tolist() == [8, 3, 1, 0, 0]
