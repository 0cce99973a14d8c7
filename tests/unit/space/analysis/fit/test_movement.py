"""What loops do to a form, against all its values written out."""

from itertools import product

import pytest

from mschedx.space.analysis.fit.movement import UNCLEAR, UNKNOWN, movement_of
from mschedx.space.analysis.read.affine import Affine, Division, evaluate, simplified

BOTH_PARTS = Affine(
    0,
    (
        (Division(Affine(0, ((2, 1),)), 2, False), 3),
        (Division(Affine(0, ((2, 1),)), 2, True), 24),
    ),
)
"""A quotient and a remainder of one loop."""

EXTENTS = {0: 3, 1: 4, 2: 8, 3: 1}


def quotient(inner, divisor, remainder=False):
    return Division(inner, divisor, remainder)


FORMS = {
    "sum": Affine(5, ((0, 32), (1, -8), (2, 1))),
    "fused": Affine(0, ((quotient(Affine(0, ((2, 1),)), 4), 7), (1, 1))),
    "rest of fused": Affine(0, ((quotient(Affine(0, ((2, 1),)), 4, True), 2), (0, 8))),
    "several loops in one quotient": Affine(0, ((quotient(Affine(1, ((0, 3), (1, 1))), 4), 1),)),
    "a loop that runs once": Affine(0, ((3, 5), (1, 2))),
    "constant": Affine(7),
}


def values(form, running, standing):
    """How many values, from the least to the greatest, a form takes with the others at a place."""
    free = sorted(running)
    seen = [
        evaluate(form, {**standing, **dict(zip(free, place))})
        for place in product(*(range(EXTENTS[loop]) for loop in free))
    ]
    return max(seen) - min(seen) + 1


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("running", [(), (0,), (1,), (2,), (1, 2), (0, 1, 2, 3)])
def test_a_span_is_the_widest_over_all_places(name, running):
    form = simplified(FORMS[name], EXTENTS)
    others = [loop for loop in EXTENTS if loop not in running]
    places = product(*(range(EXTENTS[loop]) for loop in others))
    widest = max(values(form, running, dict(zip(others, place))) for place in places)
    assert movement_of(form, EXTENTS).span(frozenset(running), EXTENTS) == widest


def test_widths_of_two_terms_of_a_loop_add_up():
    assert movement_of(BOTH_PARTS, EXTENTS).span(frozenset({2}), EXTENTS) == 1 + 3 * 3 + 24
    assert movement_of(BOTH_PARTS, EXTENTS).span(frozenset({0}), EXTENTS) == 1


def test_steps_are_counts_strides_periods_and_directions():
    assert movement_of(FORMS["sum"], EXTENTS).steps == {
        0: (3, 32, 1, 0),
        1: (4, 8, 1, 1),
        2: (8, 1, 1, 0),
    }
    assert movement_of(FORMS["fused"], EXTENTS).steps[2] == (2, 7, 4, 0)
    assert movement_of(FORMS["rest of fused"], EXTENTS).steps[2] == (4, 2, 1, 0)


def test_what_is_not_plain_is_no_step():
    assert movement_of(BOTH_PARTS, EXTENTS).steps == {2: UNCLEAR}
    assert movement_of(FORMS["several loops in one quotient"], EXTENTS).steps == {
        0: UNCLEAR,
        1: UNCLEAR,
    }


def test_a_quotient_that_reads_no_loop_moves_nothing():
    still = movement_of(Affine(0, ((quotient(Affine(-3), 4), 2),)), EXTENTS)
    assert still.span(frozenset(EXTENTS), EXTENTS) == 1
    assert not still.steps


def test_too_many_places_are_no_number():
    long = {0: 1 << 20, 1: 1 << 20}
    inner = Affine(0, ((quotient(Affine(0, ((0, 3),)), 7), 5), (1, 3)))
    form = Affine(0, ((quotient(inner, (1 << 19) + 1, True), 1), (0, 1)))
    assert movement_of(form, long).span(frozenset({1}), long) == UNKNOWN
