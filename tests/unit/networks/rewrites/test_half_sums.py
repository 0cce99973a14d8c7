"""Relax modules and ONNX files of half precision: computed in float32, rounded once."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from tiny_networks import relax_outputs
from tvm import relax
from tvm.relax import op

from mschedx.networks.importing import read_network
from mschedx.networks.rewrites.graph import op_name

ROWS, IMAGE = (4, 16), (1, 8, 6, 6)
ROUNDED = {"float16": 2**-10, "bfloat16": 2**-7}

OPERATORS = {
    "product": ([ROWS, (16, 5)], op.matmul),
    "einsum": ([ROWS, (16, 5)], lambda x, y: op.einsum((x, y), "ij,jk->ik")),
    "conv1d": ([IMAGE[:1] + IMAGE[1:3], (4, 8, 3)], op.nn.conv1d),
    "conv2d": (
        [IMAGE, (4, 4, 3, 3)],
        lambda x, w: op.nn.conv2d(x, w, strides=2, padding=1, dilation=2, groups=2),
    ),
    "conv2d, channels last": (
        [IMAGE, (3, 3, 6, 4)],
        lambda x, w: op.nn.conv2d(x, w, padding=1, data_layout="NHWC", kernel_layout="HWIO"),
    ),
    "conv3d": ([(1, 2, 4, 4, 4), (3, 2, 3, 3, 3)], op.nn.conv3d),
    "transposed": (
        [IMAGE, (8, 4, 3, 3)],
        lambda x, w: op.nn.conv2d_transpose(x, w, strides=2, output_padding=1),
    ),
    "sum": ([ROWS], lambda x: op.sum(x, [1], keepdims=True)),
    "variance": ([ROWS], lambda x: op.variance(x, [1])),
    "running sum": ([ROWS], lambda x: op.cumsum(x, 1)),
    "softmax": ([ROWS], op.nn.softmax),
    "layer norm": ([ROWS, (16,), (16,)], lambda x, a, b: op.nn.layer_norm(x, a, b, axes=[-1])),
    "batch norm": (
        [IMAGE, (8,), (8,), (8,), (8,)],
        lambda x, *of: op.nn.batch_norm(x, *of[:3], op.abs(of[3]), axis=1, training=False),
    ),
    "pool": ([IMAGE], lambda x: op.nn.avg_pool2d(x, (2, 2), (2, 2))),
    "gelu": ([ROWS], op.nn.gelu),
    "largest": ([ROWS], lambda x: op.topk(x, k=3, axis=1)),
    "place of the largest": ([ROWS], lambda x: op.argmax(x, 1)),
    "not a number": ([ROWS], lambda x: op.isnan(op.log(x))),
}


def module(shapes, dtype, function):
    """``main`` of a function of tensors."""
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(s, dtype)) for i, s in enumerate(shapes)]
    with builder.function("main", inputs):
        with builder.dataflow():
            found = builder.emit_output(builder.emit(function(*inputs)))
        builder.emit_func_output(found)
    return builder.get()


def drawn(shapes, dtype):
    rng = np.random.default_rng(0)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    return [rng.standard_normal(shape).astype(kind) for shape in shapes]


@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_round_once(name, dtype):
    shapes, function = OPERATORS[name]
    inputs = drawn(shapes, dtype)
    wide = [x.astype(np.float32) for x in inputs]
    expected = relax_outputs(module(shapes, "float32", function), wide)
    found = relax_outputs(read_network(module(shapes, dtype, function)).mod, inputs)
    for one, other in zip(found, expected, strict=True):
        assert str(one.dtype) == (dtype if other.dtype == np.float32 else str(other.dtype))
        one, other = one.astype(np.float64), other.astype(np.float64)
        # Half of the last place of what is rounded, and float32's own sums.
        np.testing.assert_allclose(one, other, rtol=ROUNDED[dtype] / 2, atol=1e-6)


@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize(
    "function",
    [
        lambda x: op.matmul(x, op.permute_dims(x)),
        lambda x: op.sum(x, [1]),
        lambda x: op.cumsum(x, 1),
        lambda x: op.nn.avg_pool1d(op.expand_dims(x, 0), 4096),
    ],
    ids=["product", "sum", "running sum", "pool"],
)
def test_long_sums_are_exact(function, dtype):
    """4096 ones: a sum in float16 stops at 2048, one in bfloat16 at 256."""
    ones = [np.ones((2, 4096), ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)]
    found = relax_outputs(read_network(module([(2, 4096)], dtype, function)).mod, ones)
    assert found[0].astype(np.float64).max() in (4096, 1)


def test_what_says_its_dtype_is_left_alone():
    product = module([ROWS, (16, 5)], "float16", lambda x, y: op.matmul(x, y, out_dtype="float16"))
    running = module([ROWS], "float16", lambda x: op.cumsum(x, 1, dtype="float16"))
    single = module([ROWS, (16, 5)], "float32", op.matmul)
    for mod in (product, running, single):
        assert _operators(read_network(mod).mod) == _operators(mod)


def test_an_onnx_file_of_float16():
    """The products of a file are summed in float32: 4096 ones."""
    from onnx import TensorProto, helper, numpy_helper

    kind = TensorProto.FLOAT16
    weight = numpy_helper.from_array(np.ones((4096, 4), np.float16), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "ones",
        [helper.make_tensor_value_info("x", kind, [2, 4096])],
        [helper.make_tensor_value_info("y", kind, [2, 4])],
        [weight],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    found = relax_outputs(read_network(proto).mod, [np.ones((2, 4096), np.float16)])
    assert found[0].dtype == np.float16
    assert (found[0] == 4096).all()


def _operators(mod):
    names = []
    relax.analysis.post_order_visit(mod["main"], lambda expr: names.append(op_name(expr)))
    return [name for name in names if name]
