"""Elementwise blocks after a contraction: which these are, and that tiles hold their vectors."""

import re

import numpy as np
import pytest
import tvm
from epilogues import clipped_sum, each, gelu_tanh, mish, product, silu
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.script import tirx as T
from tvm.target import Target

from mschedx.space.opening import sketches
from mschedx.space.rules.epilogue import as_one_block, epilogue_of

AVX2 = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
VNNI = Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})


def convolution(epilogue, layout):
    channels_last = layout == "NHWC"
    shape, out = ((1, 8, 8, 6), (1, 6, 6, 16)) if channels_last else ((1, 6, 8, 8), (1, 16, 6, 6))
    x = te.placeholder(shape, "float32", "X")
    w = te.placeholder((3, 3, 6, 16) if channels_last else (16, 6, 3, 3), "float32", "W")
    r, s, c = (te.reduce_axis((0, e), name) for e, name in ((3, "r"), (3, "s"), (6, "c")))

    def element(n, *at):
        if channels_last:
            i, j, o = at
            return te.sum(x[n, i + r, j + s, c] * w[r, s, c, o], [r, s, c])
        o, i, j = at
        return te.sum(x[n, c, i + r, j + s] * w[o, c, r, s], [c, r, s])

    return te.create_prim_func([x, w, epilogue(te.compute(out, element, name="C"))])


def arrays(func):
    rng = np.random.default_rng(0)
    found = []
    for info in ArgInfo.from_entry_func(tvm.IRModule({"main": func})):
        shape, dtype = [int(n) for n in info.shape], str(info.dtype)
        values = rng.integers(-100, 100, shape) if dtype == "int8" else rng.standard_normal(shape)
        found.append(tvm.runtime.tensor(values.astype(dtype)))
    return found


def scalar_calls(module):
    return set(re.findall(r"\b(?:exp|log|tanh|erf)f\b", module.mod.inspect_source("s")))


@pytest.mark.parametrize(
    ("func", "target", "functions"),
    [
        (product(silu), AVX2, ["sigmoid"]),
        (product(gelu_tanh), AVX2, ["tanh"]),
        (product(mish), AVX2, ["exp", "log", "tanh"]),
        (convolution(silu, "NHWC"), AVX2, ["sigmoid"]),
        (product(silu, dtype="int8"), VNNI, ["sigmoid"]),
    ],
    ids=["silu", "gelu_tanh", "mish", "convolution", "int8"],
)
def test_tiles_compute_functions_in_vectors(func, target, functions):
    mod, inputs = tvm.IRModule({"main": func}), arrays(func)
    tvm.compile(mod, target=target)["main"](*inputs)
    expected = inputs[-1].numpy().copy()
    tiled = 0
    for sketch in sketches(mod, target):
        sch = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
        module = tvm.compile(sch.mod, target=target)
        module["main"](*inputs)
        np.testing.assert_allclose(inputs[-1].numpy(), expected, rtol=1e-5, atol=1e-5)
        if "reindex" in str(sch.trace).lower():  # patches that tiles gather have one block
            continue
        tiled += 1
        assert all(f"mschedx_{name}_" in str(sch.trace) for name in functions)
        assert not scalar_calls(module)
    assert tiled


@pytest.mark.parametrize(("dtype", "target"), [("float32", AVX2), ("int8", VNNI)])
def test_tiles_end_in_a_sum_with_another_layer_and_a_relu6(dtype, target):
    func = product(clipped_sum, dtype=dtype, others=1)
    mod, inputs = tvm.IRModule({"main": func}), arrays(func)
    tvm.compile(mod, target=target)["main"](*inputs)
    expected = inputs[-1].numpy().copy()
    assert (expected == 0).any()
    assert ((expected > 0) & (expected < 6)).any()
    for sketch in sketches(mod, target):
        sch = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
        assert not {"C", "Z", "sum"} & blocks_at_root(sch), "written once, by the tile's block"
        tvm.compile(sch.mod, target=target)["main"](*inputs)
        np.testing.assert_allclose(inputs[-1].numpy(), expected, rtol=1e-5, atol=1e-5)


def blocks_at_root(sch):
    """Blocks that share no loop with another."""
    children = sch.get_child_blocks(sch.get_sblock("root"))
    outermost = [str(sch.get(sch.get_loops(block)[0])) for block in children]
    names = [sch.get(block).name_hint for block in children]
    return {name for name, loop in zip(names, outermost) if outermost.count(loop) == 1}


