"""Terms of the CUDA model that hold on every device; test_counts_and_statements has counts."""

from dataclasses import replace

import numpy as np
import pytest
from cuda_sketches import cuda_sketches
from spaces import CUDA, matmul

from mschedx.cost.analytical.cuda import _multiply_adds, _shared_bytes, cuda_costs
from mschedx.cost.analytical.cuda_block import Block, CudaLimits
from mschedx.cost.analytical.view import ProgramView
from mschedx.hardware import Hardware
from mschedx.space import sketches


@pytest.mark.parametrize("name", ["f16", "s8_nt"])
def test_products_take_tensor_cores_time_and_fragments_shared_memorys(name):
    for sketch in cuda_sketches(name):
        configs = sketch.sample(8, np.random.default_rng(0))
        program = ProgramView(sketch.statements, sketch.analysis.allocations)
        costs = cuda_costs(program(configs), Hardware.from_device("a100"))
        multiply = [one for one in costs.statements if one.name == "C_o_update"]
        loads = [one for one in costs.statements if "_reindex_shared.dyn_" in one.name]
        assert len(multiply) == 1
        assert len(loads) == 2
        assert (multiply[0].terms["tensor"] > 0).all()
        # A warp's load moves hundreds of bytes: as much as a share of the copy that filled them.
        fills = [one for one in costs.statements if one.name.endswith("_reindex_shared.dyn")]
        least = sum(one.terms["shared"] for one in fills)
        assert (sum(one.terms["shared"] for one in loads) >= 0.99 * least).all()


def with_decisions(sketch, configs, **wanted):
    """The configs with some decisions set, whether valid or not: the model is a formula."""
    changed = configs.copy()
    for suffix, value in wanted.items():
        columns = [i for i, name in enumerate(sketch.names) if name.endswith(f".{suffix}")]
        changed[:, columns] = value
    return changed


def test_threads_wait_for_copies_that_are_not_asynchronous():
    """A pipeline hides those of ``cp.async`` and no others, as measured on an H200."""
    (sketch, *_) = cuda_sketches("f16")
    program = ProgramView(sketch.statements, sketch.analysis.allocations)
    configs = sketch.sample(8, np.random.default_rng(0))
    waiting = {}
    for stages, asynchronous in ((0, 0), (0, 1), (2, 0), (2, 1)):
        chosen = with_decisions(sketch, configs, stages=stages, **{"async": asynchronous})
        costs = cuda_costs(program(chosen), Hardware.from_device("h200"))
        fills = [one for one in costs.statements if one.name.endswith("_reindex_shared.dyn")]
        assert len(fills) == 2
        waiting[stages, asynchronous] = sum(one.terms["waiting"] for one in fills)
    assert (waiting[2, 1] < waiting[2, 0]).all()
    # Without a pipeline there is nothing that could run meanwhile.
    np.testing.assert_array_equal(waiting[0, 1], waiting[0, 0])


def test_registers_that_a_large_block_lacks_cost_traffic():
    """65,536 registers: 512 threads have 128 each, of which 64 × 64 sums of a warp take all."""
    limits = CudaLimits()
    registers = np.array([100.0, 160.0, 160.0])
    block = Block(np.ones(3), np.array([512.0, 512.0, 128.0]), registers, np.zeros(3), {})
    np.testing.assert_array_equal(block.room(limits), [128, 128, 255])
    np.testing.assert_array_equal(block.resident(limits), [1, 1, 3])


@pytest.mark.parametrize("name", ["f16", "cores_f32"])
def test_elements_without_an_expression_are_bounded(name):
    for sketch in cuda_sketches(name)[:2]:
        configs = sketch.sample(8, np.random.default_rng(0))
        exact = ProgramView(sketch.statements, sketch.analysis.allocations)(configs)
        forgotten = [
            replace(
                statement,
                accesses=tuple(
                    replace(a, elements=(a.elements[0], *[None] * (n - 1), a.elements[-1]))
                    for a, n in zip(statement.accesses, [len(statement.loops)] * 9)
                ),
            )
            for statement in sketch.statements
            if len(statement.loops) > 1
        ]
        view = ProgramView(forgotten, sketch.analysis.allocations)
        assert not view.unknown
        known = {v.statement.name: v for v in exact.statements}
        for bounded in view(configs).statements:
            for few, many in zip(known[bounded.statement.name].accesses, bounded.accesses):
                assert (many.elements >= few.elements).all()
                assert (np.diff(many.elements, axis=0) <= 0).all()


def test_a_warps_loads_are_its_own_in_tvms_space_too():
    """A postproc brings the instructions in; a call of one moves a fragment."""
    types = {"in_dtype": "float16", "out_dtype": "float32"}
    (sketch, *_) = sketches(matmul(128, 128, 128, **types), CUDA, "post-order-apply")
    loads = [one for one in sketch.statements if one.intrinsic.startswith("wmma_load")]
    assert len(loads) == 2
    assert all(one.by_warp for one in loads)
    configs = sketch.sample(6, np.random.default_rng(0))
    program = ProgramView(sketch.statements, sketch.analysis.allocations)(configs)
    views = {view.statement.name: view for view in program.statements}
    for one in loads:
        (read,) = views[one.name].reads
        np.testing.assert_array_equal(read.elements[-1], 16 * 16)
        moved = _shared_bytes(read, views[one.name])
        np.testing.assert_array_equal(moved, 2 * 16 * 16 * one.instances(configs))
    multiply = views["C"]
    assert (multiply.instances * _multiply_adds(multiply) == 2 * 128**3).all()


def as_integers(statement):
    """The statement with int32 in the place of float32."""
    renamed = {kind.replace("float", "int"): n for kind, n in statement.operations.items()}
    accesses = tuple(
        replace(one, dtype=one.dtype.replace("float", "int")) for one in statement.accesses
    )
    return replace(statement, operations=renamed, accesses=accesses)


@pytest.mark.parametrize(("device", "times"), [("v100", 1), ("a100", 1), ("rtx3090", 2)])
def test_integers_on_cuda_cores_take_arithmetics_time(device, times):
    """64 multiply-adds of int32 a cycle, where a multiprocessor does 64 or 128 of float32."""
    (sketch, *_) = cuda_sketches("cores_f32")
    configs = sketch.sample(8, np.random.default_rng(0))
    terms = {}
    for kind, change in (("float", lambda one: one), ("int", as_integers)):
        statements = [change(one) for one in sketch.statements]
        program = ProgramView(statements, sketch.analysis.allocations)(configs)
        costs = cuda_costs(program, Hardware.from_device(device))
        terms[kind] = [one.terms["arithmetic"] for one in costs.statements if one.name == "C"]
    assert len(terms["float"]) == 1
    assert (terms["float"][0] > 0).all()
    np.testing.assert_allclose(terms["int"][0], times * terms["float"][0])


def test_integers_beside_floats_are_places_and_conditions():
    (sketch, *_) = cuda_sketches("cores_f32")
    configs = sketch.sample(8, np.random.default_rng(0))
    found = []
    for more in ({}, {"int.compare": 4, "int.add": 2}):
        statements = [
            replace(one, operations={**one.operations, **more}) for one in sketch.statements
        ]
        program = ProgramView(statements, sketch.analysis.allocations)(configs)
        found.append(cuda_costs(program, Hardware.from_device("a100")).latency_s)
    np.testing.assert_array_equal(*found)
