"""Arguments in turn: as many copies as are asked for, each used after all others."""

from types import SimpleNamespace

import numpy as np
import pytest
import tvm

from mschedx.measure.rotation import time_rotated

DEVICE = tvm.cpu()


class Calls:
    """Keeps the addresses of the first argument of every call."""

    def __init__(self):
        self.firsts: list[int] = []
        self.others: list[object] = []

    def __call__(self, tensor, *others):
        self.firsts.append(np.from_dlpack(tensor).ctypes.data)
        self.others += others


def tensor(count: int):
    return tvm.runtime.tensor(np.ones(count, dtype=np.float32), DEVICE)


@pytest.mark.parametrize(("rotate_bytes", "copies"), [(0, 2), (4000, 2), (12001, 4), (40000, 16)])
def test_every_copy_in_turn(rotate_bytes, copies):
    calls, given = Calls(), tensor(1000)
    found = time_rotated(calls, DEVICE, [given, 7], rotate_bytes, repeats=2)
    assert found > 0
    assert len(set(calls.firsts)) == copies
    assert np.from_dlpack(given).ctypes.data not in calls.firsts
    assert in_turn(calls.firsts, copies)
    assert set(calls.others) == {7}


def in_turn(addresses, copies):
    """Whether what was used longest ago always comes next."""
    return len(addresses) > copies and all(
        one == addresses[i % copies] for i, one in enumerate(addresses)
    )


def test_each_argument_at_its_own_distance():
    firsts, seconds = Calls(), []

    def call(weight, activation):
        firsts(weight)
        seconds.append(np.from_dlpack(activation).ctypes.data)

    args = [tensor(1000), tensor(500)]
    time_rotated(call, DEVICE, args, [30000, 8000], repeats=1)
    assert (len(set(firsts.firsts)), len(set(seconds))) == (8, 4)
    assert in_turn(firsts.firsts, 8)
    assert in_turn(seconds, 4)


def test_arguments_of_one_distance_pass_together():
    calls = Calls()
    time_rotated(calls, DEVICE, [tensor(1000), tensor(3000)], [16000, 16000], repeats=1)
    assert len(set(calls.firsts)) == 2


def test_many_copies_are_not_all_waited_for():
    calls = Calls()
    time_rotated(calls, DEVICE, [tensor(10)], 40000, repeats=3, min_repeat_s=0)
    assert len(calls.firsts) == 1 + 4 + 3
    assert len(set(calls.firsts)) == 8


def test_groups_last_as_long_as_asked_for():
    calls = Calls()
    time_rotated(calls, DEVICE, [tensor(10)], 80, repeats=1, min_repeat_s=0.01)
    assert len(calls.firsts) > 6


@pytest.mark.parametrize(
    ("args", "rotate_bytes", "options", "says"),
    [
        ([3], 10, {}, "at least one tensor"),
        ([], 10, {}, "at least one tensor"),
        ([tensor(4)], -1, {}, "not negative"),
        ([tensor(4)], [-1], {}, "not negative"),
        ([tensor(4)], [1, 1], {}, "2 for 1 arguments"),
        ([tensor(4)], 1, {"repeats": 0}, "repeats of at least 1"),
        ([tensor(4)], 1, {"min_repeat_s": float("nan")}, "min_repeat_s"),
    ],
)
def test_what_cannot_be_timed(args, rotate_bytes, options, says):
    with pytest.raises(ValueError, match=says):
        time_rotated(SimpleNamespace, DEVICE, args, rotate_bytes, **options)
