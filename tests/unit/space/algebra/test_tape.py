"""One tape, three ways to run it: exact, between bounds, and relaxed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from formulas import LARGEST, TABLE, D, configs, expressions, reference, rows
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mschedx.space.algebra.constraints import at_least, at_most, equal, multiple_of
from mschedx.space.algebra.expression import (
    Lookup,
    add,
    ceil_div,
    column,
    constant,
    floor_div,
    maximum,
    minimum,
    monomial,
    multiply,
    where_at_most,
    where_divides,
)
from mschedx.space.algebra.tape import Tape

WINDOW = add(monomial(2, {0: 1, 2: 1}), column(1), -2)
ROUGH = {
    "ceil": ceil_div(WINDOW, column(3)),
    "floor": floor_div(multiply(3, column(0)), column(1)),
    "min": minimum(multiply(2, column(0)), column(1)),
    "max": maximum(WINDOW, column(3)),
    "at most": where_at_most(column(0), column(1), column(2), monomial(3, {3: 1})),
    "divides": where_divides(column(1), column(0), 1, 5),
    "lookup": Lookup(0, TABLE),
    "flat steps": ceil_div(column(0), 12),
}

widths = st.floats(0.05, 1.0)
real_rows = st.lists(st.floats(1.0, LARGEST), min_size=D, max_size=D)


@given(st.lists(expressions, max_size=4), configs)
@settings(max_examples=150, deadline=None)
def test_exact_values_are_those_of_python_integers(formulas, given_rows):
    values = Tape(formulas)(np.array(given_rows))
    assert values.tolist() == [[reference(e, row) for row in given_rows] for e in formulas]


def test_pieces_of_many_configs_join():
    rng = np.random.default_rng(3)
    many = rng.integers(1, 9, size=(5000, D))
    formulas = [WINDOW, *ROUGH.values(), constant(7), WINDOW]
    for expression, values in zip(formulas, Tape(formulas)(many)):
        np.testing.assert_array_equal(values, expression(many))


def test_nothing_to_evaluate():
    some = np.ones((3, 2), dtype=np.int64)
    assert Tape([])(some).shape == (0, 3)
    assert Tape([WINDOW])(np.ones((0, D), dtype=np.int64)).shape == (1, 0)
    assert Tape([constant(4)])(some).tolist() == [[4, 4, 4]]
    assert Tape([]).relaxed(torch.ones(3, 2)).shape == (0, 3)


def test_a_constant_needs_no_columns():
    tape = Tape([constant(7)])
    assert tape.relaxed(torch.empty((3, 0), dtype=torch.float64), 0.5).tolist() == [[7.0] * 3]
    assert tape(np.empty((3, 0), dtype=np.int64)).tolist() == [[7] * 3]


def test_equal_parts_are_one_step():
    alone = len(Tape([ceil_div(WINDOW, 4)]).steps)
    both = Tape([ceil_div(WINDOW, 4), multiply(ceil_div(WINDOW, 4), 3), ceil_div(WINDOW, 4)])
    assert len(both.steps) == alone + 2  # the 3, and the product with it


@given(st.lists(expressions, min_size=1, max_size=3), configs, widths)
@settings(max_examples=150, deadline=None)
def test_relaxed_is_exact_on_the_lattice_at_every_width(formulas, given_rows, width):
    exact = Tape(formulas)(np.array(given_rows))
    for dtype in (torch.float64, torch.float32):
        relaxed = Tape(formulas).relaxed(torch.tensor(given_rows, dtype=dtype), width)
        assert np.allclose(relaxed.numpy(), exact, rtol=1e-9)


def test_relaxed_is_exact_where_float32_is_not():
    large = multiply(monomial(1, {0: 1, 1: 1, 2: 1}), column(3))
    values = [[4093, 4093, 4091, 127]]
    relaxed = Tape([large]).relaxed(torch.tensor(values, dtype=torch.float32))
    assert relaxed.item() == 4093 * 4093 * 4091 * 127


@given(expressions, real_rows, widths)
@settings(max_examples=150, deadline=None)
def test_gradients_are_central_differences(formula, row, width):
    point = np.array(row)
    # Corrections have kinks in their second derivative half way between lattice values, ramps
    # at integers.
    assume((np.abs(point * 2 - np.rint(point * 2)) > 0.02).all())
    tape, step = Tape([formula]), 1e-6
    x = torch.tensor(point[None], requires_grad=True)
    value = tape.relaxed(x, width).sum()
    gradient = np.zeros(D)
    if value.requires_grad:
        value.backward()
        gradient = x.grad.numpy()[0]
    moves = step * np.eye(D)
    ahead, behind = (
        tape.relaxed(torch.tensor(point + s * moves), width).numpy()[0] for s in (1, -1)
    )
    middle = value.item()
    one_sided = (ahead - middle) / step, (middle - behind) / step
    # A kink between the two points (a ramp's corner) makes them differ: nothing to compare there.
    assume(np.allclose(*one_sided, rtol=1e-3, atol=1e-2 * (1 + abs(middle))))
    assert np.allclose(
        gradient, (ahead - behind) / (2 * step), rtol=1e-3, atol=1e-3 + 1e-4 * abs(middle)
    )


@pytest.mark.parametrize("name", list(ROUGH))
@pytest.mark.parametrize("width", [0.05, 0.25, 1.0])
def test_no_gradient_is_stuck_between_lattice_values(name, width):
    """Exactly flat stretches, as of ⌈x / 12⌉ below 12, have a slope when relaxed."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.uniform(1.1, LARGEST - 0.1, size=(500, D)), requires_grad=True)
    Tape([ROUGH[name]]).relaxed(x, width).sum().backward()
    read = sorted(ROUGH[name].columns)
    assert (x.grad[:, read].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("name", ["ceil", "min", "max", "at most", "flat steps"])
def test_a_narrow_smoothing_stays_between_its_neighbours(name):
    """Half way between lattice values the correction is gone, and the smoothing itself shows."""
    rng = np.random.default_rng(1)
    whole = rng.integers(2, LARGEST, size=(200, D))
    corners = [
        ROUGH[name](whole + np.array(offsets)) for offsets in np.ndindex(*(2 for _ in range(D)))
    ]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    errors = []
    for width in (1.0, 0.1, 0.01):
        relaxed = Tape([ROUGH[name]]).relaxed(torch.tensor(whole + 0.5), width).numpy()[0]
        errors.append(np.maximum(np.maximum(low - relaxed, relaxed - high), 0).max())
    assert errors[2] <= errors[1] <= errors[0] + 1e-9
    assert errors[2] < 0.05


def test_lattice_values_of_choices_are_respected():
    unroll = Lookup(0, ((0, 1), (16, 5), (512, 2)))
    tape = Tape([add(unroll, column(0))], lattice={0: (0, 16, 512)})
    x = torch.tensor([[0.0], [16.0], [512.0]])
    assert tape.relaxed(x).tolist() == [[1.0, 21.0, 514.0]]
    between = torch.tensor([[8.0], [264.0], [700.0], [-3.0]], requires_grad=True)
    tape.relaxed(between).sum().backward()
    assert torch.isfinite(between.grad).all()


@given(expressions, rows, rows, st.lists(rows, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_bounds_contain_every_value_between_them(formula, first, second, inside):
    low, high = np.minimum(first, second), np.maximum(first, second)
    points = low + np.array(inside) % (high - low + 1)
    least, most = Tape([formula]).bounds(low, high)
    values = formula(points)
    assert (least <= values).all()
    assert (values <= most).all()
    many = Tape([formula]).bounds(np.stack([low, low]), np.stack([high, high]))
    assert many[0].tolist() == [[least[0]] * 2]


@given(expressions, expressions, configs)
@settings(max_examples=100, deadline=None)
def test_relaxed_room_says_whether_a_constraint_holds(left, right, given_rows):
    some = np.array(given_rows)
    positive = maximum(right, 1)
    room = add(right, multiply(-1, left))
    over = multiply(-1, room)
    beyond_a_multiple = add(multiply(positive, floor_div(left, positive)), multiply(-1, left))
    for constraint, slack in (
        (at_most(left, right, ""), room),
        (at_least(left, right, ""), over),
        (equal(left, right, ""), minimum(room, over)),
        (multiple_of(left, positive, ""), beyond_a_multiple),
    ):
        relaxed = Tape([slack]).relaxed(torch.tensor(some, dtype=torch.float64))
        assert ((relaxed.numpy()[0] > -0.5) == constraint.holds(some)).all()


@pytest.mark.parametrize("width", [0, -1, 1.5, float("nan")])
def test_widths_out_of_range_are_refused(width):
    with pytest.raises(ValueError, match=r"width in \(0, 1\]"):
        Tape([WINDOW]).relaxed(torch.ones(1, D), width)


@pytest.mark.parametrize("x", [torch.ones(2, D, dtype=torch.int64), torch.ones(D)])
def test_what_is_not_a_real_matrix_is_refused(x):
    with pytest.raises(ValueError, match="real-valued configs"):
        Tape([WINDOW]).relaxed(x)
