"""Every block of a function with several gets the rule it deserves."""

import numpy as np
import pytest
import tvm
from tvm import te, topi
from tvm.s_tir import Schedule
from tvm.script import tirx as T
from tvm.target import Target
from unoptimised import unoptimised

from mschedx.measure import verify
from mschedx.space import sketches
from mschedx.space.rules.blocks import accumulates_in_place

TARGET = Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})


def product(a, b, name, transposed=False):
    r = te.reduce_axis((0, a.shape[-1]), "r" + name)
    *batch, m, _ = a.shape
    n = b.shape[-2] if transposed else b.shape[-1]

    def body(*i):
        *rest, row, column = i
        right = b(*rest, column, r) if transposed else b(*rest, r, column)
        return te.sum(a(*rest, row, r) * right, r)

    return te.compute((*batch, m, n), body, name=name)


def attention(heads=2, length=32, depth=16):
    q, k, v = (te.placeholder((heads, length, depth), name=name) for name in "QKV")
    weights = topi.nn.softmax(product(q, k, "S", transposed=True))
    return [q, k, v, product(weights, v, "O")]


def two_products():
    a, b, c = (te.placeholder((32, 32), name=name) for name in "ABC")
    return [a, b, c, product(product(a, b, "P"), c, "O")]


def scaled_rows_then_product():
    a, b = (te.placeholder((32, 32), name=name) for name in "AB")
    r = te.reduce_axis((0, 32), "r")
    norm = te.compute((32,), lambda i: te.sum(a[i, r] * a[i, r], r), name="N")
    scaled = te.compute((32, 32), lambda i, j: a[i, j] / te.sqrt(norm[i]), name="R")
    return [a, b, product(scaled, b, "O")]


def gates():
    """Two products of which the sum goes on: an epilogue of neither."""
    a, b, c, d = (te.placeholder((24, 32) if n in "AC" else (32, 32), name=n) for n in "ABCD")
    one, other = product(a, b, "P"), product(c, d, "Q")
    return [a, b, c, d, te.compute(one.shape, lambda *i: te.tanh(one(*i) + other(*i)), name="Y")]


def swiglu():
    """silu(x · V) · (x · W), of a shape that is padded."""
    x, v, w = te.placeholder((13, 32), name="X"), *(te.placeholder((32, 37), name=n) for n in "VW")
    gate, value = product(x, v, "P"), product(x, w, "Q")
    s = te.compute(gate.shape, lambda *i: gate(*i) * te.sigmoid(gate(*i)), name="S")
    return [x, v, w, te.compute(gate.shape, lambda *i: s(*i) * value(*i), name="Y")]


MANY = (attention, two_products, scaled_rows_then_product, gates, swiglu)
FUNCTIONS = {f.__name__: f for f in MANY}


