"""Reductions of rows that no vectors divide: right for every length, and in vectors."""

import re

import ml_dtypes
import numpy as np
import pytest
import tvm
from tvm import te, tirx, topi
from tvm.target import Target

from mschedx import workloads
from mschedx.cost.analytical.cpu_tile import tile_of
from mschedx.cost.analytical.view import ProgramView
from mschedx.hardware import host_target
from mschedx.space.analysis.exactness import check
from mschedx.space.opening import sketches

ZEN4 = Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
LENGTHS = (1, 3, 8, 15, 16, 17, 100, 197, 1009)


def of_rows(shape, reduce, dtype="float32"):
    x = te.placeholder(shape, dtype, "X")
    return te.create_prim_func([x, reduce(x)])


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def layer_norm(x, gamma, beta):
    deviation = x - x.mean(axis=1, keepdims=True)
    return deviation / np.sqrt((deviation**2).mean(axis=1, keepdims=True) + 1e-5) * gamma + beta


FUNCTIONS = {
    "sum": (lambda *shape: of_rows(shape, lambda x: topi.sum(x, 1)), lambda x: x.sum(axis=1)),
    "max": (lambda *shape: of_rows(shape, lambda x: topi.max(x, 1)), lambda x: x.max(axis=1)),
    "mean": (lambda *shape: workloads.make("mean", shape), lambda x: x.mean(axis=1)),
    "softmax": (lambda *shape: workloads.make("softmax", shape), softmax),
    "layer_norm": (lambda *shape: workloads.make("layer_norm", shape), layer_norm),
}


def module(function):
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def computed(mod, inputs, target):
    """What optimised programs of the space give, several configs of every sketch."""
    *_, result = list(mod["main"].params)
    shape = tuple(int(extent) for extent in result.shape)
    for sketch in sketches(mod, target):
        for config in np.unique(sketch.sample(3, np.random.default_rng(0)), axis=0):
            out = tvm.runtime.tensor(np.zeros(shape, str(result.dtype)))
            built = tvm.compile(sketch.schedule(config).mod, target=target)
            built["main"](*map(tvm.runtime.tensor, inputs), out)
            yield out.numpy()


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_length_is_right(name, length):
    make, exact = FUNCTIONS[name]
    mod = module(make(5, length))
    rng = np.random.default_rng(length)
    shapes = [tuple(int(n) for n in p.shape) for p in list(mod["main"].params)[:-1]]
    inputs = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    expected = exact(*(array.astype("float64") for array in inputs))
    tolerance = 0 if name == "max" else 2e-5 * max(1, length**0.5 / 8)
    found = list(computed(mod, inputs, host_target()))
    assert found
    for array in found:
        np.testing.assert_allclose(array.reshape(expected.shape), expected, 1e-5, tolerance)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_summed_in_float32(dtype):
    mod = module(of_rows((6, 197), lambda x: topi.sum(x.astype("float32"), 1), dtype))
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16
    x = np.random.default_rng(0).standard_normal((6, 197)).astype(kind)
    expected = x.astype("float64").sum(axis=1)
    for array in computed(mod, [x], host_target()):
        np.testing.assert_allclose(array, expected, 1e-5, 1e-4)


@pytest.mark.parametrize(
    ("shape", "axis", "dtype"),
    [
        ((3, 197, 5), 1, "float32"),
        ((3, 197, 16), 1, "float32"),
        ((4, 7, 7), (1, 2), "float32"),
        ((5, 4, 7, 7), (0, 2, 3), "float32"),
        ((5, 4, 33), (0, 2), "float32"),
        ((1, 6, 100), (0, 2), "float32"),
        ((64, 1, 37), (1, 2), "float32"),
        ((5, 100), 1, "int8"),
        ((5, 197), 1, "int32"),
        ((5, 197), 1, "float64"),
    ],
)
@pytest.mark.parametrize("combine", ["sum", "max"])
def test_other_axes_and_types_are_right(shape, axis, dtype, combine):
    mod = module(of_rows(shape, lambda x: getattr(topi, combine)(x, axis), dtype))
    x = (np.random.default_rng(0).standard_normal(shape) * 50).astype(dtype)
    exact = x.astype("float64") if "float" in dtype else x
    expected = getattr(np, combine)(exact, axis=axis).astype(dtype)
    for array in computed(mod, [x], host_target()):
        np.testing.assert_allclose(array, expected, 1e-5, 2e-3 if "float" in dtype else 0)


