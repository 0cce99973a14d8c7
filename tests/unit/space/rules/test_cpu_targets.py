"""Each x86 target gets tiles of its own size; what is built for an older one is right here."""

import re

import numpy as np
import pytest
import tvm
from tvm.target import Target
from tvm.target.codegen import target_has_features
from unoptimised import run_once

from mschedx.hardware import Hardware, host_target
from mschedx.inputs import normalize_mod
from mschedx.space import for_target, sketches
from mschedx.workloads import make

# mcpu, extra attributes: lanes of float32, registers, dot-product instruction
TARGETS = {
    "haswell": (8, 16, "vpmaddwd"),
    "alderlake": (8, 16, "vpdpbusd"),
    "skylake-avx512": (16, 32, "vpmaddwd"),
    "cascadelake": (16, 32, "vpdpbusd"),
    "znver4": (16, 32, "vpdpbusd"),
}
runs_avx2 = pytest.mark.skipif(
    not target_has_features(["avx2", "fma"], host_target()), reason="the host has no AVX2"
)


def target_of(mcpu):
    return Target({"kind": "llvm", "mcpu": mcpu, "num-cores": 2})


def opened(target, func):
    mod = normalize_mod(func)
    return [s.narrowed(preferences=True) for s in sketches(mod, target, for_target(target))]


def vector_accumulators(sch, name):
    """Vectors and rows of a tile, and lanes of a vector, as the scheduled loops say."""
    extents = [int(sch.get(loop).extent) for loop in sch.get_loops(sch.get_sblock(name))]
    return extents[-3], extents[-2], extents[-1]


@pytest.mark.parametrize("mcpu", TARGETS)
def test_tiles_fill_the_registers_that_there_are(mcpu):
    lanes, registers, _ = TARGETS[mcpu]
    hardware = Hardware.from_target(target_of(mcpu))
    assert (hardware.lanes("float32"), hardware.vector_registers) == (lanes, registers)
    largest = 0
    for sketch in opened(target_of(mcpu), make("gemm", (96, 192, 64))):
        for config in sketch.sample(12, np.random.default_rng(0)):
            rows, vectors, length = vector_accumulators(sketch.schedule(config), "C_update")
            assert length == lanes
            assert rows * vectors + vectors + 1 <= registers
            largest = max(largest, rows * vectors)
    assert largest > registers / 2


@pytest.mark.parametrize("mcpu", TARGETS)
def test_code_uses_whole_registers_and_multiply_adds(mcpu):
    lanes = TARGETS[mcpu][0]
    target = target_of(mcpu)
    for sketch in opened(target, make("gemm", (24, 64, 32))):
        config = sketch.sample(1, np.random.default_rng(0))[0]
        asm = tvm.compile(sketch.schedule(config).mod, target=target).mod.inspect_source("asm")
        register = "zmm" if lanes == 16 else "ymm"
        assert re.search(rf"vfmadd\d+ps.*{register}", asm)
        assert lanes == 16 or "zmm" not in asm


@pytest.mark.parametrize("mcpu", TARGETS)
def test_bytes_use_the_dot_product_of_the_target(mcpu):
    target, instruction = target_of(mcpu), TARGETS[mcpu][2]
    for sketch in opened(target, make("gemm", (24, 64, 32), "int8")):
        config = sketch.sample(1, np.random.default_rng(0))[0]
        asm = tvm.compile(sketch.schedule(config).mod, target=target).mod.inspect_source("asm")
        assert re.search(rf"{instruction}\s", asm)


def test_features_alone_decide_as_well():
    """A generic CPU with its instruction sets named, as ``-mattr`` does."""
    plain = {"kind": "llvm", "mcpu": "x86-64", "num-cores": 2}
    avx2 = Hardware.from_target(Target({**plain, "mattr": ["+avx2", "+fma"]}))
    assert (avx2.lanes("float32"), avx2.vector_registers) == (8, 16)
    avx512 = Hardware.from_target(Target({**plain, "mattr": ["+avx512f", "+avx512vl"]}))
    assert (avx512.lanes("float32"), avx512.vector_registers) == (16, 32)


@runs_avx2
@pytest.mark.parametrize(
    ("op", "shape", "dtype"),
    [
        ("gemm", (24, 40, 32), "float32"),
        ("gemm_nt", (24, 40, 32), "float32"),
        ("conv2d", (1, 16, 6, 6, 24, 3, 1, 1), "float32"),
        ("gemm", (24, 40, 32), "int8"),
        ("conv2d_nhwc", (1, 6, 6, 16, 24, 3, 1, 1), "int8"),
    ],
)
def test_avx2_code_computes_the_same(op, shape, dtype):
    target, func = target_of("haswell"), make(op, shape, dtype)
    rng = np.random.default_rng(0)
    arrays = [_random(p, rng) for p in func.params]
    expected = _run(normalize_mod(func), target, arrays)
    for sketch in opened(target, func):
        for config in sketch.sample(2, rng):
            found = _run(sketch.schedule(config).mod, target, arrays)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def _random(param, rng):
    shape, dtype = [int(n) for n in param.shape], str(param.dtype)
    if dtype == "float32":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(-100 if dtype == "int8" else 0, 100, shape).astype(dtype)


def _run(mod, target, arrays):
    return run_once(mod, target, arrays)[-1]