def schedules(name):
    function = te.create_prim_func(FUNCTIONS[name]()).with_attr("global_symbol", "main")
    mod = tvm.IRModule({"main": function})
    rng = np.random.default_rng(0)
    return mod, [s.schedule(s.sample(1, rng)[0]) for s in sketches(mod, TARGET)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_product_is_tiled_and_nothing_stays_serial(name):
    mod, found = schedules(name)
    products = {"attention": "SO", "two_products": "PO", "scaled_rows_then_product": "O"}
    for sch in found:
        for one in products.get(name, "PQ"):
            (vector,) = sch.get_loops(sch.get_sblock(f"{one}_update"))[-1:]
            assert sch.get(vector).kind == tvm.tirx.ForKind.VECTORIZED
        root = sch.get_sblock("root")
        for block in sch.get_child_blocks(root):
            outermost = sch.get(sch.get_loops(block)[0])
            assert outermost.kind == tvm.tirx.ForKind.PARALLEL, sch.get(block).name_hint
        assert verify(sch, mod, unoptimised(TARGET)).ok


def test_rows_that_an_intrinsic_reads_are_not_copied(caplog):
    """TVM's cache_write of them crashes the process: the reader has matched the buffer."""
    x = te.placeholder((19,), "bfloat16", "x")
    w = te.placeholder((18, 5), "bfloat16", "w")
    k, r = te.reduce_axis((0, 2), "k"), te.reduce_axis((0, 18), "r")
    pooled = te.compute((18,), lambda i: te.max(x[i + k], k), "pooled")
    summed = te.compute(
        (5,), lambda j: te.sum(pooled[r].astype("float32") * w[r, j].astype("float32"), r), "summed"
    )
    target = Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
    mod = tvm.IRModule({"main": te.create_prim_func([x, w, summed])})
    rng = np.random.default_rng(0)
    found = [s.schedule(s.sample(1, rng)[0]).mod.script() for s in sketches(mod, target)]
    assert any("dpbf16" in script for script in found)
    assert "does not fit" not in caplog.text


def test_a_softmax_between_products_is_one_loop_nest():
    found = schedules("attention")[1]
    assert found
    for sch in found:
        nests = []
        for block in sch.get_child_blocks(sch.get_sblock("root")):
            outermost = sch.get(sch.get_loops(block)[0])
            if not any(outermost.same_as(nest) for nest in nests):
                nests.append(outermost)
        assert len(nests) == 3  # scores, softmax, output


@T.prim_func(s_tir=True)
def in_place(a: T.Buffer((8, 8), "float32"), c: T.Buffer((8,), "float32")):
    for i, j in T.grid(8, 8):
        with T.sblock("C"):
            vi, vj = T.axis.remap("SR", [i, j])
            c[vi] = c[vi] + a[vi, vj]


def test_what_accumulates_in_place_is_left_alone():
    mod = tvm.IRModule({"main": in_place.with_attr("global_symbol", "main")})
    sch = Schedule(mod)
    assert accumulates_in_place(sch.get(sch.get_sblock("C")))
    for sketch in sketches(mod, TARGET):
        made = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
        assert verify(made, mod, unoptimised(TARGET)).ok


@T.prim_func(s_tir=True)
def residual(
    a: T.Buffer((32, 32), "float32"), b: T.Buffer((32, 32), "float32"),
    x: T.Buffer((32, 32), "float32"), r: T.Buffer((32, 32), "float32"),
    y: T.Buffer((32, 32), "float32"),
):  # fmt: skip
    c = T.sblock_alloc_buffer((32, 32))
    for i, j, k in T.grid(32, 32, 32):
        with T.sblock("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                c[vi, vj] = T.float32(0)
            c[vi, vj] = c[vi, vj] + a[vi, vk] * b[vk, vj]
    for i, j in T.grid(32, 32):
        with T.sblock("R"):
            vi, vj = T.axis.remap("SS", [i, j])
            r[vi, vj] = r[vi, vj] + c[vi, vj]
    for i, j in T.grid(32, 32):
        with T.sblock("Y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = T.tanh(x[vi, vj])


def test_what_adds_to_its_result_keeps_neither_the_product_nor_others_from_their_tiles(caplog):
    """TVM takes ``r = r + c`` for no complete block: it neither moves nor parallelises it."""
    mod = tvm.IRModule({"main": residual.with_attr("global_symbol", "main")})
    found = sketches(mod, TARGET)
    assert found
    for sketch in found:
        made = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
        innermost = made.get(made.get_loops(made.get_sblock("C_update"))[-1])
        assert innermost.kind == tvm.tirx.ForKind.VECTORIZED
        root = made.get_sblock("root")
        outermost = {
            made.get(block).name_hint: made.get(made.get_loops(block)[0]).kind
            for block in made.get_child_blocks(root)
        }
        parallel = {name for name, kind in outermost.items() if kind == tvm.tirx.ForKind.PARALLEL}
        assert outermost.keys() - parallel == {"R"}
        assert verify(made, mod, unoptimised(TARGET)).ok
    assert "does not fit" not in caplog.text
