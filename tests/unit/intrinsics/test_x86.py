"""Every x86 dot product compiles to its instruction and computes what it describes."""

import re

import ml_dtypes
import numpy as np
import pytest
from tvm.s_tir import TensorIntrin
from tvm.target import Target
from tvm.target.codegen import llvm_get_system_cpu, target_has_features
from x86_gemm import compile_for, packed_gemm, run

from mschedx.intrinsics import x86
from mschedx.intrinsics.build import register_once

# By the last part of a name: a CPU that has the features.
CPU = {
    "avx512vnni": "cascadelake",
    "avxvnni": "alderlake",
    "avxvnniint8": "sierraforest",
    "avx512bw": "skylake-avx512",
    "avx2": "haswell",
    "avx512bf16": "cooperlake",
}
HOST = Target({"kind": "llvm", "mcpu": llvm_get_system_cpu(), "num-cores": 2})
EXACT = [one for one in x86.INTRINSICS if one.exact]
SATURATING = [one for one in x86.INTRINSICS if not one.exact]


def named(intrinsics):
    return pytest.mark.parametrize("intrinsic", intrinsics, ids=lambda one: one.name)


def mcpu_of(intrinsic):
    return CPU[intrinsic.name.split("_")[4]]


def need(intrinsic):
    """Skip where the host cannot execute the code (its CPU may also be newer than LLVM's list)."""
    if not target_has_features(list(intrinsic.features), HOST):
        pytest.skip(f"this CPU lacks one of {', '.join(intrinsic.features)}")


def full_range(rng, dtype, shape):
    """Random over all values of an integer type, with runs of both extremes."""
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    rows = shape[0] // 3
    values[:rows, : shape[1] // 2] = limits.max
    values[rows : 2 * rows, : shape[1] // 2] = limits.min
    return values


def check(intrinsic, sizes, **schedule):
    m, n, k = sizes
    rng = np.random.default_rng(0)
    built, _ = compile_for(packed_gemm(m, n, k, intrinsic, **schedule), llvm_get_system_cpu())
    if intrinsic.a_dtype == "bfloat16":
        a = rng.standard_normal((m, k)).astype(ml_dtypes.bfloat16)
        b = rng.standard_normal((k, n)).astype(ml_dtypes.bfloat16)
        expected = a.astype("float64") @ b.astype("float64")
        # k products of unit variance, each sum rounded to float32.
        np.testing.assert_allclose(run(built, a, b, "float32"), expected, atol=k * 2.0**-20)
        return
    a = full_range(rng, intrinsic.a_dtype, (m, k))
    b = full_range(rng, intrinsic.b_dtype, (k, n))
    expected = a.astype("int32") @ b.astype("int32")
    np.testing.assert_array_equal(run(built, a, b, "int32"), expected)


@named(x86.INTRINSICS)
def test_compiles_to_its_instruction(intrinsic):
    _, assembly = compile_for(packed_gemm(16, 64, 64, intrinsic), mcpu_of(intrinsic))
    register = "%zmm" if intrinsic.lanes == 16 else "%ymm"
    assert re.search(rf"\b{intrinsic.mnemonic}\b.*{register}", assembly)
    assert "mschedx_" not in assembly, "a helper function was not inlined"


@named(EXACT)
def test_exact_over_the_full_range(intrinsic):
    need(intrinsic)
    check(intrinsic, (16, 64, 64), tile=(4, 2), block=(2, 1))


@named(EXACT)
def test_exact_for_sizes_that_nothing_divides(intrinsic):
    need(intrinsic)
    check(intrinsic, (13, 37, 23), tile=(4, 2), block=(1, 1))


@named(EXACT)
def test_unaligned_rows(intrinsic):
    need(intrinsic)
    # A row is an odd number of words, so the loads of A and the tiles of C share no alignment.
    check(intrinsic, (7, 3 * intrinsic.lanes, 5 * intrinsic.k), tile=(7, 3))


@named(SATURATING)
def test_saturating_form_is_right_for_seven_bit_weights(intrinsic):
    need(intrinsic)
    rng = np.random.default_rng(0)
    a = full_range(rng, "uint8", (16, 64))
    b = np.clip(full_range(rng, "int8", (64, 64)), -64, 63)
    built, _ = compile_for(packed_gemm(16, 64, 64, intrinsic), llvm_get_system_cpu())
    expected = a.astype("int32") @ b.astype("int32")
    np.testing.assert_array_equal(run(built, a, b, "int32"), expected)


@named(SATURATING)
def test_saturating_form_saturates(intrinsic):
    need(intrinsic)
    built, _ = compile_for(packed_gemm(8, 32, 4, intrinsic), llvm_get_system_cpu())
    a, b = np.full((8, 4), 255, "uint8"), np.full((4, 32), 127, "int8")
    np.testing.assert_array_equal(run(built, a, b, "int32"), 2 * 32767)


@pytest.mark.parametrize(
    ("mcpu", "dtype", "expected"),
    [
        ("cascadelake", "uint8", "mschedx_dot_16x4_u8s8s32_avx512vnni"),
        ("alderlake", "uint8", "mschedx_dot_8x4_u8s8s32_avxvnni"),
        ("skylake-avx512", "uint8", "mschedx_dot_16x4_u8s8s32_avx512bw"),
        ("haswell", "uint8", "mschedx_dot_8x4_u8s8s32_avx2"),
        ("sierraforest", "int8", "mschedx_dot_8x4_s8s8s32_avxvnniint8"),
        ("znver4", "int8", "mschedx_dot_16x64_s8s8s32_avx512vnni"),
        ("sapphirerapids", "bfloat16", "mschedx_dot_16x2_bf16bf16f32_avx512bf16"),
    ],
)
def test_preferred(mcpu, dtype, expected):
    target = Target({"kind": "llvm", "mcpu": mcpu, "num-cores": 2})
    found = x86.intrinsics_for(target, a_dtype=dtype)
    assert found[0].name == expected
    assert all(one.exact and one.a_dtype == dtype for one in found)


def test_features_may_come_from_mattr():
    plain = {"kind": "llvm", "mcpu": "haswell", "num-cores": 2}
    more = Target({**plain, "mattr": ["+avxvnni"]})
    added = set(x86.intrinsics_for(more)) - set(x86.intrinsics_for(Target(plain)))
    assert {one.mnemonic for one in added} == {"vpdpbusd"}


def test_no_intrinsics_without_features_or_for_a_gpu():
    assert x86.intrinsics_for(Target({"kind": "llvm", "mcpu": "x86-64", "num-cores": 2})) == ()
    assert x86.intrinsics_for(Target("nvidia/nvidia-a100")) == ()


def test_saturating_forms_only_on_demand():
    target = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
    extra = set(x86.intrinsics_for(target, saturating=True)) - set(x86.intrinsics_for(target))
    assert {one.name for one in extra} == {"mschedx_dot_8x4_u8s8s32_avx2_maddubs"}


def test_registering_again_registers_nothing(monkeypatch):
    before = TensorIntrin.get(EXACT[0].name).desc
    again = []
    monkeypatch.setattr(TensorIntrin, "register", lambda name, *_, **__: again.append(name))
    x86.register()
    assert not again
    assert TensorIntrin.get(EXACT[0].name).desc.same_as(before)


def test_names_are_our_own():
    assert len({one.name for one in x86.INTRINSICS}) == len(x86.INTRINSICS)
    with pytest.raises(ValueError, match="starting with 'mschedx_'"):
        register_once("dot_16x4_vnni", EXACT[0].functions)
