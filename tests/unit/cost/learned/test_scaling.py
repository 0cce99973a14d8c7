import pytest
import torch

from mschedx.cost.learned.scaling import Scaling

ROWS = torch.tensor([[0.0, 4.0, -1.0], [8.0, 4.0, -3.0]])


def test_standardised_columns_have_mean_0_and_keep_what_hardly_varies():
    scaling = Scaling(3)
    scaling.standardise(ROWS)
    assert scaling(ROWS).tolist() == [[-1.0, 0.0, 1.0], [1.0, 0.0, -1.0]]
    assert scaling(torch.tensor([[0.0, 5.0, 0.0]]))[0, 1] == 1.0
    assert set(scaling.state_dict()) == {"shift", "scale"}


def test_published_columns_are_divided_by_their_positive_maxima():
    scaling = Scaling(3)
    scaling.by_maximum(ROWS)
    assert scaling(ROWS).tolist() == [[0.0, 1.0, -1.0], [1.0, 1.0, -3.0]]


@pytest.mark.parametrize("rows", [torch.zeros(0, 3), torch.zeros(2, 4), torch.zeros(3)])
def test_other_rows_are_refused(rows):
    with pytest.raises(ValueError, match=r"expected rows \[m, 3\]"):
        Scaling(3).standardise(rows)
