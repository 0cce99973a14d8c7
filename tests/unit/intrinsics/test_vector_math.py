"""Functions in vectors: how exact they are, and which expressions they stand for."""

import math
import re

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.target import Target

from mschedx.hardware import host_target
from mschedx.intrinsics.vector_math import (
    SCALAR,
    VECTOR_FUNCTIONS,
    VectorFunction,
    find_vector_function,
)

MOST_ULP = {"exp": 1.02, "log": 1.0, "sigmoid": 2.5, "tanh": 1.5, "erf": 1.5}
FUSED = {"kind": "llvm", "num-cores": 1}


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def gelu(x):
    return x * (0.5 + np.vectorize(math.erf, otypes=["float64"])(x * 0.5**0.5) * 0.5)


REFERENCE = {
    "gelu": gelu,
    "exp": np.exp,
    "log": np.log,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "erf": np.vectorize(math.erf, otypes=["float64"]),
}


def compute(element, *operands):
    """Y[i, j] of the given operands' shape, one block."""
    inputs = [te.placeholder(shape, "float32", f"X{n}") for n, shape in enumerate(operands)]
    y = te.compute(operands[0], lambda *index: element(*index, *inputs), name="Y")
    return te.create_prim_func([*inputs, y])


def apply(form, *arrays, target=None):
    """Run one form over rows of vectors."""

    def element(i, j, a, b=None):
        value = a[i, j]
        if b is not None:
            other = b[i] if form.argument.endswith("scalar") else b[i, j]
            value = value - other if "minus" in form.argument else value + other
        if form.function == "gelu":
            return value * (0.5 + te.erf(value * 0.5**0.5) * 0.5)
        return getattr(te, form.function)(value)

    sch = Schedule(compute(element, *(array.shape for array in arrays)))
    lane = sch.split(sch.get_loops(sch.get_sblock("Y"))[-1], [None, form.lanes])[1]
    sch.tensorize(lane, form.name)
    module = tvm.compile(sch.mod, target=target or host_target())
    out = tvm.runtime.tensor(np.zeros(arrays[0].shape, "float32"))
    module["main"](*map(tvm.runtime.tensor, arrays), out)
    return out.numpy()


def ulps(result, exact):
    """Distance in units of the last place that float32 has at the exact value."""
    unit = np.spacing(np.abs(exact).astype("float32")).astype("float64")
    return np.abs(result.astype("float64") - exact) / unit


@pytest.mark.parametrize("lanes", [16, 8, 4, SCALAR])
@pytest.mark.parametrize("function", sorted(MOST_ULP))
def test_it_is_exact_to_the_last_place_or_nearly(function, lanes):
    # Every 4099th bit pattern: all signs and exponents, denormal arguments and results.
    x = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = x[: x.size // 16 * 16].reshape(-1, 16)
    with np.errstate(all="ignore"):
        exact = REFERENCE[function](x.astype("float64"))
        rounded = exact.astype("float32")
    finite = np.isfinite(rounded)
    result = apply(VectorFunction(function, "a", lanes), x)
    assert ulps(result[finite], exact[finite]).max() <= MOST_ULP[function]
    np.testing.assert_array_equal(result[~finite], rounded[~finite])


def test_exp_at_the_ends_of_its_range():
    x = np.float32([-np.inf, -1e30, -104.1, -103.9, -88.0, -87.0, -0.0, 0.0, 1e-40, 88.72, 88.73,
                    1e30, np.inf, np.nan, -103.0, 1.0])  # fmt: skip
    with np.errstate(all="ignore"):
        exact = np.exp(x.astype("float64")).astype("float32")
    result = apply(VectorFunction("exp", "a", 16), x.reshape(1, 16))[0]
    np.testing.assert_array_max_ulp(result[:13], exact[:13], maxulp=1)
    assert np.isnan(result[13])
    assert result[3] == np.finfo(np.float32).smallest_subnormal


def test_log_at_the_ends_of_its_range():
    x = np.float32([[-np.inf, -1, -1e-45, -0.0, 0.0, 1e-45, 1e-40, 1, np.inf, np.nan] + [1] * 6])
    with np.errstate(all="ignore"):
        exact = np.log(x.astype("float64")).astype("float32")
    result = apply(VectorFunction("log", "a", 16), x)
    np.testing.assert_array_max_ulp(result[0, [5, 6]], exact[0, [5, 6]], maxulp=1)
    kept = [place for place in range(16) if place not in (5, 6)]
    np.testing.assert_array_equal(result[0, kept], exact[0, kept])


@pytest.mark.parametrize("function", ["tanh", "erf"])
def test_signs_and_limits_are_kept(function):
    x = np.float32([[-np.inf, np.inf, -0.0, 0.0, -1e-42, 1e-42, -20, 20]])
    result = apply(VectorFunction(function, "a", 8), x)
    small = REFERENCE[function](x[0, 4:6].astype("float64")).astype("float32")
    np.testing.assert_array_equal(result, [[-1, 1, -0.0, 0.0, *small, -1, 1]])
    np.testing.assert_array_equal(np.signbit(result), np.signbit(x))


@pytest.mark.parametrize(
    "form", [f for f in VECTOR_FUNCTIONS if f.lanes in (8, SCALAR) and f.argument != "a"]
)
def test_every_argument_is_computed(form):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 32), "float32")
    b = rng.standard_normal(3 if form.argument.endswith("scalar") else (3, 32), "float32")
    if form.function == "log":  # its argument stays above zero
        a, b = np.abs(a) + 8, np.abs(b)
    other = b[:, None] if b.ndim == 1 else b
    argument = a - other if "minus" in form.argument else a + other
    expected = REFERENCE[form.function](argument.astype("float64"))
    result = apply(form, a, b)
    if form.function == "gelu":
        assert (np.abs(result - expected) <= 1.3 * np.spacing(np.abs(argument))).all()
    else:
        assert ulps(result, expected).max() <= MOST_ULP[form.function]


