import numpy as np
import pytest
import tvm
from tvm.tirx import BufferType

from mschedx.bench import vendor
from mschedx.bench.suite import SUITE
from mschedx.workloads import DTYPES, OPERATORS, Workload, find, make

SMALL = [
    Workload("", "gemm", (7, 5, 6)),
    Workload("", "gemm", (7, 5, 6), "int8"),
    Workload("", "gemm_nt", (7, 5, 6)),
    Workload("", "batch_gemm", (2, 4, 5, 3)),
    Workload("", "batch_gemm_nt", (2, 4, 5, 3)),
    Workload("", "gemv", (9, 8)),
    Workload("", "conv1d", (1, 3, 10, 4, 3, 2, 1)),
    Workload("", "conv2d", (1, 4, 9, 8, 6, 3, 2, 1)),
    Workload("", "conv2d", (1, 4, 9, 9, 6, 3, 1, 2, 2, 2)),
    Workload("", "conv2d_bias_relu", (1, 3, 6, 6, 4, 3, 1, 1)),
    Workload("", "conv2d_nhwc", (1, 7, 7, 3, 5, 3, 1, 1)),
    Workload("", "conv2d_blocked", (1, 8, 7, 6, 32, 3, 1, 1)),
    Workload("", "conv3d", (1, 2, 5, 6, 6, 3, 3, 1, 1)),
    Workload("", "depthwise_conv2d", (1, 5, 8, 8, 3, 1, 1)),
    Workload("", "conv2d_transpose", (1, 3, 4, 5, 2, 4, 2, 1)),
    Workload("", "softmax", (5, 9)),
    Workload("", "layer_norm", (5, 9)),
    Workload("", "mean", (5, 9)),
    Workload("", "gelu", (5, 9)),
    Workload("", "bias_gelu", (5, 9)),
]


def run(workload: Workload, arrays: list[np.ndarray]) -> np.ndarray:
    func = workload.func()
    out = func.params[-1]
    assert isinstance(out.ty, BufferType)
    result = np.zeros([int(d) for d in out.shape], str(out.dtype))
    tensors = [tvm.runtime.tensor(x) for x in (*arrays, result)]
    tvm.compile(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), "llvm")["main"](
        *tensors
    )
    return tensors[-1].numpy()


@pytest.mark.parametrize("workload", SMALL, ids=lambda w: f"{w.op}-{w.dtype}-{len(w.shape)}")
def test_operator_computes_what_the_vendor_form_computes(workload):
    arrays = vendor.inputs(workload)
    found = run(workload, arrays)
    call = vendor.torch_call(workload, arrays)
    assert call is not None
    expected = call().numpy()
    if workload.op == "conv2d_nhwc":
        expected = expected.transpose(0, 2, 3, 1)
    if workload.op == "conv2d_blocked":
        expected = expected.reshape(1, 2, 16, 7, 6).transpose(0, 1, 3, 4, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    numpy_call = vendor.numpy_call(workload, arrays)
    if numpy_call is not None:
        np.testing.assert_allclose(found, numpy_call(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", ["conv2d_nhwc", "conv2d_blocked"])
def test_quantised_convolutions_are_torchs_saturated_to_bytes(op):
    shape = (1, 5, 6, 8, 16, 3, 1, 1) if op == "conv2d_nhwc" else (1, 8, 5, 6, 16, 3, 1, 1)
    workload = Workload("", op, shape, "int8")
    arrays = vendor.inputs(workload)
    call = vendor.torch_call(workload, arrays)
    assert call is not None
    found = run(workload, arrays).reshape(1, 5, 6, 16).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(call().int_repr().numpy(), found.clip(0, 255))


def test_every_operator_is_covered():
    assert {w.op for w in SMALL} == set(OPERATORS)


def test_the_whole_suite_builds_with_the_parameters_of_small_cases():
    """As many, of as many dimensions; only the int8 form of an operator has other types."""

    def parameters(workload):
        return [len(parameter.shape) for parameter in workload.func().params]

    small = {workload.op: parameters(workload) for workload in SMALL}
    for workload in SUITE:
        assert parameters(workload) == small[workload.op], workload.name


def test_sixteen_bit_operands_accumulate_in_float32():
    func = make("gemm", (8, 8, 8), "float16")
    assert [str(p.dtype) for p in func.params] == ["float16", "float16", "float32"]


def test_the_dtypes_that_are_named_are_those_that_work():
    for dtype in DTYPES:
        assert str(make("gemm", (8, 8, 8), dtype).params[0].dtype) == dtype.replace("int8", "uint8")
    with pytest.raises(ValueError, match="float32, float64, float16, bfloat16, int8, got 'int4'"):
        make("gemm", (8, 8, 8), "int4")


@pytest.mark.parametrize(
    ("op", "shape", "dtype", "says"),
    [
        ("gem", (1, 2, 3), "float32", "gemm M,N,K"),
        ("gemm", (1, 2), "float32", "M,N,K"),
        ("gemm", (1, 0, 3), "float32", "N of at least 1"),
        ("gemm", (1, 2, 3), "float", "float32"),
        ("conv2d", (1, 3, 2, 2, 4, 5), "float32", "window of 5"),
        ("conv2d", (1, 3, 8, 8, 4, 3, 1, 0, 1, 2), "float32", "2 groups"),
        ("conv2d_transpose", (1, 1, 1, 1, 1, 3, 1, 2), "float32", "pad to leave some of the 3"),
        ("softmax", (4, 4), "int8", "float32"),
    ],
)
def test_bad_requests_say_what_fits(op, shape, dtype, says):
    with pytest.raises(ValueError, match=says):
        make(op, shape, dtype)


def test_defaults_complete_a_shape():
    assert find("conv2d").complete((1, 3, 8, 8, 4, 3)) == (1, 3, 8, 8, 4, 3, 1, 0, 1, 1)
    assert find("conv2d").complete((1, 3, 8, 8, 4, 3, 2)) == (1, 3, 8, 8, 4, 3, 2, 0, 1, 1)
