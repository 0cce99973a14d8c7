"""DotTile: exact on every design space, with the instruction in the code."""

import re

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.target import Target
from tvm.target.codegen import llvm_get_system_cpu, target_has_features
from unoptimised import unoptimised

from mschedx.space.opening import sketches
from mschedx.space.rules.contraction import match_contraction
from mschedx.space.rules.dot_tile import dot_tiles
from mschedx.space.rules.register_tile import shared_reduction
from mschedx.space.target import for_target

HOST = Target({"kind": "llvm", "mcpu": str(llvm_get_system_cpu()), "num-cores": 2})
VNNI = Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})
needs_vnni = pytest.mark.skipif(
    not target_has_features(["avx512vnni", "avx512vl"], HOST), reason="the host has no AVX-512 VNNI"
)
needs_bf16 = pytest.mark.skipif(
    not target_has_features(["avx512bf16"], HOST), reason="the host has no AVX-512 BF16"
)


def gemm(m, n, k, a_dtype="uint8", b_dtype="int8", dtype="int32", transposed=False):
    a = te.placeholder((m, k), a_dtype, name="A")
    b = te.placeholder((n, k) if transposed else (k, n), b_dtype, name="B")
    r = te.reduce_axis((0, k), name="k")

    def element(i, j):
        right = b[j, r] if transposed else b[r, j]
        return te.sum(a[i, r].astype(dtype) * right.astype(dtype), axis=r)

    return te.create_prim_func([a, b, te.compute((m, n), element, name="C")])


def conv2d_nhwc(size, ci, co, kernel, stride):
    x = te.placeholder((1, size, size, ci), "uint8", name="X")
    w = te.placeholder((kernel, kernel, ci, co), "int8", name="W")
    y, z, c = (te.reduce_axis((0, n), name=s) for n, s in ((kernel, "y"), (kernel, "z"), (ci, "c")))
    out = (size - kernel) // stride + 1

    def element(n, h, v, o):
        left = x[n, h * stride + y, v * stride + z, c].astype("int32")
        return te.sum(left * w[y, z, c, o].astype("int32"), axis=[y, z, c])

    return te.create_prim_func([x, w, te.compute((1, out, out, co), element, name="C")])


