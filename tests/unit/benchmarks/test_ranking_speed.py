"""Limits in seconds on what is done before anything is measured, for an idle machine."""

import sys

import pytest
import ranking_speed

PROGRAMS_PER_S = {"gemm 512": 5e4, "conv2d 56": 5e4, "gemm 1024 float16, tensor cores": 2e4}
"""Drafts on two cores."""

SECONDS = {"mschedx rank, gemm": 4, "mschedx rank, conv2d": 4, "mschedx rank, tensor cores": 10}
"""From the shell to the list."""


@pytest.mark.performance
@pytest.mark.parametrize("name", PROGRAMS_PER_S)
def test_drafts_a_second(name):
    _, together = ranking_speed.scored_together(name)
    assert together > PROGRAMS_PER_S[name]


@pytest.mark.performance
@pytest.mark.parametrize("name", PROGRAMS_PER_S)
def test_a_round_of_drafting_and_verifying_takes_less_than_a_second(name):
    assert max(wall for _, wall in ranking_speed.rounds(name)) < 1


@pytest.mark.performance
@pytest.mark.parametrize("name", PROGRAMS_PER_S)
def test_pam_scores_ten_thousand_configs_in_a_second(name):
    assert ranking_speed.SCORED_BY_PAM == 10_000
    assert ranking_speed.scored_by_pam(name) < 1


@pytest.mark.performance
def test_calibrating_takes_two_seconds(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ranking_speed.calibrated() < 2
    assert list(tmp_path.rglob("rates.json"))


@pytest.mark.performance
@pytest.mark.parametrize("name", SECONDS)
def test_ranking_takes_seconds(name):
    command = [sys.executable, "-m", "mschedx", *ranking_speed.CALLS[name].split()]
    assert ranking_speed.called(command) < SECONDS[name]


@pytest.mark.performance
def test_a_kernel_without_measurements_takes_five_seconds():
    assert ranking_speed.called([sys.executable, "-c", ranking_speed.TUNE]) < 5
