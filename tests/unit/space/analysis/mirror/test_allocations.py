"""Bytes of what is allocated, against compiled programs."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
from spaces import CUDA
from tvm import te

from mschedx.space import sketches


def product(a, b, name):
    k = te.reduce_axis((0, 64), name="k")
    return te.compute((64, 64), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name=name)


def opened(tensors):
    mod = tvm.IRModule({"main": te.create_prim_func(tensors)})
    return sketches(mod, CUDA, "post-order-apply")[0]


@pytest.fixture(scope="module")
def chain():
    """Two kernels, each with vthreads of its own."""
    a, b, d = (te.placeholder((64, 64), name=name) for name in "ABD")
    c = product(a, b, "C")
    return opened([a, b, d, product(c, d, "E")])


def local(sketch):
    return [one for one in sketch.analysis.allocations if one.scope == "local"]


def test_a_kernels_vthreads_do_not_count_for_the_arrays_of_another(chain):
    assert len(local(chain)) == 2
    for one in local(chain):
        own = one.buffer.removesuffix("_local")
        asked = {chain.names[column] for column in one.bytes.columns}
        assert asked
        assert all(name.startswith(f"{own}.") for name in asked)
    limits = [one for one in chain.analysis.preferences if "registers of a thread" in one.origin]
    assert len(limits) == 2
    for limit in limits:
        assert len({chain.names[c].split(".")[0] for c in limit.columns}) == 1


def test_local_arrays_are_those_of_the_compiled_kernels(chain):
    for config in chain.sample(4, np.random.default_rng(0)):
        module = tvm.compile(chain.schedule(config).mod, CUDA).mod
        source = module.imports[0].inspect_source()
        floats = dict(re.findall(r"float (\w+_local)_ptr\[(\d+)\];", source))
        for one in local(chain):
            assert one.bytes(config[None])[0] == 4 * int(floats[one.buffer])