def conv2d_blocked(size, ci, co, kernel):
    """NCHWc data, [co/16, ci/4, kh, kw, ci%4, co%16] weights as quantised models carry them."""
    x = te.placeholder((1, ci // 4, size, size, 4), "uint8", name="X")
    w = te.placeholder((co // 16, ci // 4, kernel, kernel, 4, 16), "int8", name="W")
    extents = (("co", ci // 4), ("y", kernel), ("z", kernel), ("ci", 4))
    c0, y, z, c1 = (te.reduce_axis((0, n), name=s) for s, n in extents)
    out = size - kernel + 1

    def element(n, o, h, v, p):
        left = x[n, c0, h + y, v + z, c1].astype("int32")
        return te.sum(left * w[o, c0, y, z, c1, p].astype("int32"), axis=[c0, y, z, c1])

    return te.create_prim_func([x, w, te.compute((1, co // 16, out, out, 16), element, name="C")])


FUNCTIONS = {
    "u8s8": gemm(24, 32, 16),
    "u8s8-transposed": gemm(24, 32, 16, transposed=True),
    "u8s8-odd": gemm(13, 37, 11),
    "u8s8-narrow": gemm(32, 12, 20),
    "u8s8-eight": gemm(32, 8, 20),
    "u8s8-narrow-transposed": gemm(48, 40, 16, transposed=True),
    "s8s8": gemm(24, 32, 32, a_dtype="int8"),
    "s8s8-words": gemm(24, 32, 72, a_dtype="int8"),
    "s8s8-short": gemm(24, 32, 8, a_dtype="int8"),
    "conv2d-nhwc": conv2d_nhwc(8, 8, 32, 3, 1),
    "conv2d-1x1-narrow": conv2d_nhwc(16, 8, 24, 1, 1),
    "conv2d-strided": conv2d_nhwc(9, 8, 16, 3, 2),
    "conv2d-blocked": conv2d_blocked(6, 8, 32, 3),
}


def random(shape, dtype, rng):
    if dtype == "bfloat16":
        return rng.standard_normal(shape).astype(np.float32)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def run(mod, inputs):
    tensors = [tvm.runtime.tensor(a) for a in inputs]
    built = tvm.compile(mod, target=unoptimised(HOST))
    built["main"](*tensors)
    return tensors[-1].numpy(), built.mod.inspect_source("asm")


def module(function):
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


@needs_vnni
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_space_is_exact(name):
    mod = module(FUNCTIONS[name])
    rng = np.random.default_rng(0)
    infos = [([int(d) for d in i.shape], str(i.dtype)) for i in ArgInfo.from_entry_func(mod)]
    inputs = [random(shape, dtype, rng) for shape, dtype in infos]
    expected, _ = run(mod, inputs)
    spaces = sketches(mod, HOST, for_target(HOST))
    assert len(spaces) == 4
    for sketch in spaces:
        for config in sketch.sample(2, rng):
            result, asm = run(sketch.schedule(config).mod, inputs)
            np.testing.assert_array_equal(result, expected)
            assert re.search(r"vpdpbusd\s", asm)


@needs_bf16
def test_bf16_uses_its_instruction():
    mod = module(gemm(16, 32, 16, "bfloat16", "bfloat16", "float32"))
    rng = np.random.default_rng(0)
    for sketch in sketches(mod, HOST, for_target(HOST)):
        sch = sketch.schedule(sketch.sample(1, rng)[0])
        asm = tvm.compile(sch.mod, target=HOST).mod.inspect_source("asm")
        assert re.search(r"vdpbf16ps\s", asm)


def spaces_of(function, target=VNNI):
    sch = Schedule(module(function))
    return dot_tiles(sch, sch.get_sblock("C"), target)


@pytest.mark.parametrize(
    ("mcpu", "mnemonic"),
    [("cascadelake", "vpdpbusd"), ("alderlake", "vpdpbusd"), ("haswell", "vpmaddwd")],
)
def test_each_instruction_set_gets_its_own(mcpu, mnemonic):
    target = Target({"kind": "llvm", "mcpu": mcpu, "num-cores": 2})
    spaces = spaces_of(gemm(16, 32, 16), target)
    assert len(spaces) == 4
    for sch in spaces:
        assert mnemonic in tvm.compile(sch.mod, target=target).mod.inspect_source("asm")


def test_floats_are_not_for_this_rule():
    assert spaces_of(gemm(16, 32, 16, "float32", "float32", "float32")) == []


def test_a_target_without_the_instruction_has_no_space():
    plain = Target({"kind": "llvm", "mcpu": "x86-64", "num-cores": 2})
    assert spaces_of(gemm(16, 32, 16), plain) == []


def test_a_convolution_of_odd_channels_is_left_alone():
    assert spaces_of(conv2d_nhwc(8, 6, 32, 3, 1)) == []


def test_the_dot_axis_is_the_one_that_lies_contiguously():
    sch = Schedule(module(conv2d_nhwc(8, 8, 32, 3, 1)))
    contraction = match_contraction(sch.get(sch.get_sblock("C")))
    assert contraction.extents[shared_reduction(contraction)] == 8


@pytest.mark.parametrize("name", ["u8s8-narrow", "u8s8-narrow-transposed", "conv2d-1x1-narrow"])
def test_vectors_are_of_the_operand_that_the_instruction_takes_them_of(name):
    """Rows fill whole vectors and columns do not, but rows are the uint8 operand's."""
    sch = Schedule(module(FUNCTIONS[name]))
    found = match_contraction(sch.get(sch.get_sblock("C")))
    assert found.panel.dtype == "uint8"
    assert len(dot_tiles(sch, sch.get_sblock("C"), VNNI)) == 4


@pytest.mark.parametrize(
    ("k", "padded"), [(8, 8), (24, 24), (32, 32), (72, 80), (100, 112), (1000, 1024), (64, 64)]
)
def test_a_reduction_is_padded_by_an_eighth_at_most_where_words_allow_it(k, padded):
    for sch in spaces_of(gemm(24, 32, k, a_dtype="int8")):
        rows, columns, terms = sch.get(sch.get_sblock("C_update_o")).iter_vars
        intrinsic = k_of(sch)
        assert int(terms.dom.extent) * intrinsic == padded
        assert (int(rows.dom.extent), int(columns.dom.extent)) == (24, 2)


def k_of(sch):
    """Terms of the dot-product instruction that a schedule uses."""
    (found,) = set(re.findall(r"mschedx_dot_16x(\d+)_", str(sch.trace)))
    return int(found)


@pytest.mark.parametrize(
    ("columns", "lanes", "padded"), [(4, 8, 8), (8, 8, 8), (12, 16, 16), (24, 16, 32), (40, 16, 48)]
)
def test_vectors_are_padded_rather_than_halved_but_for_half_a_vector(columns, lanes, padded):
    found = spaces_of(gemm(32, columns, 64))
    assert found
    for sch in found:
        assert set(re.findall(r"mschedx_dot_(\d+)x4_u8s8s32", str(sch.trace))) == {str(lanes)}
        vectors = sch.get(sch.get_sblock("C_update_o")).iter_vars[1]
        assert int(vectors.dom.extent) * lanes == padded
