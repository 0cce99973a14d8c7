"""Statements at many configs: what is not known is named, and no config hangs on another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from spaces import CUDA, LLVM, matmul

from mschedx.cost.analytical.cuda import cuda_costs
from mschedx.cost.analytical.published import symbols
from mschedx.cost.analytical.view import ProgramAt, ProgramView
from mschedx.hardware import Hardware
from mschedx.space import sketches


@pytest.fixture(scope="module")
def product():
    return sketches(matmul(64, 64, 64), LLVM, "post-order-apply")[0]


def test_of_two_loops_with_one_name_either_may_be_unknown(product):
    main = next(s for s in product.statements if s.is_reduction)
    first, second, *rest = main.loops
    for loops in (
        (replace(first, extent=None), replace(second, name=first.name)),
        (first, replace(second, name=first.name, extent=None)),
    ):
        veiled = replace(main, loops=(*loops, *rest))
        assert ProgramView([veiled], []).unknown == {main.name: f"the extent of {first.name}"}


def test_of_two_accesses_of_a_buffer_either_may_be_unknown(product):
    main = next(s for s in product.statements if s.is_reduction)
    known = main.accesses[0]
    unknown = replace(known, elements=(*known.elements[:-1], None))
    for accesses in ((known, unknown), (unknown, known)):
        view = ProgramView([replace(main, accesses=accesses)], [])
        assert view.unknown == {main.name: f"the elements of {known.buffer}"}


def test_the_limit_of_unrolling_need_not_be_known(product):
    main = next(s for s in product.statements if s.is_reduction)
    view = ProgramView([replace(main, unroll=None)], [])
    assert view.unknown == {}
    configs = product.sample(3, np.random.default_rng(0))
    assert not view(configs).statements[0].unroll.any()


@pytest.fixture(scope="module")
def program():
    """A program in which loops of the first config move nothing, at several configs."""
    sketch = sketches(matmul(64, 64, 64), CUDA, "post-order-apply")[0]
    found = ProgramView(sketch.statements, sketch.analysis.allocations)(
        sketch.sample(5, np.random.default_rng(0))
    )
    standing = []
    for view in found.statements:
        accesses = []
        for access in view.accesses:
            strides = access.strides.copy()
            strides[:, 0] = 0
            accesses.append(replace(access, strides=strides))
        standing.append(replace(view, accesses=tuple(accesses)))
    return replace(found, statements=standing)


def alone(program, i):
    """The program at one of its configs."""
    at = slice(i, i + 1)
    statements = [
        replace(
            view,
            extents=view.extents[:, at],
            lanes=view.lanes[at],
            unroll=view.unroll[at],
            asynchronous=view.asynchronous[at],
            accesses=tuple(
                replace(
                    access,
                    elements=access.elements[:, at],
                    runs=access.runs[:, at],
                    strides=access.strides[:, at],
                    allocated_bytes=access.allocated_bytes[at],
                )
                for access in view.accesses
            ),
        )
        for view in program.statements
    ]
    allocations = [
        replace(
            one,
            bytes=None if one.bytes is None else one.bytes[at],
            copies=one.copies[at],
            shape=tuple(extent[at] for extent in one.shape),
        )
        for one in program.allocations
    ]
    return ProgramAt(statements, allocations, 1)


def test_a_predicted_time_does_not_hang_on_what_is_asked_with_it(program):
    together = cuda_costs(program, Hardware.from_device("a100")).latency_s
    for i, seconds in enumerate(together):
        one = cuda_costs(alone(program, i), Hardware.from_device("a100")).latency_s
        np.testing.assert_allclose(one, [seconds], rtol=1e-12)


def test_published_symbols_do_not_hang_on_what_is_asked_with_them(program):
    for number, view in enumerate(program.statements):
        together = symbols(view)
        for i in range(program.count):
            one = symbols(alone(program, i).statements[number])
            for name in ("f0", "f2", "f3", "f5", "f6"):
                assert getattr(one, name) == getattr(together, name)[i], (view.statement.name, name)
