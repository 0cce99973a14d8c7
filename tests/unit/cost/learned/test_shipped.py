"""Weights that come with the package, and where they are given."""

from pathlib import Path

import pytest

from mschedx.cost import PAM, FelixMLP


@pytest.mark.parametrize("model", [PAM, FelixMLP])
@pytest.mark.parametrize("weights", ["cpu", Path("mine.safetensors")])
def test_weights_in_the_place_of_a_configuration_are_refused(model, weights):
    with pytest.raises(TypeError, match=r"given by name, pretrained='(cpu|mine.safetensors)'"):
        model(weights)
