"""What is said to be offered is what TVM answers."""

import numpy as np
import pytest
from spaces import LLVM, chained_sums, design_spaces, module
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.testing import te_workload

from mschedx.space.design_spaces import generate
from mschedx.space.trace.instructions import (
    decision_of,
    replay,
    searched_part,
    seed_of,
    with_decisions,
)
from mschedx.space.trace.location_offers import offer_at, scales_an_index

CASES = {
    "softmax": te_workload.softmax_mn(16, 24),
    "convolution": te_workload.conv2d_nhwc(1, 7, 7, 8, 8, 3, 1, 1),
    "transposed convolution": te_workload.conv2d_transpose_nhwc(1, 4, 4, 16, 8, 4, 2, 1),
    "sums of sums": chained_sums(),
}


def answers(schedule, block):
    """Ask TVM: a code that it does not offer is answered with the next one below."""
    found, code = set(), 1 << 16
    while code >= -2:
        trial = schedule.copy()
        trial.sample_compute_location(block, decision=code)
        (answer,) = decision_of(trial.trace, len(trial.trace.insts) - 1)
        if answer > code:
            break
        found.add(answer)
        code = answer - 1
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_codes_are_those_that_tvm_answers(case):
    mod, compared = module(CASES[case]), 0
    for space in (*generate(mod, LLVM)[0], *design_spaces(mod, LLVM)[-1:]):
        trace = with_decisions(searched_part(space), {})
        for number in range(3):

            def provider(schedule):
                def watch(instruction, inputs, attributes, decision):
                    nonlocal compared
                    if instruction.kind.name == "SampleComputeLocation":
                        expected = answers(schedule, inputs[0])
                        assert offer_at(schedule, inputs[0], np.zeros(0)).codes == expected
                        compared += 1
                    return decision

                return watch

            replay(mod, trace, provider, seed_of(number))
    assert compared >= 3


def test_of_several_consumers_only_shared_loops_count():
    x = te.placeholder((8, 4), name="x")
    first = te.compute((8, 4), lambda i, j: x[i, j] + 1.0, name="first")
    one = te.compute((8, 4), lambda i, j: first[i, j] * 2.0, name="one")
    two = te.compute((8, 4), lambda i, j: first[i, j] + one[i, j], name="two")
    schedule = Schedule(module([x, two]))
    block = schedule.get_sblock("first")
    assert offer_at(schedule, block, np.zeros(0)).extents == ()
    schedule.compute_at(
        schedule.get_sblock("one"), schedule.get_loops(schedule.get_sblock("two"))[0]
    )
    found = offer_at(schedule, block, np.zeros(0))
    assert found.extents == (8,)
    assert found.codes == answers(schedule, block) == {-2, -1, 0}


def test_no_loop_behind_a_reduction_is_offered_and_no_last_reduction():
    x = te.placeholder((8, 4, 6), name="x")
    first = te.compute((8, 4, 6), lambda i, j, k: x[i, j, k] + 1.0, name="first")
    k = te.reduce_axis((0, 6), name="k")
    two = te.compute((8, 4), lambda i, j: te.sum(first[i, j, k], k), name="two")
    schedule = Schedule(module([x, two]))
    block = schedule.get_sblock("first")
    assert (
        offer_at(schedule, block, np.zeros(0)).codes == answers(schedule, block) == {-2, -1, 0, 1}
    )
    i, j, k = schedule.get_loops(schedule.get_sblock("two"))
    schedule.reorder(i, k, j)
    found = offer_at(schedule, block, np.zeros(0))
    assert found.parallel == (True, False, True)
    assert found.codes == answers(schedule, block) == {-2, -1, 0, 1}


def test_an_index_is_scaled_where_it_has_a_product_or_a_quotient():
    x = te.placeholder((8, 6), name="x")
    k = te.reduce_axis((0, 3), name="k")
    cases = {
        "as it is": (te.compute((8, 6), lambda i, j: x[i, j] * 2.0), False),
        "shifted": (te.compute((6,), lambda i: te.sum(x[i + k, 5], k)), False),
        "strided": (te.compute((4,), lambda i: x[i * 2, 0]), True),
        "repeated": (te.compute((16,), lambda i: x[i // 2, 0]), True),
        "in turn": (te.compute((16,), lambda i: x[i % 8, 0]), True),
    }
    for name, (y, expected) in cases.items():
        assert scales_an_index(module([x, y])) is expected, name
