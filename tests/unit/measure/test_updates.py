"""Which arguments are others after a call, read off the program."""

import numpy as np
import pytest
import tvm
from programs_to_measure import appended, gemm, scaled_in_place, tiled
from tvm import te
from tvm.script import tirx as T

from mschedx import compat
from mschedx.measure.updates import updated_arguments
from mschedx.space import sketches

with compat.fast_script():

    @T.prim_func(s_tir=True)
    def through_a_part(x: T.Buffer((64,), "float32"), y: T.Buffer((64,), "float32")):
        """Its first elements by another name."""
        for i in range(4):
            with T.sblock("x"):
                v = T.axis.spatial(4, i)
                part = T.match_buffer(x[v * 4 : v * 4 + 4], (4,), offset_factor=1)
                for j in range(4):
                    part[j] = part[j] + y[v * 4 + j]

    @T.prim_func(s_tir=True)
    def read_back(x: T.Buffer((64,), "float32"), y: T.Buffer((64,), "float32")):
        """An output that the next block reads."""
        for i in range(64):
            with T.sblock("once"):
                v = T.axis.spatial(64, i)
                y[v] = x[v] + T.float32(1)
        for i in range(64):
            with T.sblock("twice"):
                v = T.axis.spatial(64, i)
                y[v] = y[v] * T.float32(2)


def vector_sum():
    a, k = te.placeholder((64,), name="A"), te.reduce_axis((0, 64), name="k")
    return te.create_prim_func([a, te.compute((1,), lambda i: te.sum(a[k], axis=k), name="S")])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (scaled_in_place()["main"], (0,)),
        (appended()["main"], (0,)),
        (through_a_part, (0,)),
        (read_back, ()),
        (gemm(32)["main"], ()),
        (tiled(gemm(32)).mod["main"], ()),
        (vector_sum(), ()),
    ],
)
def test_what_is_read_before_it_is_written(function, expected):
    assert updated_arguments(function) == expected


CPU = {"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2}


@pytest.mark.parametrize(
    ("target", "dtype"), [("nvidia/nvidia-a100", "float16"), (CPU, "float32"), (CPU, "int8")]
)
def test_no_output_of_a_tiled_product_is(target, dtype):
    """Tensor cores store results by their address."""
    rng = np.random.default_rng(0)
    mod = gemm(64, dtype, "int32" if dtype == "int8" else None)
    for sketch in sketches(mod, tvm.target.Target(target)):
        schedule = sketch.schedule(sketch.sample(1, rng)[0])
        assert updated_arguments(schedule.mod["main"]) == ()
