"""Every tensor-core intrinsic compiles to its instruction, and its fragments are the hardware's."""

import shutil

import pytest
import tvm_ffi
from cuda_gemm import cuda_source, ptx_by_kernel, tensor_core_gemm
from tvm.s_tir import TensorIntrin
from tvm.target import Target

from mschedx.intrinsics import cuda

A100 = Target("nvidia/nvidia-a100")
MMA = [one for one in cuda.INTRINSICS if one.kind == "mma"]

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")


def label(intrinsic):
    return intrinsic.names("shared.dyn", "global").multiply.removeprefix("mschedx_")


def schedule(intrinsic, **choices):
    m, n, k = intrinsic.shape
    return tensor_core_gemm(4 * max(m, 32), 4 * max(n, 32), 8 * k, intrinsic, **choices)


@pytest.fixture(scope="module")
def ptx():
    """PTX of a GEMM by every intrinsic, from one run of nvcc."""
    kernels = {label(one): schedule(one) for one in cuda.INTRINSICS}
    return ptx_by_kernel(cuda_source(kernels, A100), A100)


@needs_nvcc
@pytest.mark.parametrize("intrinsic", cuda.INTRINSICS, ids=label)
def test_compiles_to_its_instruction(ptx, intrinsic):
    kernel = ptx[label(intrinsic)]
    assert intrinsic.instruction + "." in kernel
    assert ".local" not in kernel, "fragments were not kept in registers"
    if intrinsic.kind == "mma":
        assert "ldmatrix.sync" in kernel


@needs_nvcc
def test_other_ways_to_stage_compile():
    f16 = next(one for one in MMA if one.in_dtype == "float16" and one.out_dtype == "float32")
    s8 = next(one for one in MMA if one.in_dtype == "int8" and not one.b_transposed)
    wmma = next(one for one in cuda.INTRINSICS if one.kind == "wmma")
    kernels = {
        "static_memory": schedule(f16, load_scope="shared"),
        "staged_store": schedule(f16, store_scope="shared.dyn"),
        "staged_store_wmma": schedule(wmma, store_scope="shared"),
        "pipelined_memory": schedule(f16, pipeline="shared"),
        "pipelined_ldmatrix": schedule(f16, pipeline="fragments"),
        "pipelined_gather": schedule(s8, pipeline="fragments", steps=4),
        "pipelined_wmma": schedule(wmma, pipeline="fragments", steps=4),
    }
    ptx = ptx_by_kernel(cuda_source(kernels, A100), A100)
    assert set(ptx) == set(kernels)
    assert all("mma.sync" in kernel and ".local" not in kernel for kernel in ptx.values())


@pytest.mark.parametrize("store_scope", ["shared", "shared.dyn"])
def test_mma_result_may_reuse_the_operands_memory(store_scope):
    # The float32 tile is as large as a float16 operand's, so TVM lets them share memory.
    f16 = next(one for one in MMA if one.in_dtype == "float16" and one.out_dtype == "float32")
    sch = schedule(f16, load_scope=store_scope, store_scope=store_scope, steps=8)
    source = cuda_source({"reuse": sch}, A100)
    store = source.index("= mschedx_mma_register")
    # Reused memory needs a barrier before the first store and one before the copy to global.
    assert "__syncthreads" in source[source.rindex("mma.sync", 0, store) : store]
    assert "__syncthreads" in source[store:]


def test_wmma_result_may_not():
    wmma = next(one for one in cuda.INTRINSICS if one.kind == "wmma")
    clash = schedule(wmma, store_scope="shared.dyn", steps=8)
    with pytest.raises(Exception, match="tvm_access_ptr element type must match"):
        cuda_source({"clash": clash}, A100)
    assert "store_matrix_sync" in cuda_source(
        {"apart": schedule(wmma, store_scope="shared", steps=8)}, A100
    )


def test_unknown_scope():
    with pytest.raises(ValueError, match=r"expected a load scope of shared, shared\.dyn"):
        MMA[0].names("global", "global")
    with pytest.raises(ValueError, match="expected a store scope of global"):
        MMA[0].names("shared", "local")


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("sm_90a", "mma_multiply_16x16x16_f16f16f32_b"),
        ("sm_80", "mma_multiply_16x16x16_f16f16f32_b"),
        ("sm_75", "wmma_multiply_16x16x16_f16f16f32_b"),
        ("sm_70", "wmma_multiply_16x16x16_f16f16f32_b"),
    ],
)
def test_preferred(arch, expected):
    target = Target({"kind": "cuda", "arch": arch})
    found = cuda.intrinsics_for(target, in_dtype="float16", b_transposed=False)
    assert label(found[0]) == expected


def test_bfloat16_and_tf32_need_ampere():
    turing = Target({"kind": "cuda", "arch": "sm_75"})
    assert cuda.intrinsics_for(turing, in_dtype="bfloat16") == ()
    assert cuda.intrinsics_for(turing, in_dtype="float32", tf32=True) == ()


def test_tf32_only_on_demand():
    assert cuda.intrinsics_for(A100, in_dtype="float32") == ()
    assert len(cuda.intrinsics_for(A100, in_dtype="float32", tf32=True)) == 2


def test_none_for_a_cpu():
    cpu = Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
    assert cuda.intrinsics_for(cpu, tf32=True) == ()


def test_registering_again_registers_nothing(monkeypatch):
    name = MMA[0].names("shared", "global").multiply
    before = TensorIntrin.get(name).desc
    again = []
    monkeypatch.setattr(TensorIntrin, "register", lambda name, *_, **__: again.append(name))
    cuda.register()
    assert not again
    assert TensorIntrin.get(name).desc.same_as(before)


def test_names_tell_all_intrinsics_apart():
    # What a name stands for must not depend on the intrinsic that it was reached through.
    functions = {}
    for name, make in (item for one in cuda.INTRINSICS for item in one.makers()):
        description, implementation = make()
        first = functions.setdefault(name, (description, implementation))
        assert tvm_ffi.structural_equal(first[0], description), name
        assert tvm_ffi.structural_equal(first[1], implementation), name
