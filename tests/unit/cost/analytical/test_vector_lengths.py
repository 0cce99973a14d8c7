"""Lengths of LLVM's vectors, against the assembly that it writes."""

import re

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule

from mschedx.cost.analytical.vector_lengths import MASKED, full_vectors, vector_length

LANES = {"x": 4, "y": 8, "z": 16}


def lengths_in_assembly(trips, steps, columns):
    """Lanes of the multiply-adds of a loop around an unrolled body, for AVX-512."""
    a = te.placeholder((6, steps, trips), name="A")
    b = te.placeholder((columns, steps), name="B")
    k = te.reduce_axis((0, steps), name="k")
    c = te.compute(
        (6, columns, trips), lambda i, o, j: te.sum(a[i, k, j] * b[o, k], axis=k), name="C"
    )
    sch = Schedule(te.create_prim_func([a, b, c]))
    i, o, j, k = sch.get_loops(sch.get_sblock("C"))
    sch.reorder(i, j, k, o)
    sch.decompose_reduction(sch.get_sblock("C"), i)
    _, _, k, o = sch.get_loops(sch.get_sblock("C_update"))
    sch.unroll(k)
    sch.unroll(o)
    target = {"kind": "llvm", "mcpu": "znver4", "num-cores": 2}
    assembly = tvm.compile(sch.mod, target=target).mod.inspect_source("asm")
    return {LANES[r] for r in re.findall(r"vfmadd\w+ps.*%([xyz])mm", assembly)}


@pytest.mark.parametrize("trips", [6, 8, 10, 14, 16, 20, 24, 28, 40, 56, 96])
def test_lengths_are_those_of_llvm(trips):
    assert lengths_in_assembly(trips, 16, 4) == {vector_length(np.array([float(trips)]), 16.0)[0]}


def test_what_is_left_over_of_the_longest_is_vectors_too():
    assert lengths_in_assembly(100, 16, 4) == {4, 16}
    assert full_vectors(np.array([100.0]), 16.0, 0.5) == 6 + 0.5


def test_what_vectors_cost():
    trips = np.array([8.0, 10, 16, 20, 24, 28, 56, 112])
    expected = [1, MASKED, 1, 5, 3, 7, 7, 7]
    np.testing.assert_allclose(full_vectors(trips, 16.0, 1.0), expected)
    expected = [0.5, MASKED, 1, 2.5, 1.5, 3.5, 3.5, 7]
    np.testing.assert_allclose(full_vectors(trips, 16.0, 0.5), expected)


def test_relaxed_and_empty_loops_cost_something():
    cost = full_vectors(np.array([0.0, 1e-9, 15.7, 1e6]), 16.0, 0.5)
    assert (cost > 0).all()
    assert np.isfinite(cost).all()
