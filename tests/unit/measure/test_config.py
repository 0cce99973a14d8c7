"""MeasureConfig refuses what cannot be carried out."""

import pytest

from mschedx.measure import MeasureConfig


def test_defaults_are_valid_and_frozen():
    config = MeasureConfig()
    with pytest.raises(AttributeError):
        config.repeats = 3


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("repeats", 0),
        ("number", 0),
        ("min_repeat_s", -1.0),
        ("budget_s", -0.1),
        ("agreement", -0.01),
        ("slow_cutoff", 1.0),
        ("slow_cutoff", 0.5),
    ],
)
def test_nonsense_is_refused_by_name(setting, value):
    with pytest.raises(ValueError, match=setting):
        MeasureConfig(**{setting: value})


def test_unknown_settings_are_refused():
    with pytest.raises(TypeError, match="repeat_count"):
        MeasureConfig(repeat_count=3)
