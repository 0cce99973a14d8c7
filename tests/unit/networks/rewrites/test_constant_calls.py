"""Functions of constants are done when a network is compiled."""

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from mschedx import compat
from mschedx.networks.rewrites.constant_calls import fold_calls
from mschedx.networks.rewrites.graph import op_name

WEIGHT = np.arange(12, dtype="float32").reshape(3, 4)


def network(value):
    """A product with a turned weight, ``value`` of "main", and one call of its input."""
    with compat.fast_script():

        @I.ir_module
        class Made:
            @T.prim_func(private=True, s_tir=True)
            def turn(w: T.Buffer((3, 4), "float32"), out: T.Buffer((4, 3), "float32")):
                for i, j in T.grid(4, 3):
                    with T.sblock("turn"):
                        vi, vj = T.axis.remap("SS", [i, j])
                        out[vi, vj] = w[vj, vi]

            @R.function
            def main(x: R.Tensor((3, 4), "float32"), w: R.Tensor((3, 4), "float32")):
                cls = Made
                with R.dataflow():
                    turned = R.call_tir(cls.turn, (w,), out_ty=R.Tensor((4, 3), "float32"))
                    other = R.call_tir(cls.turn, (x,), out_ty=R.Tensor((4, 3), "float32"))
                    out = R.add(turned, other)
                    R.output(out)
                return out

    return relax.transform.BindParams("main", {"w": value})(Made)


def calls(mod):
    found = []

    def visit(expr):
        if op_name(expr) == "relax.call_tir":
            found.append(expr)

    relax.analysis.post_order_visit(mod["main"], visit)
    return found


def test_calls_of_constants_are_done_as_tvm_does_them():
    mod = network(WEIGHT)
    folded = fold_calls(mod)
    assert (len(calls(mod)), len(calls(folded))) == (2, 1)
    # TVM's pass also puts what a variable is bound to into its uses.
    theirs, ours = (relax.transform.FoldConstant()(one) for one in (mod, folded))
    tvm.ir.assert_structural_equal(ours["main"], theirs["main"])


def test_a_network_without_any_stays_as_it_is():
    mod = fold_calls(network(WEIGHT))
    assert fold_calls(mod) is mod


def with_callee(function):
    """The network with another function in the place of the one that is called."""
    mod = network(WEIGHT)
    mod[mod.get_global_var("turn")] = function
    return mod


@pytest.fixture
def bound_to_threads():
    with compat.fast_script():

        @T.prim_func(private=True, s_tir=True)
        def turn(w: T.Buffer((3, 4), "float32"), out: T.Buffer((4, 3), "float32")):
            for i in T.thread_binding(4, thread="threadIdx.x"):
                for j in range(3):
                    with T.sblock("turn"):
                        vi, vj = T.axis.remap("SS", [i, j])
                        out[vi, vj] = w[vj, vi]

    return turn


@pytest.fixture
def of_any_size():
    with compat.fast_script():

        @T.prim_func(private=True, s_tir=True)
        def turn(a: T.handle, out: T.Buffer((4, 3), "float32")):
            rows = T.int64()
            w = T.match_buffer(a, (rows, 4), "float32")
            for i, j in T.grid(4, 3):
                with T.sblock("turn"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    out[vi, vj] = w[vj, vi]

    return turn


def test_what_does_not_compile_here_is_left_to_tvms_pass(bound_to_threads):
    mod = with_callee(bound_to_threads)
    assert fold_calls(mod) is mod


def test_functions_of_another_kind_are_left_as_they_are(of_any_size):
    for function in (relax.ExternFunc("turn_elsewhere"), of_any_size):
        mod = with_callee(function)
        assert fold_calls(mod) is mod