@pytest.mark.parametrize(
    "func", [convolution(silu, "NCHW"), product(silu, m=1), product(silu, n=7),
     product(silu, m=62)],
    ids=["vectors not along rows", "one row", "no whole vector", "padded rows"],
)  # fmt: skip
def test_what_no_tile_ends_in_vectors_of_is_one_block(func):
    mod, inputs = tvm.IRModule({"main": func}), arrays(func)
    tvm.compile(mod, target=AVX2)["main"](*inputs)
    expected = inputs[-1].numpy().copy()
    for sketch in sketches(mod, AVX2):
        sch = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
        assert '"S"' not in sch.mod.script()
        tvm.compile(sch.mod, target=AVX2)["main"](*inputs)
        np.testing.assert_allclose(inputs[-1].numpy(), expected, rtol=1e-5, atol=1e-5)


def names(func, block="C"):
    sch = Schedule(func)
    return [sch.get(one).name_hint for one in epilogue_of(sch, sch.get_sblock(block))]


def test_an_epilogue_is_in_the_order_of_the_program():
    assert names(product(silu)) == ["Z", "S", "Y"]
    assert names(product(silu), "Z") == ["S", "Y"]
    assert names(product(silu), "S") == [], "Y reads Z too"
    assert names(product(silu), "Y") == []


def test_what_reads_another_block_too_is_no_epilogue():
    a, b, c = (te.placeholder((24, 24), name=name) for name in "ABC")

    def times(left, right, name):
        r = te.reduce_axis((0, 24), "r")
        return te.compute((24, 24), lambda i, j: te.sum(left[i, r] * right[r, j], r), name=name)

    one, other = times(a, b, "P"), times(a, c, "Q")
    gate = each(te.sigmoid, one, name="S")
    func = te.create_prim_func([a, b, c, each(lambda x, y: x * y, gate, other, name="Y")])
    assert names(func, "P") == names(func, "Q") == []


def test_it_is_inlined_into_its_last_block():
    sch = Schedule(product(mish))
    as_one_block(sch, sch.get_sblock("C"))
    assert [sch.get(b).name_hint for b in sch.get_child_blocks(sch.get_sblock("root"))] == [
        "C", "Y",
    ]  # fmt: skip


def shifted(z):
    s = te.compute(z.shape, lambda i, j: te.sigmoid(z[i, z.shape[1] - 1 - j]), name="S")
    return each(lambda x, y: x * y, z, s, name="Y")


def summed(z):
    r = te.reduce_axis((0, z.shape[1]), "q")
    return te.compute((z.shape[0],), lambda i: te.sum(z[i, r], r), name="Y")


@pytest.mark.parametrize("epilogue", [shifted, summed])
def test_other_blocks_are_no_epilogue(epilogue):
    assert names(product(epilogue)) == []


def test_results_that_the_caller_gets_too_are_no_epilogue():
    x = te.placeholder((8, 8), "float32", "X")
    z = each(te.exp, x, name="Z")
    s = each(te.sigmoid, z, name="S")
    func = te.create_prim_func([x, s, each(lambda a: a + 1.0, s, name="Y")])
    assert names(func, "Z") == []
    two = te.create_prim_func([x, s, each(lambda a: a + 1.0, z, name="Y")])
    assert names(two, "Z") == []


@pytest.mark.parametrize("row", [0, 37, 63])
def test_one_row_by_its_number_is_no_epilogue(row):
    """Every tile of rows would compute it, those before the row is made too."""
    a, b = te.placeholder((64, 20), name="A"), te.placeholder((20, 32), name="B")
    r = te.reduce_axis((0, 20), "r")
    c = te.compute((64, 32), lambda i, j: te.sum(a[i, r] * b[r, j], r), name="C")
    func = te.create_prim_func([a, b, te.compute((1, 32), lambda i, j: c[row, j] * 2, name="Y")])
    assert names(func) == []
    x, w, y = arrays(func)
    expected = 2 * (x.numpy() @ w.numpy())[row : row + 1]
    for sketch in sketches(tvm.IRModule({"main": func}), AVX2):
        for config in sketch.sample(3, np.random.default_rng(0)):
            tvm.compile(sketch.schedule(config).mod, target=AVX2)["main"](x, w, y)
            np.testing.assert_allclose(y.numpy(), expected, rtol=1e-4, atol=1e-5)


