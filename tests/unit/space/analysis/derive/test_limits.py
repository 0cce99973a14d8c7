"""Constraints agree with TVM's postprocs: nothing valid is excluded, nothing rejected admitted."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import tvm
import tvm_ffi
from analysed import TARGETS, analysed, designs, draws, satisfying
from tvm import te
from tvm.s_tir.meta_schedule.testing import te_workload

from mschedx import workloads
from mschedx.ranking import opened
from mschedx.search.growing import searched
from mschedx.space import Sketch, sketches
from mschedx.space.analysis import analyse
from mschedx.space.analysis.mirror import kernels
from mschedx.space.errors import EmptySpace, InvalidSchedule


def is_valid(design, config) -> bool:
    try:
        design.materialize(config)
    except InvalidSchedule:
        return False
    return True


def admitted(constraints, configs):
    return np.all([c.holds(configs) for c in constraints] or [np.ones(len(configs), bool)], axis=0)


@pytest.mark.parametrize("workload", ["gemm", "gemm-prime", "conv2d", "softmax"])
def test_cuda_agrees_with_postprocs(workload):
    for index, design in enumerate(designs(workload, "cuda")):
        analysis = analysed(workload, "cuda", index)
        valid = satisfying(design, analysis, 15)
        assert all(is_valid(design, config) for config in valid)
        configs = draws(design, 40)
        outside = configs[~admitted(analysis.constraints, configs)][:15]
        assert not any(is_valid(design, config) for config in outside)


def test_every_config_of_a_small_space():
    """Enumerate the tiles of an 8×8×4 GEMM, the fetches and unrolling fixed."""
    design, analysis = designs("gemm-small", "cuda")[1], analysed("gemm-small", "cuda", 1)
    tiles = [table for table in design.tables if len(table.columns) > 1]
    rows = list(itertools.product(*(range(len(table.rows)) for table in tiles)))
    rng = np.random.default_rng(0)
    chosen = [rows[i] for i in rng.choice(len(rows), size=150, replace=False)]
    configs = np.repeat(design.default_config()[None], len(chosen), axis=0)
    for position, table in enumerate(tiles):
        configs[:, list(table.columns)] = table.rows[[row[position] for row in chosen]]
    truth = np.array([is_valid(design, config) for config in configs])
    np.testing.assert_array_equal(admitted(analysis.constraints, configs), truth)


def test_boundaries_are_accepted():
    """1024 threads and 48 KiB exactly are inside, for the constraints as for the postprocs."""
    design, analysis = designs("gemm-wide", "cuda")[0], analysed("gemm-wide", "cuda", 0)
    configs = np.repeat(design.default_config()[None], 2, axis=0)
    tiles = {
        "C.i": [(1, 1, 32, 1, 4), (1, 1, 8, 1, 16)],
        "C.j": [(1, 1, 32, 4, 1), (2, 1, 8, 8, 1)],
        "C.k": [(64, 1, 1), (1, 64, 1)],
    }
    for decision in design.decisions:
        loop = decision.name.rsplit(".", 1)[0]
        if loop in tiles:
            configs[:, decision.column] = [tile[decision.position] for tile in tiles[loop]]
        else:
            configs[:, decision.column] = min(decision.domain)
    threads = next(c for c in analysis.constraints if "threads per block" in c.origin)
    shared = next(c for c in analysis.constraints if "shared bytes" in c.origin)
    assert threads.left(configs).tolist() == [1024, 64]
    assert shared.left(configs)[1] == 48 * 1024
    assert admitted(analysis.constraints, configs).all()
    assert all(is_valid(design, config) for config in configs)


def test_tensor_core_clash_is_what_the_build_rejects():
    compiled, refused = 0, 0
    for index, design in enumerate(designs("gemm-fp16", "cuda")):
        analysis = analysed("gemm-fp16", "cuda", index)
        clash = [c for c in analysis.constraints if "StorageRewrite" in c.origin]
        others = [c for c in analysis.constraints if "StorageRewrite" not in c.origin]
        assert clash
        configs = draws(design, 400)
        inside = configs[admitted(others, configs)]
        keeps = admitted(clash, inside)
        for config in inside[keeps][:3]:
            tvm.compile(design.materialize(config).mod, target=design.target)
            compiled += 1
        for config in inside[~keeps][:3]:
            with pytest.raises(Exception, match="element type must match"):
                tvm.compile(design.materialize(config).mod, target=design.target)
            refused += 1
    assert compiled >= 4
    assert refused >= 4


def test_constraints_read_like_formulas():
    text = [str(c) for c in analysed("gemm", "cuda", 0).constraints]
    assert "C.i.2·C.j.2 <= 1024    [VerifyGPUCode: threads per block of sm_80, kernel C]" in text
    assert any(line.startswith("C.i.2·C.j.2 >= 32") for line in text)


def test_canonical_constraints_lose_no_program():
    """A config they drop has a twin that asks for one lane."""
    design, analysis = designs("gemm", "cuda")[0], analysed("gemm", "cuda", 0)
    configs = satisfying(design, analysis, 60)
    dropped = configs[~admitted(analysis.canonical, configs)][:5]
    assert len(dropped)
    for config in dropped:
        twin = config.copy()
        for decision in design.decisions:
            if decision.name.endswith(".fetch"):
                alone = [c for c in analysis.canonical if decision.column in c.columns]
                if not admitted(alone, config[None])[0]:
                    twin[decision.column] = 1
        ours, theirs = (design.materialize(c).mod for c in (config, twin))
        assert tvm_ffi.structural_equal(ours, theirs)


def test_llvm_needs_no_hard_constraint():
    for index, design in enumerate(designs("gemm", "llvm")):
        assert analysed("gemm", "llvm", index).constraints == ()
        assert all(is_valid(design, config) for config in draws(design, 15))


def test_a_target_with_more_shared_memory_keeps_declared_arrays_within_48_kib():
    """What a kernel declares is limited by CUDA, what it asks for at its launch by the target."""
    target = tvm.target.Target(
        {
            "kind": "cuda",
            "arch": "sm_80",
            "max_shared_memory_per_block": 163 * 1024,
            "max_threads_per_block": 1024,
            "thread_warp_size": 32,
        }
    )
    mod = tvm.IRModule({"main": te.create_prim_func(te_workload.matmul(512, 512, 512))})
    (sketch, *_) = sketches(mod, target, "cuda")
    (limit,) = [c for c in sketch.analysis.constraints if "static shared bytes" in c.origin]
    configs = sketch.sample(400, np.random.default_rng(0))
    assert limit.left(configs).max() <= 48 * 1024
    largest = configs[np.argmax(limit.left(configs))]
    source = tvm.compile(sketch.schedule(largest).mod, target).mod.imports[0].inspect_source()
    floats = [int(n) for n in re.findall(r"__shared__ .*float \w+\[(\d+)\]", source)]
    assert 4 * sum(floats) == limit.left(largest[None])[0]


def test_a_vector_loop_around_tensorised_blocks_is_what_does_not_compile():
    """Of bytes in TVM's own space: both halves of the configs, compiled."""
    target = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
    mod = tvm.IRModule({"main": workloads.make("gemm", (64, 64, 32), "int8")})
    sketch = sketches(mod, target, "post-order-apply")[0]
    constraints = sketch.analysis.constraints
    assert any("VectorizeLoop" in constraint.origin for constraint in constraints)
    configs = draws(sketch.design, 24)
    expected = admitted(constraints, configs)
    assert 0 < expected.sum() < len(expected)
    assert [compiles(sketch.design.materialize(one).mod, target) for one in configs] == list(
        expected
    )


