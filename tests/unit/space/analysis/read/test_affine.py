"""Forms against plain arithmetic."""

import numpy as np
import pytest

from mschedx.space.analysis.read.affine import Affine, Division, NotAffine, evaluate, substituted


def random_form(rng, variables, depth=2):
    form = Affine(int(rng.integers(-5, 6)))
    for variable in range(variables):
        atom = variable
        if depth and rng.random() < 0.5:
            inner = random_form(rng, variables, depth - 1)
            atom = Division(inner, int(rng.integers(2, 7)), bool(rng.integers(2)))
        form = form.plus(Affine(0, ((atom, int(rng.integers(1, 9))),)))
    return form


@pytest.mark.parametrize("seed", range(20))
def test_composing_forms_composes_their_values(seed):
    rng = np.random.default_rng(seed)
    outer = random_form(rng, 3)
    inner = [random_form(rng, 2), Affine(4), random_form(rng, 2)]
    composed = substituted(outer, inner)
    for loops in rng.integers(0, 50, (20, 2)):
        values = dict(enumerate(map(int, loops)))
        expected = evaluate(outer, {v: evaluate(form, values) for v, form in enumerate(inner)})
        assert evaluate(composed, values) == expected


def test_a_variable_without_a_form_has_no_composition():
    with pytest.raises(NotAffine, match="not affine in the loops"):
        substituted(Affine(0, ((0, 1), (1, 2))), [Affine(1), None])


@pytest.mark.parametrize("seed", range(20))
def test_arrays_give_the_values_one_by_one(seed):
    form = random_form(np.random.default_rng(seed), 2)
    found = evaluate(form, {0: np.arange(100), 1: 3})
    assert found.tolist() == [evaluate(form, {0: i, 1: 3}) for i in range(100)]
