"""Functions that read or write part of an array: no rule takes the part for the whole."""

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.script import tirx as T
from tvm.target import Target
from unoptimised import run_once

from mschedx.hardware import Hardware
from mschedx.space import sketches
from mschedx.space.rules.contraction import match_contraction
from mschedx.space.rules.packed_tile import packed_tiles
from mschedx.space.rules.padding import can_pad

AVX2 = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
FLOATS = ("float32", "float32", "float32")
BYTES = ("uint8", "int8", "int32")


def stacked(m, n, k, which, dtypes=FLOATS):
    """``C = A · B[which]``, of three matrices in one array."""
    left, right, out = dtypes
    a, b = te.placeholder((m, k), left, "A"), te.placeholder((3, k, n), right, "B")
    r = te.reduce_axis((0, k), "r")

    def element(i, j):
        return te.sum(a[i, r].astype(out) * b[which, r, j].astype(out), axis=r)

    return te.create_prim_func([a, b, te.compute((m, n), element, name="C")])


def transposed(m, n, k, longer):
    """``C = A · B[:, :k]ᵀ``."""
    a, b = te.placeholder((m, k), name="A"), te.placeholder((n, longer), name="B")
    r = te.reduce_axis((0, k), "r")
    c = te.compute((m, n), lambda i, j: te.sum(a[i, r] * b[j, r], axis=r), name="C")
    return te.create_prim_func([a, b, c])


def corner_of_window():
    """A convolution by the 3 x 3 corners of 4 x 4 windows."""
    x, w = te.placeholder((8, 10, 10), name="X"), te.placeholder((16, 8, 4, 4), name="W")
    q, r, s = (te.reduce_axis((0, n), name) for n, name in ((8, "q"), (3, "r"), (3, "s")))

    def element(o, h, v):
        return te.sum(x[q, h + r, v + s] * w[o, q, r, s], axis=[q, r, s])

    return te.create_prim_func([x, w, te.compute((16, 8, 8), element, name="C")])


def corner_convolution(x, w, c):
    found = 0 * c
    for r, s in np.ndindex(3, 3):
        found += np.einsum("oq,qhv->ohv", w[:, :, r, s], x[:, r : r + 8, s : s + 8])
    return found


def part(shape, arrays, dtypes=FLOATS):
    """``C[:m, :n] = A[:m, :k] · B[:k, :n]`` of arrays that may be larger; the rest of C stays."""
    m, n, k = shape
    a_shape, b_shape, c_shape = arrays
    left, right, out = dtypes

    @T.prim_func(s_tir=True)
    def main(x: T.handle, y: T.handle, z: T.handle):
        a = T.match_buffer(x, a_shape, left)
        b = T.match_buffer(y, b_shape, right)
        c = T.match_buffer(z, c_shape, out)
        for i, j, r in T.grid(m, n, k):
            with T.sblock("C"):
                vi, vj, vr = T.axis.remap("SSR", [i, j, r])
                with T.init():
                    c[vi, vj] = T.Cast(out, 0)
                c[vi, vj] = c[vi, vj] + T.Cast(out, a[vi, vr]) * T.Cast(out, b[vr, vj])

    return main


def stacked_product(which):
    def product(a, b, c):
        return a @ b[which] + 0 * c

    return product


def part_product(m, n, k):
    def product(a, b, c):
        found = c.copy()
        found[:m, :n] = a[:m, :k] @ b[:k, :n]
        return found

    return product


OUTPUT = ((61, 50), (50, 37), (64, 64))
TERMS = ((61, 72), (72, 37), (61, 37))
BIGGER = ((80, 96), (72, 80), (96, 80))
FUNCTIONS = {
    "stacked": (stacked(61, 37, 50, 1), stacked_product(1)),
    "stacked-first": (stacked(61, 37, 50, 0), stacked_product(0)),
    "stacked-whole-vectors": (stacked(64, 64, 32, 2), stacked_product(2)),
    "stacked-bytes": (stacked(24, 37, 70, 1, BYTES), stacked_product(1)),
    "stacked-bytes-that-fit": (stacked(24, 32, 64, 2, BYTES), stacked_product(2)),
    "transposed-longer": (transposed(40, 48, 24, 30), lambda a, b, c: a @ b[:, :24].T + 0 * c),
    "corner-of-window": (corner_of_window(), corner_convolution),
    "output": (part((61, 37, 50), OUTPUT), part_product(61, 37, 50)),
    "output-bytes": (part((61, 37, 50), OUTPUT, BYTES), part_product(61, 37, 50)),
    "terms": (part((61, 37, 70), TERMS), part_product(61, 37, 70)),
    "terms-bytes": (part((61, 37, 70), TERMS, BYTES), part_product(61, 37, 70)),
    "all-larger": (part((61, 37, 70), BIGGER), part_product(61, 37, 70)),
    "all-larger-whole-vectors": (part((64, 64, 64), BIGGER), part_product(64, 64, 64)),
    "all-larger-bytes": (part((61, 37, 70), BIGGER, BYTES), part_product(61, 37, 70)),
    "all-larger-bytes-that-fit": (part((64, 64, 64), BIGGER, BYTES), part_product(64, 64, 64)),
}


def module(function):
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def arrays_of(function, rng):
    """Whole numbers, whose sums have no rounding, the output's too."""
    found = []
    for buffer in function.params:
        dtype = str(buffer.dtype)
        low = 0 if dtype == "uint8" else -3
        found.append(rng.integers(low, 4, [int(n) for n in buffer.shape]).astype(dtype))
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_space_computes_the_part(name):
    function, product = FUNCTIONS[name]
    mod, rng = module(function), np.random.default_rng(0)
    arrays = arrays_of(function, rng)
    a, b, c = (array.astype(np.int64) for array in arrays)
    expected = product(a, b, c)
    for sketch in sketches(mod, AVX2):
        for config in sketch.sample(3, rng):
            found = run_once(sketch.schedule(config).mod, AVX2, arrays)[-1]
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_only_whole_matrices_are_padded(name):
    sch = Schedule(module(FUNCTIONS[name][0]))
    contraction = match_contraction(sch.get(sch.get_sblock("C")))
    assert can_pad(contraction) == (name == "stacked-first")


@pytest.mark.parametrize("name", ["stacked-whole-vectors", "all-larger-whole-vectors"])
def test_what_needs_no_padding_keeps_its_tiles(name):
    sch = Schedule(module(FUNCTIONS[name][0]))
    assert len(packed_tiles(sch, sch.get_sblock("C"), Hardware.from_target(AVX2))) == 4