def test_what_is_searched_is_sampled_from_what_compiles():
    """By a search that only samples, too; in either order of asking."""
    target = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
    mod = tvm.IRModule({"main": workloads.make("gemm", (64, 64, 32), "int8")})
    known = sketches(mod, target, "post-order-apply")[0].compilable()
    assert known.is_analysed
    for early in (False, True):
        sketch, *_ = sketches(mod, target, "post-order-apply")
        if early:
            sketch.sample(1, np.random.default_rng(0))
        found = searched(sketch)
        assert found.is_analysed
        assert found.count() == known.count() == sketch.compilable().count()
        assert known.is_valid(found.sample(200, np.random.default_rng(0))).all()
    ranked = opened(mod, target, "post-order-apply")
    assert all(any("VectorizeLoop" in c.origin for c in one.constraints) for one in ranked)


def test_constraints_do_not_hang_on_what_was_asked_first():
    """Of one that is narrowed by a decision, too."""
    target = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
    mod = tvm.IRModule({"main": workloads.make("gemm", (64, 64, 32), "int8")})
    fresh, known = (sketches(mod, target, "post-order-apply")[0] for _ in range(2))
    assert known.statements
    name, value = fresh.names[0], int(fresh.sample(1, np.random.default_rng(0))[0, 0])
    for first, second in ((fresh, known), (fresh.fix({name: value}), known.fix({name: value}))):
        assert second.is_analysed
        assert first.constraints == second.constraints
        assert first.count() == second.count() > second.compilable().count()
        drawn = (one.sample(64, np.random.default_rng(0)) for one in (first, second))
        np.testing.assert_array_equal(*drawn)
    assert not fresh.is_analysed


