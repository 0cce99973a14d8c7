"""Elementwise functions, softmax and normalisations beside reshapes, transpositions, broadcasts.

Networks lose most of these before they are cut into tasks; ``ms.tune_relax`` and `mschedx.tune` get
functions as TVM fused them.
"""

import re

import numpy as np
import pytest
import tvm
import tvm_ffi
from agreement import assert_sketches_agree
from tvm import te, tirx, topi
from tvm.target import Target
from tvm.tirx import ForKind, IterVar

from mschedx.space.opening import sketches
from mschedx.space.rules.blocks import root_blocks

TARGET = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
ROWS, HEADS, WIDTH = 24, 6, 16


def array(*shape, name="X"):
    return te.placeholder(shape, "float32", name)


def gelu(x):
    """As Relax writes it, an operator at a time."""
    half, root = tirx.const(0.5, "float32"), tirx.const(0.5**0.5, "float32")
    error = topi.erf(topi.multiply(x, root))
    return topi.multiply(x, topi.add(half, topi.multiply(error, half)))


def gelu_at_once(x):
    def value(*at):
        half, root = tirx.const(0.5, "float32"), tirx.const(0.5**0.5, "float32")
        return x[at] * (half + te.erf(x[at] * root) * half)

    return te.compute(x.shape, value, name="gelu")


def silu(x):
    return topi.multiply(x, topi.sigmoid(x))


def by_heads(x):
    return topi.transpose(topi.reshape(x, (ROWS, HEADS, WIDTH)), (1, 0, 2))


def softmax(x):
    return topi.nn.softmax(x, -1)


def between(function):
    """A function between a reshape and another with a transposition, as in attention."""
    x = array(ROWS, HEADS * WIDTH)
    return te.create_prim_func([x, by_heads(function(topi.reshape(x, (1, ROWS, HEADS * WIDTH))))])


def normalised(before, after, shape=(ROWS, HEADS * WIDTH)):
    x, scale, shift = array(*shape), *(array(HEADS * WIDTH, name=n) for n in "GB")
    given = before(x)
    y = topi.nn.layer_norm(given, scale, shift, [len(given.shape) - 1])
    return te.create_prim_func([x, scale, shift, after(y)])


def of(shape, function):
    x = array(*shape)
    return te.create_prim_func([x, function(x)])


def with_other(shape, other, function):
    x, m = array(*shape), array(*other, name="M")
    return te.create_prim_func([x, m, function(topi.add(x, m))])


def turned(function):
    """A function of rows, of which columns are written."""
    return of((ROWS, HEADS * WIDTH), lambda x: topi.transpose(function(x), (1, 0)))


FLAT, SCORES = (ROWS, HEADS * WIDTH), (ROWS, HEADS, WIDTH)
FUNCTIONS = {
    "gelu": between(gelu),
    "gelu-at-once": between(gelu_at_once),
    "silu": between(silu),
    "relu": between(topi.nn.relu),
    "tanh-of-broadcasts": with_other(
        (ROWS, 1, WIDTH), (1, HEADS, WIDTH), lambda x: topi.reshape(topi.tanh(x), FLAT)
    ),
    "softmax-of-a-reshape": of((ROWS * HEADS, WIDTH), lambda x: softmax(topi.reshape(x, SCORES))),
    "softmax-reshaped": of(SCORES, lambda x: topi.reshape(softmax(x), FLAT)),
    "softmax-transposed": of(SCORES, lambda x: topi.transpose(softmax(x), (1, 0, 2))),
    "softmax-of-heads": of(FLAT, lambda x: softmax(by_heads(x))),
    "softmax-of-a-broadcast": with_other(SCORES, (ROWS, 1, WIDTH), softmax),
    "layer-norm-by-heads": normalised(lambda x: x, by_heads),
    "layer-norm-of-a-reshape": normalised(
        lambda x: topi.reshape(x, (1, *FLAT)), lambda y: topi.reshape(y, FLAT)
    ),
}


def turned_beside(function):
    """A function of columns, and of another operand that lies as what is written does."""
    x, z = array(*FLAT), array(*reversed(FLAT), name="Z")
    return te.create_prim_func([x, z, topi.nn.relu(topi.add(topi.transpose(function(x)), z))])


def turned_together():
    """Two operands that lie alike, and a bias along each of the two axes."""
    x, z, b, c = (
        array(*FLAT),
        array(*FLAT, name="Z"),
        array(FLAT[0], name="B"),
        array(FLAT[1], name="C"),
    )
    y = te.compute(FLAT[::-1], lambda j, i: x[i, j] * z[i, j] + b[i] * c[j], name="Y")
    return te.create_prim_func([x, z, b, c, y])


