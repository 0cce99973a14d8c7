"""Every tensor-core intrinsic compiles to its instruction, and its fragments are the hardware's."""

import shutil

import pytest
from cuda_gemm import cuda_source, ptx_by_kernel, tensor_core_gemm
from tvm.target import Target

from mschedx.space.intrinsics import cuda

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
