"""What every model with a network does alike: no file of nothing, no weights that do not fit."""

import re

import pytest
import torch

from mschedx.cost.learned import weights
from mschedx.cost.learned.felix_mlp import FelixMLPModel
from mschedx.cost.learned.one_shot import OneShotModel
from mschedx.cost.learned.pam import PAMModel
from mschedx.cost.learned.tlp import TLPModel

ALL = pytest.mark.parametrize("make", [PAMModel, TLPModel, OneShotModel, FelixMLPModel])


@ALL
def test_a_new_one_has_nothing_to_write(make, tmp_path):
    least = 1 if make is FelixMLPModel else 2
    expected = f"expected a {make.name} that has learnt from programs (>= {least}), got a new one"
    with pytest.raises(ValueError, match=re.escape(expected)):
        make().save(str(tmp_path / "model"))
    assert not list(tmp_path.iterdir())


@ALL
def test_weights_that_do_not_fit_are_refused_and_change_nothing(make, tmp_path):
    path, model = tmp_path / "model", make()
    card = model.card
    weights.write(path, {"last.weight": torch.zeros(3)}, card)
    with pytest.raises(ValueError, match=f"model: expected the weights of {make.name}: "):
        model.load(path)
    assert (model.network, model.card, model.skill()) == (None, card, None)