def moments(x):
    """Sums and sums of squares side by side, as a layer norm of TVM's has them."""
    r = te.reduce_axis((0, x.shape[1]), "r")

    def both(one, other):
        return one[0] + other[0], one[1] + other[1]

    combine = te.comm_reducer(both, lambda *types: tuple(tirx.const(0, t) for t in types))
    total, squares = te.compute(
        x.shape[:1], lambda i: combine((x[i, r], x[i, r] * x[i, r]), axis=r), name="moments"
    )
    return te.compute(x.shape, lambda i, j: x[i, j] * squares[i] - total[i], name="norm")


def test_sums_side_by_side_are_right():
    mod = module(of_rows((64, 197), moments))
    x = np.random.default_rng(0).standard_normal((64, 197)).astype("float32")
    exact = x.astype("float64")
    expected = exact * (exact**2).sum(axis=1, keepdims=True) - exact.sum(axis=1, keepdims=True)
    for array in computed(mod, [x], host_target()):
        np.testing.assert_allclose(array, expected, 1e-4, 1e-3)
    for sketch in sketches(mod, ZEN4):
        assert sum("_global" in one.name for one in sketch.statements) == 2


def test_products_with_a_vector_are_right():
    mod = module(workloads.make("gemv", (100, 197)))
    rng = np.random.default_rng(0)
    shapes = [tuple(int(n) for n in p.shape) for p in list(mod["main"].params)[:-1]]
    inputs = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    expected = inputs[0].astype("float64") @ inputs[1].astype("float64")
    for array in computed(mod, inputs, host_target()):
        np.testing.assert_allclose(array, expected, 1e-4, 1e-3)


def test_a_row_without_order_does_not_lose_infinities():
    mod = module(of_rows((3, 197), lambda x: topi.max(x, 1)))
    x = np.full((3, 197), -5.0, "float32")
    x[0, 196], x[1, 3], x[2, 192] = np.inf, -np.inf, -1
    for array in computed(mod, [x], host_target()):
        np.testing.assert_array_equal(array, [np.inf, -5, -1])


@pytest.mark.parametrize(("name", "length"), [("softmax", 1009), ("layer_norm", 1009), ("sum", 33)])
def test_expressions_are_those_of_lowered_programs(name, length):
    make, _ = FUNCTIONS[name]
    for sketch in sketches(module(make(64, length)), ZEN4):
        configs = sketch.sample(6, np.random.default_rng(0))
        verdict = check(sketch.design, sketch.analysis, configs, lowering=len(configs))
        assert verdict.wrong == {}
        assert verdict.lowered == len(configs)


@pytest.mark.parametrize(
    ("name", "instructions"),
    [
        ("softmax", ("vmaxps", "vaddps")),
        ("mean", ("vaddps",)),
        ("layer_norm", ("vaddps",)),
    ],
)
def test_rows_of_197_are_reduced_in_vectors(name, instructions):
    make, _ = FUNCTIONS[name]
    for sketch in sketches(module(make(64, 197)), ZEN4):
        config = sketch.sample(1, np.random.default_rng(0))[0]
        assembly = tvm.compile(sketch.schedule(config).mod, target=ZEN4).mod.inspect_source("s")
        for instruction in instructions:
            assert re.search(rf"\b{instruction}\b.*%zmm", assembly), instruction


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_statements_of_such_rows_are_vectors(name):
    make, _ = FUNCTIONS[name]
    for sketch in sketches(module(make(64, 197)), ZEN4):
        configs = sketch.sample(2, np.random.default_rng(0))
        view = ProgramView(sketch.statements, sketch.analysis.allocations)
        assert not view.unknown
        statements = {one.statement.name: one for one in view(configs).statements}
        copies = [one for name, one in statements.items() if name.endswith("_global")]
        sums = [one for name, one in statements.items() if name.endswith("_rf_update")]
        assert len(copies) == {"softmax": 2, "layer_norm": 2}.get(name, 1)
        assert sums
        for one in [*copies, *sums]:
            assert (tile_of(one, 16).lanes == 16).all(), one.statement.name
        if name == "softmax":  # LLVM makes vectors of a function that is called for one element
            assert (tile_of(statements["exp_o"], 16).lanes == 197).all()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("length", [3, 8, 16, 256, 1008])
def test_rows_that_vectors_divide_are_left_as_they_were(name, length):
    make, _ = FUNCTIONS[name]
    for sketch in sketches(module(make(64, length)), ZEN4):
        assert all("_global" not in one.name for one in sketch.statements)


@pytest.mark.parametrize(("length", "vectors"), [(197, {13}), (1009, {64}), (33, {3})])
def test_vectors_side_by_side_are_a_decision(length, vectors):
    for sketch in sketches(module(workloads.make("mean", (64, length))), ZEN4):
        configs = sketch.sample(20, np.random.default_rng(0))
        assert set(np.prod(configs[:, :2], axis=1)) == vectors