@pytest.mark.parametrize("lanes", [16, 8, 4, SCALAR])
def test_gelu_is_exact_to_the_last_place_of_its_argument(lanes):
    x = np.linspace(-12, 12, 1 << 16, dtype="float32").reshape(-1, 16)
    result = apply(VectorFunction("gelu", "a", lanes), x)
    error = np.abs(result - gelu(x.astype("float64")))
    assert (error <= 1.3 * np.spacing(np.abs(x))).all()
    edges = np.float32([[-0.0, 0.0, np.inf, np.nan, 1e-42, -1e30, 1e30, 100] * 2])
    expected = np.float32([-0.0, 0.0, np.inf, np.nan, 0.5e-42, -0.0, 1e30, 100])
    found = apply(VectorFunction("gelu", "a", 16), edges)[0, :8]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-45)


@pytest.mark.parametrize(
    ("mcpu", "lanes", "register"), [("haswell", 8, "ymm"), ("cascadelake", 16, "zmm")]
)
@pytest.mark.parametrize("function", sorted(MOST_ULP))
def test_it_compiles_to_multiply_adds_without_calls(mcpu, lanes, register, function):
    form = VectorFunction(function, "a", lanes)
    sch = Schedule(compute(lambda i, a: getattr(te, function)(a[i]), (lanes,)))
    sch.tensorize(sch.get_loops(sch.get_sblock("Y"))[0], form.name)
    module = tvm.compile(sch.mod, target=Target({**FUSED, "mcpu": mcpu}))
    assembly = module.mod.inspect_source("s")
    assert "vfmadd" in assembly
    assert register in assembly
    assert "expf" not in assembly
    assert "tanhf" not in assembly
    assert "erff" not in assembly
    assert "logf" not in assembly


@pytest.mark.parametrize("function", sorted(MOST_ULP))
def test_a_loop_over_any_number_of_elements_becomes_vectors(function):
    sch = Schedule(compute(lambda i, a: getattr(te, function)(a[i]), (197,)))
    (loop,) = sch.get_loops(sch.get_sblock("Y"))
    sch.tensorize(sch.split(loop, [None, SCALAR])[1], VectorFunction(function, "a", SCALAR).name)
    module = tvm.compile(sch.mod, target=Target({**FUSED, "mcpu": "cascadelake"}))
    assembly = module.mod.inspect_source("s")
    assert re.search(r"vfn?madd\w+ps.*%[yz]mm", assembly)
    assert not re.search(r"\b(expf|tanhf|erff|logf)\b", assembly)


def found(element, *operands, axis=-1, lanes=16):
    block = compute(element, *operands).body.block.body
    while not hasattr(block, "iter_values"):
        block = block.body
    form = find_vector_function(block.block, axis, lanes)
    return None if form is None else (form.function, form.argument)


def test_forms_are_found_by_their_expression():
    one, two = (4, 16), (16,)
    assert found(lambda i, j, a: te.exp(a[i, j]), one) == ("exp", "a")
    assert found(lambda i, j, a, b: te.exp(a[i, j] - b[i]), one, (4,)) == (
        "exp", "a_minus_scalar",
    )  # fmt: skip
    assert found(lambda i, j, a, b: te.sigmoid(a[i, j] + b[j]), one, two) == (
        "sigmoid", "a_plus_vector",
    )  # fmt: skip
    assert found(lambda i, j, a: te.tanh(a[3 - i, j]), one) == ("tanh", "a")
    assert found(lambda i, j, a: te.erf(a[i, j]), one) == ("erf", "a")
    assert found(lambda i, j, a: te.log(a[i, j]), one) == ("log", "a")
    assert found(lambda i, a: te.exp(a[i + 2]), (16,)) == ("exp", "a")

    def biased(i, j, a, b):
        z = b[j] + a[i, j]
        return z * (0.5 + te.erf(z * 0.5**0.5) * 0.5)

    assert found(biased, one, two) == ("gelu", "a_plus_vector")


@pytest.mark.parametrize(
    "element",
    [
        lambda i, j, a: te.sqrt(a[i, j]),
        lambda i, j, a: te.exp(a[i, j] * 2),
        lambda i, j, a: te.exp(a[i, j]) + 1,
        lambda i, j, a: te.exp(a[j, i]),
        lambda i, j, a: te.exp(a[i, 15 - j]),
        lambda i, j, a: te.exp(a[i, j] - a[i, 0]),
        lambda i, j, a: te.exp(a[i, 0] - a[i, j]),
        lambda i, j, a: te.exp(a[i, j // 2]),
        lambda i, j, a: a[i, j] * (0.5 + te.erf(a[i, j] * 0.5) * 0.5),
        lambda i, j, a: a[i, j] * (0.5 + te.erf(a[i, 0] * 0.5**0.5) * 0.5),
    ],
)
def test_other_expressions_stay_what_they_are(element):
    assert found(element, (16, 16)) is None


def test_other_vectors_and_types_have_no_form():
    assert found(lambda i, j, a: te.exp(a[i, j]), (4, 12), lanes=12) is None
    x = te.placeholder((16,), "float64", "X")
    func = te.create_prim_func([x, te.compute((16,), lambda i: te.exp(x[i]), name="Y")])
    assert find_vector_function(func.body.block.body.body.block, 0, 16) is None