TURNED = {
    "relu": turned(topi.nn.relu),
    "exp": turned(topi.exp),
    "gelu": turned(gelu_at_once),
    "silu": turned(silu),
    "gelu-by-operators": turned(gelu),
    "sum-with-a-straight-one": turned_beside(lambda x: x),
    "exp-beside-a-straight-one": turned_beside(topi.exp),
    "two-that-lie-alike": turned_together(),
    "softmax-behind": turned(softmax),
    "softmax-before": of(FLAT, lambda x: softmax(topi.transpose(x, (1, 0)))),
    "softmax-of-a-batch-before": of((3, *FLAT), lambda x: softmax(topi.transpose(x, (0, 2, 1)))),
    "layer-norm-behind": normalised(lambda x: x, topi.transpose),
    "layer-norm-before": normalised(topi.transpose, lambda y: y, FLAT[::-1]),
}


def serial(sch):
    """Elementwise blocks of several elements a chunk that are neither vectors nor calls of them."""
    found = []
    for block in root_blocks(sch):
        body, loops = sch.get(block), [sch.get(loop) for loop in sch.get_loops(block)]
        sums = any(axis.iter_type == IterVar.CommReduce for axis in body.iter_vars)
        reduces = sums or body.name_hint.endswith("_init")
        inside = [int(one.extent) for one in loops if int(one.kind) != ForKind.PARALLEL]
        if reduces or np.prod(inside, initial=1) == 1:
            continue
        stores: list = []
        tvm_ffi.structural_walk(body.body, (tirx.BufferStore, stores.append))
        whole = all(re.search(r"x\d+$", str(store.value.ty)) for store in stores)
        if int(loops[-1].kind) != ForKind.VECTORIZED and not whole:
            found.append(body.name_hint)
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_statement_is_vectors(name):
    mod = tvm.IRModule({"main": FUNCTIONS[name].with_attr("global_symbol", "main")})
    opened = sketches(mod, TARGET)
    assert opened
    for sketch in opened:
        sch = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
        assert not serial(sch)
        source = tvm.compile(sch.mod, target=TARGET).mod.inspect_source("s")
        assert not re.findall(r"\b(?:exp|tanh|erf)f\b", source), "one call an element"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_sketch_computes_the_same(name):
    assert_sketches_agree(FUNCTIONS[name], TARGET, configs=3, tolerance=1e-5)


@pytest.mark.parametrize("name", TURNED)
def test_a_function_of_what_is_turned_has_a_space_of_vectors(name):
    function = TURNED[name].with_attr("global_symbol", "main")
    rng = np.random.default_rng(0)
    opened = sketches(tvm.IRModule({"main": function}), TARGET)
    left = [serial(sketch.schedule(sketch.sample(1, rng)[0])) for sketch in opened]
    assert [] in left
    assert_sketches_agree(function, TARGET, configs=8, tolerance=1e-5)


def beside_a_stride():
    """No vector is what lies behind each other in all that the last statement reads."""
    x, z = array(*FLAT), array(ROWS, 2 * HEADS * WIDTH, name="Z")
    s = topi.sigmoid(x)
    y = te.compute(FLAT, lambda i, j: x[i, j] * s[i, j] * z[i, 2 * j], name="Y")
    return te.create_prim_func([x, z, y])


def test_a_statement_without_vectors_leaves_those_before_it_theirs():
    """In every config: a chunk of two columns would hold no vector of the sigmoids."""
    function = beside_a_stride().with_attr("global_symbol", "main")
    (sketch,) = sketches(tvm.IRModule({"main": function}), TARGET)
    configs = np.unique(sketch.sample(64, np.random.default_rng(0)), axis=0)
    assert len(configs) > 4
    for config in configs:
        assert serial(sketch.schedule(config)) == ["Y"]
    assert_sketches_agree(function, TARGET, configs=4, tolerance=1e-5)


@pytest.mark.parametrize("shape", [(ROWS, 7), (7, ROWS)], ids=["odd-run", "odd-lanes"])
def test_what_no_registers_turn_is_left_in_one_loop(shape):
    function = of(shape, lambda x: topi.transpose(topi.nn.relu(x), (1, 0)))
    (sketch,) = sketches(tvm.IRModule({"main": function}), TARGET)
    sch = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
    assert len(root_blocks(sch)) == 1
    assert_sketches_agree(function, TARGET, configs=4, tolerance=1e-5)
