"""Operators in their place: predicted, alone, rotated, in place, and what lies between."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_networks import quick, two
from tvm.s_tir.meta_schedule.database import Workload

from mschedx import tune_model
from mschedx.bench.explain import explain
from mschedx.networks.caches import Distances
from mschedx.networks.choices import Origin
from mschedx.record.contents import read_contents
from mschedx.record.trials import read_run, workload_number


@pytest.fixture(scope="module")
def tuned():
    model, (x,) = two()
    return x, tune_model(model, (x,), trials_per_task=1, **quick())


def test_a_profile_has_every_task_and_the_whole(tuned):
    x, result = tuned
    profile = result.profile(x, runs=3)
    assert {one.choice.task.key for one in profile.operators} == {
        choice.task.key for choice in result.tasks
    }
    assert all(one.in_place_s > 0 for one in profile.operators)
    assert all(one.rotated_s > 0 for one in profile.operators)
    assert profile.rotated_s == pytest.approx(sum(one.rotated_s for one in profile.operators))
    assert profile.alone_s == pytest.approx(result.latency_s)
    assert profile.whole_s > 0
    lines = profile.table().splitlines()
    assert lines[0].split()[:3] == ["operator", "calls", "predicted"]
    assert "whole" in {line.split(" ")[0] for line in lines}
    assert len(result.profile(runs=1).operators) == 2  # random inputs
    for bad in (0, True, 1.5):
        with pytest.raises(ValueError, match="expected runs >= 1"):
            result.profile(x, runs=bad)


def test_a_profile_names_what_lies_between_the_operators_and_the_whole(tuned):
    x, result = tuned
    profile = result.profile(x, runs=3)
    between = profile.between()
    assert list(between) == ["caches", "place", "others", "clock"]
    assert sum(between.values()) == pytest.approx(profile.whole_s - profile.alone_s)
    *_, said, caches, place, others, clock = profile.table().splitlines()
    assert said.startswith("between the sum alone and the whole")
    assert "rotated less alone" in caches
    assert "in place less rotated" in place
    assert "no tasks" in others
    assert "clock" in clock


def test_operators_of_which_nothing_is_known_hide_nothing_in_the_caches(tuned):
    x, result = tuned
    profile = result.profile(x, runs=1)
    first, *others = profile.operators
    unknown = replace(first, choice=replace(first.choice, latency_s=math.inf))
    known = replace(profile, operators=tuple(others)).between()["caches"]
    assert replace(profile, operators=(unknown, *others)).between()["caches"] == known


def test_a_profile_has_the_prediction_of_each_program(tuned):
    _, result = tuned
    psa = {choice.task.key: explained_s(result, choice) for choice in result.tasks}
    for one in result.profile(runs=1).operators:
        assert one.choice.origin is Origin.TUNED
        assert one.predicted_s == pytest.approx(one.choice.task.weight * psa[one.choice.task.key])


def explained_s(result, choice):
    """What `explain` predicts of the program that a task became."""
    program = Workload(choice.task.mod).as_json()[0]
    number = workload_number(read_contents(result.work_dir), program)
    run = read_run(result.work_dir, number)
    (trial,) = (t.index for t in run.trials if run.records[t.record] == choice.record)
    return explain(result.work_dir, trial, number).predicted_s


class Scaled(torch.nn.Module):
    def forward(self, x, *, scale):
        return torch.softmax(x * scale, -1)


def test_a_profile_is_called_as_the_network_is():
    inputs = {"x": torch.rand(4, 16), "scale": torch.rand(16)}
    result = tune_model(Scaled().eval(), inputs, trials_per_task=0, progress=False)
    assert result.profile(**inputs, runs=2).operators
    with pytest.raises(TypeError, match="the network takes"):
        result.profile(inputs["x"], runs=2)


def test_weights_come_from_further_than_activations(tuned, monkeypatch):
    x, result = tuned
    asked = []

    def time_rotated(function, device, args, rotate_bytes, *, repeats):
        asked.append(rotate_bytes)
        return 1.0

    monkeypatch.setattr("mschedx.networks.readings.time_rotated", time_rotated)
    far = staticmethod(lambda mod, hardware: Distances(activation=10, weight=1000))
    monkeypatch.setattr(Distances, "of", far)
    profile = result.profile(x, runs=1)
    assert asked == [[10, 1000, 1000, 10]] * 2
    assert profile.rotated_s == sum(one.choice.task.weight for one in profile.operators)
