"""Every expression equals the program's number, at configs the analysis has not seen."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import tvm
from analysed import analysed, designs, draws, satisfying
from tvm import te
from tvm.s_tir.meta_schedule.testing import te_workload

from mschedx.space import sketches
from mschedx.space.algebra.tape import Tape
from mschedx.space.analysis import analyse
from mschedx.space.analysis.exactness import check
from mschedx.space.analysis.fit.solve import NOT_FOUND
from mschedx.space.analysis.policy import AnalysisPolicy
from mschedx.space.analysis.read.extract import entry, extract
from mschedx.space.analysis.read.probe import corner_configs, extreme_configs

VNNI = tvm.target.Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})


def int8_gemm(transposed: bool):
    a = te.placeholder((128, 256), "uint8", name="A")
    b = te.placeholder((64, 256) if transposed else (256, 64), "int8", name="B")
    k = te.reduce_axis((0, 256), name="k")
    c = te.compute(
        (128, 64),
        lambda i, j: te.sum(
            a[i, k].astype("int32") * (b[j, k] if transposed else b[k, j]).astype("int32"), axis=k
        ),
        name="C",
    )
    return tvm.IRModule({"main": te.create_prim_func([a, b, c])})


COMPARED = {
    "llvm": {"vector", "parallel", "unroll"},
    "cuda": {"unroll", "alloc", "blockIdx.x", "threadIdx.x"},
}
"""What the mirror says of every workload's lowered programs."""

CASES = [
    ("gemm", "llvm"),
    ("gemm-prime", "llvm"),
    ("conv2d", "llvm"),
    ("softmax", "llvm"),
    ("gemm", "cuda"),
    ("conv2d", "cuda"),
    ("softmax", "cuda"),
]


@pytest.mark.parametrize(("workload", "target"), CASES)
def test_scheduled_programs(workload, target):
    for index, design in enumerate(designs(workload, target)):
        analysis = analysed(workload, target, index)
        configs = np.concatenate([draws(design, 40), corner_configs(design)])
        verdict = check(design, analysis, configs)
        assert verdict.wrong == {}
        assert verdict.programs >= 20
        assert verdict.compared > 10 * verdict.programs


@pytest.mark.parametrize(("workload", "target"), CASES)
def test_lowered_programs(workload, target):
    numbers = Counter()
    for index, design in enumerate(designs(workload, target)):
        analysis = analysed(workload, target, index)
        configs = satisfying(design, analysis, 8)
        verdict = check(design, analysis, configs, lowering=len(configs))
        assert verdict.wrong == {}
        assert verdict.lowered >= 2
        assert set(verdict.refused) <= {"repaired"}  # compute locations that these tiles rule out
        numbers += verdict.lowered_numbers
    assert set(numbers) >= COMPARED[target]
    assert "vector" in numbers or (workload, target) == ("softmax", "cuda")  # loads nothing shared


@pytest.mark.parametrize(
    ("workload", "target"), [*CASES[:1], *CASES[2:6], ("gemm-batched", "llvm")]
)
def test_fact_7_two_hundred_decisions(workload, target):
    """pruner.md section 8, fact 7, and felix.md section 9, facts 1 and 3.

    Of one design, at configs that no fit was made from: half of a convolution's are no programs,
    since tiles rule their location out. What could not be fitted is named, not guessed.
    """
    design, analysis = designs(workload, target)[0], analysed(workload, target, 0)
    configs = satisfying(design, analysis, 400 if "conv2d" in workload else 200)
    verdict = check(design, analysis, configs)
    assert verdict.wrong == {}
    assert verdict.programs >= 200
    assert all(analysis.unresolved.values())
    assert not analysis.unresolved or (workload, target) == ("conv2d", "cuda")


def test_tensor_core():
    for index, design in enumerate(designs("gemm-fp16", "cuda")):
        analysis = analysed("gemm-fp16", "cuda", index)
        configs = satisfying(design, analysis, 20)
        verdict = check(design, analysis, configs, lowering=8)
        assert verdict.wrong == {}
        assert verdict.refused == {}


def test_expressions_stay_within_bounds_where_no_program_was_seen():
    design, analysis = designs("conv2d", "llvm")[0], analysed("conv2d", "llvm", 0)
    configs = np.concatenate([draws(design, 500), corner_configs(design)])
    shapes = {b.name: b.shape for b in extract(entry(design.mod)).buffers if b.parameter}
    for access in analysis.accesses:
        for levels, bound in zip(access.regions, shapes.get(access.buffer, ())):
            known = [e for e in levels if e is not None]
            assert all((e(configs) <= bound).all() for e in known), access


def test_grouped_programs_where_tiles_span_groups():
    design, analysis = designs("conv2d-grouped", "llvm")[1], analysed("conv2d-grouped", "llvm", 1)
    configs = extreme_configs(design, 60, np.random.default_rng(7))
    verdict = check(design, analysis, configs)
    assert verdict.wrong == {}
    assert verdict.programs >= 20