def test_what_llvm_refuses_altogether_is_not_searched():
    """TVM's VNNI instruction fits transposed weights, and no program with it compiles."""
    target = tvm.target.Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})
    mod = tvm.IRModule({"main": workloads.make("gemm_nt", (64, 64, 32), "int8")})
    for sketch in sketches(mod, target, "post-order-apply"):
        for config in draws(sketch.design, 3):
            with pytest.raises(tvm.error.InternalError):
                tvm.compile(sketch.schedule(config).mod, target)
        with pytest.raises(EmptySpace, match="LLVM refuses dot_16x4_vnni"):
            searched(sketch)
    with pytest.raises(ValueError, match="LLVM refuses dot_16x4_vnni"):
        opened(mod, target, "post-order-apply")


def test_nothing_is_analysed_for_programs_without_tensorised_blocks():
    target = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
    mod = tvm.IRModule({"main": workloads.make("gemm", (64, 64, 32), "float32")})
    for sketch in sketches(mod, target, "post-order-apply"):
        assert searched(sketch) is sketch
        assert not sketch.is_analysed


def compiles(mod, target) -> bool:
    try:
        tvm.compile(mod, target=target)
    except Exception as error:
        if "vectoriz" not in str(error).lower():
            raise
        return False
    return True


def test_threads_that_are_not_known_are_said_and_bound_nothing(monkeypatch):
    design = designs("gemm", "cuda")[0]
    known = {f"C/thread_extent_{end}_inclusive" for end in ("low", "high")}
    assert not known & set(analysed("gemm", "cuda", 0).unresolved)
    product = kernels._product

    def forgetful(extents, prefix):
        return None if prefix == "threadIdx" else product(extents, prefix)

    monkeypatch.setattr(kernels, "_product", forgetful)
    analysis = analyse(design)
    assert known <= set(analysis.unresolved)
    assert not [c for c in analysis.constraints if "thread_extent" in c.origin or c.is_impossible]
    assert Sketch(design, analysis).sample(4, np.random.default_rng(0)).shape[0] == 4


def test_of_wide_elements_one_config_a_program_asks_for_one_lane():
    """TVM's fetch makes no vectors of more than four bytes, whatever was asked for."""
    tensors = te_workload.matmul(32, 32, 32, "float64", "float64")
    mod = tvm.IRModule({"main": te.create_prim_func(tensors)})
    (sketch, *_) = sketches(mod, TARGETS["cuda"], "post-order-apply")
    fetches = [i for i, name in enumerate(sketch.names) if name.endswith(".fetch")]
    assert fetches
    narrow = sketch.narrowed()
    assert (narrow.sample(50, np.random.default_rng(0))[:, fetches] == 1).all()
    config = narrow.sample(1, np.random.default_rng(1))[0]
    wide = config.copy()
    wide[fetches] = 2
    ours, theirs = (sketch.schedule(one).mod for one in (config, wide))
    assert tvm_ffi.structural_equal(ours, theirs)
