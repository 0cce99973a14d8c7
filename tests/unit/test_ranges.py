"""Configurations are refused when they are made: what is out of range, and what is no number."""

import math
from dataclasses import fields

import numpy as np
import pytest

from mschedx.cost import FelixConfig, MoAConfig, PAMConfig, TrainConfig, TreeConfig
from mschedx.search.constrained_evolution import EvolutionConfig
from mschedx.search.descent_config import DescentConfig
from mschedx.search.draft_verify import DraftVerifyConfig
from mschedx.search.pick import EpsilonGreedy, GreedyThenRoulette
from mschedx.search.repaired_genetic import GeneticConfig

CONFIGS = [
    *(DescentConfig, DraftVerifyConfig, EvolutionConfig, GeneticConfig),
    *(FelixConfig, MoAConfig, PAMConfig, TrainConfig, TreeConfig),
]
# Any integer is a seed, and a correlation may be below 0.
FREE = {"seed", "least_correlation"}


def numbers(config, kinds):
    """Names of the fields of a configuration that hold one of these types."""
    made = config()
    names = [field.name for field in fields(made) if field.name not in FREE]
    return [name for name in names if type(getattr(made, name)) in kinds]


WHOLE = [(config, name) for config in CONFIGS for name in numbers(config, {int})]
REAL = [(config, name) for config in CONFIGS for name in numbers(config, {float})]


@pytest.mark.parametrize(("config", "name"), WHOLE)
@pytest.mark.parametrize("value", [-1, 1.5, 2.0, True, "3", math.nan, None])
def test_counts_are_whole_numbers_and_not_negative(config, name, value):
    with pytest.raises(ValueError, match=rf"expected {config.__name__}\.{name} >= \d, got"):
        config(**{name: value})


@pytest.mark.parametrize(("config", "name"), WHOLE)
def test_counts_may_be_numpys_integers(config, name):
    assert getattr(config(**{name: np.int64(64)}), name) == 64


@pytest.mark.parametrize(("config", "name"), REAL)
@pytest.mark.parametrize("value", [-0.5, math.nan, True, "0.5", None])
def test_rates_and_shares_are_numbers_and_not_negative(config, name, value):
    with pytest.raises(ValueError, match=rf"expected {config.__name__}\.{name} (>|in)"):
        config(**{name: value})


@pytest.mark.parametrize("config", [DescentConfig, DraftVerifyConfig, EvolutionConfig])
def test_a_batch_may_be_left_open(config):
    assert config(batch=None).batch is None
    for value in (0, 8.0, True):
        with pytest.raises(ValueError, match=r"\.batch >= 1, got"):
            config(batch=value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: GreedyThenRoulette(1.5), r"GreedyThenRoulette\.share in \[0, 1\], got 1\.5"),
        (lambda: EpsilonGreedy(math.nan), r"EpsilonGreedy\.epsilon in \[0, 1\], got nan"),
        (lambda: DescentConfig(niche_share=0), r"niche_share in \(0, 1\], got 0"),
        (lambda: DraftVerifyConfig(niche_share=0.0), r"niche_share in \(0, 1\], got 0\.0"),
        (lambda: MoAConfig(momentum=1), r"momentum in \[0, 1\), got 1"),
        (lambda: TrainConfig(batch=1), r"TrainConfig\.batch >= 2, got 1"),
        (lambda: FelixConfig(steps=1.5), r"steps >= 1, got 1\.5: it is a whole number"),
    ],
)
def test_ends_of_ranges(make, says):
    with pytest.raises(ValueError, match=says):
        make()