@pytest.mark.parametrize("seed", [0, 2])
def test_a_tile_too_large_to_go_through_costs_no_expression(seed):
    """Among these replays are some whose fused loop runs 25,000 times through quotients."""
    analysis = analyse(designs("conv2d-grouped-56", "cuda")[1], AnalysisPolicy(seed=seed))
    assert not [reason for reason in analysis.unresolved.values() if NOT_FOUND in reason]
    assert any("shared bytes" in one.origin for one in analysis.constraints)


def test_nothing_is_missing_where_all_is_affine():
    for workload, target in [("gemm", "llvm"), ("conv2d", "llvm"), ("gemm", "cuda")]:
        for index in range(len(designs(workload, target))):
            analysis = analysed(workload, target, index)
            assert analysis.unresolved == {}
            assert all(loop.extent is not None for loop in analysis.loops)


@pytest.mark.parametrize(("workload", "target"), [("conv2d", "llvm"), ("conv2d", "cuda")])
def test_relaxation_equals_integers(workload, target):
    for index, design in enumerate(designs(workload, target)):
        configs = draws(design, 50)
        quantities = analysed(workload, target, index).quantities
        tape = Tape(list(quantities.values()), design.lattice)
        relaxed = tape.relaxed(torch.tensor(configs, dtype=torch.float64)).numpy()
        for name, got, exact in zip(quantities, relaxed, tape(configs)):
            assert np.array_equal(got.round(), exact), name
            assert np.allclose(got, exact, rtol=1e-12, atol=0), name


def test_values_are_the_quantities():
    (design, *_), analysis = designs("gemm", "cuda"), analysed("gemm", "cuda", 0)
    configs = draws(design, 10)
    values = analysis.values(configs)
    assert values.keys() == analysis.quantities.keys()
    for name, expression in analysis.quantities.items():
        np.testing.assert_array_equal(values[name], expression(configs))


@pytest.mark.parametrize(("transposed", "performed"), [(True, True), (False, False)])
def test_an_intrinsic_that_the_postproc_cannot_match(transposed, performed):
    """TVM asks for VNNI's dot product whenever types fit; it matches transposed weights only."""
    for sketch in sketches(int8_gemm(transposed), VNNI, "post-order-apply"):
        design, analysis = sketch.design, sketch.analysis
        configs = np.concatenate([draws(design, 6), corner_configs(design)])
        assert check(design, analysis, configs, lowering=len(configs)).wrong == {}
        (main,) = [s for s in sketch.statements if s.name == "C"]
        assert main.intrinsic == ("dot_16x4_vnni" if performed else "")
        kinds = [loop.kind for loop in main.loops]
        assert ("intrinsic" in kinds) == performed
        times, each = main.instances(configs), main.operations["int.mul"]
        assert each == (64 if performed else 1)
        assert (times * each == 128 * 64 * 256).all()
        touched = [access.elements[-1](configs[:1])[0] for access in main.accesses]
        assert touched == ([16, 4, 64, 16] if performed else [1, 1, 1, 1])
        inside = [j for j, loop in enumerate(main.loops) if loop.kind == "intrinsic"]
        for access in main.accesses:
            assert {access.elements[j] for j in inside} <= {access.elements[-1]}
            assert {access.runs[j] for j in inside} <= {access.runs[-1]}


def test_asynchronous_copies_are_those_of_the_lowered_pipelines():
    types = {"in_dtype": "float16", "out_dtype": "float32"}
    mod = tvm.IRModule({"main": te.create_prim_func(te_workload.matmul(64, 64, 64, **types))})
    (sketch, *_) = sketches(mod, tvm.target.Target("nvidia/nvidia-a100"))
    configs = sketch.sample(12, np.random.default_rng(0))
    verdict = check(sketch.design, sketch.analysis, configs, lowering=12)
    assert verdict.wrong == {}
    copies = [one for one in sketch.statements if one.name.endswith("_reindex_shared.dyn")]
    found = np.array([one.asynchronous(configs) for one in copies])
    assert found.shape == (2, 12)
    assert set(found.ravel().tolist()) == {0, 1}
    # Without a stage ahead there is nothing to copy meanwhile, whatever was asked for.
    ahead = configs[:, next(i for i, n in enumerate(sketch.names) if n.endswith(".stages"))]
    assert not found[:, ahead == 0].any()


@pytest.mark.parametrize(("workload", "target"), [("gemm", "cuda"), ("softmax", "llvm")])
def test_instances_are_those_of_the_statements(workload, target):
    """Of a cooperative fetch too, whose loop the threads around it share."""
    analysis = analysed(workload, target, 0)
    named = {name: e for name, e in analysis.quantities.items() if name.endswith("/instances")}
    blocks = {access.block for access in analysis.accesses}
    own = {f"{s.name}/instances": s.instances for s in analysis.statements if s.name in blocks}
    assert named == own
    fetched = [s for s in analysis.statements if any(loop.name == "rounds" for loop in s.loops)]
    assert bool(fetched) == (target == "cuda")