@T.prim_func(s_tir=True)
def skipped(
    a: T.Buffer((8, 16), "float32"), b: T.Buffer((16, 8), "float32"), y: T.Buffer((8, 8), "float32")
):
    c, s = T.sblock_alloc_buffer((8, 8)), T.sblock_alloc_buffer((8, 8))
    for i, j, k in T.grid(8, 8, 16):
        with T.sblock("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                c[vi, vj] = T.float32(0)
            c[vi, vj] = c[vi, vj] + a[vi, vk] * b[vk, vj]
    for i, j in T.grid(8, 8):
        with T.sblock("S"):
            vi, vj = T.axis.remap("SS", [i, j])
            if vi < 4:
                s[vi, vj] = c[vi, vj]
            else:
                s[vi, vj] = T.float32(0)
    for i, j in T.grid(8, 8):
        with T.sblock("Y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = T.sigmoid(s[vi, vj] + c[vi, vj])


@T.prim_func(s_tir=True)
def turned(
    a: T.Buffer((8, 16), "float32"), b: T.Buffer((16, 8), "float32"), y: T.Buffer((8, 8), "float32")
):
    c, s = T.sblock_alloc_buffer((8, 8)), T.sblock_alloc_buffer((8, 8))
    for i, j, k in T.grid(8, 8, 16):
        with T.sblock("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                c[vi, vj] = T.float32(0)
            c[vi, vj] = c[vi, vj] + a[vi, vk] * b[vk, vj]
    for i, j in T.grid(8, 8):
        with T.sblock("S"):
            vi, vj = T.axis.remap("SS", [i, j])
            s[vj, vi] = T.sigmoid(c[vi, vj])
    for i, j in T.grid(8, 8):
        with T.sblock("Y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = T.sigmoid(s[vi, vj] + c[vi, vj])


@T.prim_func(s_tir=True)
def matched(
    a: T.Buffer((8, 16), "float32"), b: T.Buffer((16, 8), "float32"), y: T.Buffer((8, 8), "float32")
):
    c, s = T.sblock_alloc_buffer((8, 8)), T.sblock_alloc_buffer((8, 8))
    for i, j, k in T.grid(8, 8, 16):
        with T.sblock("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                c[vi, vj] = T.float32(0)
            c[vi, vj] = c[vi, vj] + a[vi, vk] * b[vk, vj]
    for i, j in T.grid(8, 8):
        with T.sblock("S"):
            vi, vj = T.axis.remap("SS", [i, j])
            s[vi, vj] = T.sigmoid(c[vi, vj])
    for i, j in T.grid(8, 8):
        with T.sblock("Y"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(s[vi, vj], c[vi, vj])
            T.writes(y[vi, vj])
            one = T.match_buffer(s[vi, vj], (), offset_factor=1)
            y[vi, vj] = one[()] + c[vi, vj]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (skipped, lambda c: sigmoid(c + np.where(np.arange(8)[:, None] < 4, c, 0))),
        (turned, lambda c: sigmoid(sigmoid(c).T + c)),
        (matched, lambda c: sigmoid(c) + c),
    ],
    ids=["skipped", "turned", "matched"],
)
def test_what_tvm_would_not_inline_is_no_epilogue(func, expected):
    assert names(func) == []
    a, b, y = arrays(func)
    opened = sketches(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), AVX2)
    assert opened
    for sketch in opened:
        sch = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
        tvm.compile(sch.mod, target=AVX2)["main"](a, b, y)
        np.testing.assert_allclose(y.numpy(), expected(a.numpy() @ b.numpy()), rtol=1e-4, atol=1e-5)


def test_vectors_longer_than_any_of_a_function_end_in_one_block():
    func = product(silu, dtype="float16")
    a, b, bias, y = arrays(func)
    z = a.numpy().astype("float64") @ b.numpy().astype("float64") + bias.numpy()
    opened = sketches(tvm.IRModule({"main": func}), VNNI)
    assert opened
    for sketch in opened:
        sch = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
        assert '"S"' not in sch.mod.script()
        tvm.compile(sch.mod, target=VNNI)["main"](a, b, bias, y)
        # Each of twenty partial sums below 16 is off by half a unit in the last place, 2 ** -8.
        np.testing.assert_allclose(y.numpy(), z * sigmoid(z), atol=20 * 2**-8)
