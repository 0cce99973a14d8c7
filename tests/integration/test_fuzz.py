"""Random small functions through the whole package, and that what is wrong would be found."""

import time

import numpy as np
import pytest
import tvm
from checked_function import _Judge, check, store
from described_functions import Axis, Block, Const, Function, Op, Read, Tensor, prim_func, script
from numpy_interpreter import interpret, random_inputs
from random_functions import random_function
from shrink import shrunk

from mschedx.hardware import host_target
from mschedx.inputs import normalize_mod

_SECONDS = 20.0
_SEEDS = range(20_000, 20_040)
_FEWEST = 16
"""Functions that every machine checks, however slow it is."""


def test_a_slice_of_random_functions():
    begin, compared = time.monotonic(), 0
    for checked, seed in enumerate(_SEEDS):
        if checked >= _FEWEST and time.monotonic() - begin > _SECONDS:
            break
        function = random_function(seed, largest=16, most_blocks=3)
        report = check(function, seed, host_target(), configs=1)
        bad = [problem for problem in report.problems if problem.kind != "refused"]
        assert not bad, f"seed {seed}: {bad}\n{function}"
        compared += report.compared
    assert compared >= _FEWEST


def doubled(factor=2.0):
    x = Tensor("x", (3, 5), "float32")
    read = Read("x", (Axis(0), Axis(1)), "float32")
    body = Op("mul", (read, Const(factor, "float32")), "float32")
    total = Read("y", (Axis(0), Axis(1)), "float32")
    blocks = (Block("y", "map", (3, 5), (), body), Block("z", "sum", (3,), (5,), total))
    return Function((x,), blocks, ("z",))


def test_another_function_is_found_wrong(tmp_path):
    function, other = doubled(), doubled(2.001)
    arguments = random_inputs(function, np.random.default_rng(0))
    path = store(arguments, interpret(function, arguments), str(tmp_path))
    judge = _Judge(host_target(), path)
    mods = [normalize_mod(prim_func(f)) for f in (function, other)]
    right, wrong = judge.compare(mods)
    assert right is None
    assert wrong.kind == "wrong"


@pytest.mark.parametrize("seed", range(6))
def test_the_same_seed_gives_the_same_function_in_both_forms(seed):
    function = random_function(seed, largest=8)
    assert function == random_function(seed, largest=8)
    assert isinstance(prim_func(function), tvm.tirx.PrimFunc)


def test_what_fails_is_made_smaller():
    def fails(function):
        return "* T.float32(2.0)" in script(function)

    small = shrunk(doubled(), fails)
    assert [block.name for block in small.blocks] == ["y"]
    assert small.outputs == ("y",)
