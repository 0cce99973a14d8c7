"""Statements: exact against lowered programs, their operations those of the workload."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import tvm
from tvm.script import tirx as T
from while_loops import halvings

from mschedx import workloads
from mschedx.cost.learned.columns import statement_columns
from mschedx.cost.psa import NOT_UNDERSTOOD_S, PSAModel
from mschedx.space import sketches
from mschedx.space.algebra.tape import Tape
from mschedx.space.analysis.exactness import check
from mschedx.space.analysis.read.extract import entry, extract
from mschedx.space.statements import Statement, expressions, known, without_unit_loops

CPU = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
GPU = tvm.target.Target("nvidia/nvidia-a100")
TVM = "post-order-apply"

SPACES = {
    "gemm": ("gemm", (64, 48, 96), "float32", CPU, None),
    "gemm in TVM's space": ("gemm", (64, 48, 96), "float32", CPU, TVM),
    "B transposed in TVM's space": ("gemm_nt", (64, 48, 96), "float32", CPU, TVM),
    "conv2d": ("conv2d", (1, 16, 16, 16, 32, 3, 1, 1), "float32", CPU, None),
    "guarded copies": ("conv2d", (1, 16, 14, 14, 32, 3, 1, 1), "float32", CPU, None),
    "grouped": ("conv2d", (1, 16, 14, 14, 32, 3, 1, 1, 1, 2), "float32", CPU, TVM),
    "conv2d in TVM's space": ("conv2d", (1, 16, 14, 14, 32, 3, 1, 1), "float32", CPU, TVM),
    "int8": ("gemm", (64, 64, 64), "int8", CPU, None),
    "bf16": ("gemm", (64, 64, 64), "bfloat16", CPU, None),
    "softmax": ("softmax", (32, 48), "float32", CPU, None),
    "softmax in TVM's space": ("softmax", (32, 48), "float32", CPU, TVM),
    "tensor cores": ("gemm", (128, 128, 128), "float16", GPU, None),
    "CUDA cores": ("gemm", (64, 48, 96), "float32", GPU, TVM),
    "tensor cores in TVM's space": ("gemm", (128, 128, 128), "float16", GPU, TVM),
}
PADDED = ("guarded copies", "grouped")
PRODUCTS = [name for name in SPACES if "softmax" not in name and name not in PADDED]


@cache
def opened(name):
    op, shape, dtype, target, space = SPACES[name]
    return sketches(workloads.make(op, shape, dtype), target, space)[:3]


@pytest.mark.parametrize("name", list(SPACES))
def test_statements_are_what_lowered_programs_execute(name):
    for sketch in opened(name):
        configs = sketch.sample(12, np.random.default_rng(5))
        verdict = check(sketch.design, sketch.analysis, configs, lowering=12)
        assert verdict.wrong == {}
        assert verdict.lowered == 12


def products(program):
    """Multiplications of an unscheduled program."""
    total = 0
    for block in program.blocks:
        times = np.prod([program.loops[loop].extent for loop in block.loops], dtype=np.int64)
        total += int(times) * sum(n for kind, n in block.operations if kind.endswith(".mul"))
    return total


@pytest.mark.parametrize("name", PRODUCTS)
def test_multiplications_are_those_of_the_workload(name):
    """Those of VNNI, bf16 and tensor-core instructions too: none of these shapes is padded."""
    op, shape, dtype, *_ = SPACES[name]
    wanted = products(extract(entry(tvm.IRModule({"main": workloads.make(op, shape, dtype)}))))
    for sketch in opened(name):
        configs = sketch.sample(20, np.random.default_rng(0))
        total = np.zeros(20, dtype=np.int64)
        for statement in sketch.statements:
            each = sum(n for kind, n in statement.operations.items() if kind.endswith(".mul"))
            total += each * statement.instances(configs)
        assert (total == wanted).all()


def test_statements_come_in_program_order_with_their_producers():
    (first, *_) = opened("gemm")
    names = [statement.name for statement in first.statements]
    compute = next(s for s in first.statements if s.is_reduction)
    assert names.index(compute.name) > names.index("C_init")
    for read in compute.reads:
        makers = [first.statements[p] for p in read.producers]
        assert all(any(w.buffer == read.buffer for w in maker.writes) for maker in makers)
    packed = [read for read in compute.reads if read.buffer.endswith("_global")]
    assert packed
    assert all(read.producers for read in packed)


def test_an_initialisation_is_a_statement_of_its_own():
    sketch = opened("gemm in TVM's space")[0]
    init, main = sketch.statements[:2]
    assert (init.is_init, init.is_reduction, init.operations) == (True, False, {})
    assert main.is_reduction
    configs = sketch.sample(10, np.random.default_rng(2))
    assert (init.instances(configs) == 64 * 48).all()


def test_strides_and_runs_of_a_row_major_matrix():
    sketch = opened("gemm in TVM's space")[0]
    main = next(s for s in sketch.statements if s.is_reduction)
    right = next(read for read in main.reads if read.buffer == "B")
    configs = sketch.sample(30, np.random.default_rng(3))
    strides = {loop.name: stride for loop, stride in zip(main.loops, right.strides)}
    for name, expected in (("k_1", 48), ("i0_3", 0), ("i0_2", 0)):
        assert (strides[name](configs) == expected).all()
    assert (right.runs[0](configs) == 96 * 48).all()
    assert (right.elements[0](configs) == 96 * 48).all()


def test_lanes_of_a_transposed_matrix_are_rows_apart():
    """TVM makes vectors along columns of C, whose elements of B are a row's length apart."""
    sketch = opened("B transposed in TVM's space")[0]
    main = next(s for s in sketch.statements if s.is_reduction)
    configs = sketch.sample(100, np.random.default_rng(3))
    wide = configs[main.lanes(configs) > 1]
    vector = [loop.kind for loop in main.loops].index("vectorized")
    assert len(wide)
    steps = {one.buffer: set(one.strides[vector](wide).tolist()) for one in main.accesses}
    assert steps == {"A": {0}, "B": {96}, "C_global": {1}}


@pytest.mark.parametrize("name", ["gemm", "tensor cores", "softmax in TVM's space"])
def test_relaxed_statements_are_exact_at_configs(name):
    import torch

    for sketch in opened(name):
        tape = Tape(list(expressions(sketch.statements).values()), sketch.design.lattice)
        configs = sketch.sample(20, np.random.default_rng(4))
        relaxed = tape.relaxed(torch.tensor(configs, dtype=torch.float64))
        assert np.allclose(relaxed.numpy(), tape(configs), rtol=1e-9)


def test_a_config_is_described_as_loops_with_bytes():
    sketch = opened("gemm")[0]
    config = sketch.sample(1, np.random.default_rng(0))[0]
    text = sketch.describe(config)
    assert "float.mul" in text
    assert "parallel" in text
    assert "KiB" in text or " B" in text
    with pytest.raises(ValueError, match="expected a config of"):
        sketch.describe(config[:-1])


def test_loops_that_run_once_are_left_out_with_their_levels():
    (sketch, *_) = sketches(workloads.make("conv2d", (1, 16, 16, 16, 32, 1, 1, 0)), CPU)
    for statement in sketch.statements:
        shorter = without_unit_loops(statement)
        left = [loop for loop in statement.loops if loop not in shorter.loops]
        assert all(str(loop.extent) == "1" for loop in left)
        assert all(loop.kind in ("serial", "unrolled") for loop in left)
        levels = len(shorter.loops)
        for access, whole in zip(shorter.accesses, statement.accesses, strict=True):
            assert len(access.strides) == levels
            assert len(access.elements) == len(access.runs) == levels + 1
            assert access.elements[-1] == whole.elements[-1]
            assert set(access.elements) == set(whole.elements)
    main = next(one for one in sketch.statements if one.is_reduction and not one.is_init)
    assert len(without_unit_loops(main).loops) < len(main.loops)


def test_nothing_is_left_out_where_all_loops_run():
    (sketch, *_) = sketches(workloads.make("gemm", (64, 48, 96)), CPU)
    main = next(one for one in sketch.statements if one.is_reduction and not one.is_init)
    assert without_unit_loops(main) is main


@T.prim_func(s_tir=True)
def row_sums(a: T.Buffer((64, 256), "float32"), c: T.Buffer((64,), "float32")):
    T.func_attr({"global_symbol": "main"})
    for i in range(64):
        with T.sblock("C"):
            vi = T.axis.spatial(64, i)
            T.reads(a[vi, 0:256])
            T.writes(c[vi])
            c[vi] = T.float32(0)
            for k in range(256):
                c[vi] = c[vi] + a[vi, k]


def test_loops_inside_a_block_are_no_copy():
    for sketch in sketches(row_sums, CPU):
        (statement,) = sketch.statements
        assert statement.operations["float.add"] == 256
        assert statement_columns(statement)["copies"] == 0
        assert statement.missing() is None


def test_a_loop_that_only_a_run_counts_is_reported():
    sketch = sketches(halvings, CPU)[0]
    (statement,) = sketch.statements
    assert statement.missing() == "how often its while loop runs"
    model, configs = PSAModel(), sketch.sample(4, np.random.default_rng(0))
    assert model.unknown(sketch) == {statement.name: statement.missing()}
    assert (1 / model.score(sketch.task, [(sketch, configs)])[0] >= NOT_UNDERSTOOD_S).all()


def test_functions_are_counted_as_calls_of_any():
    counts = {"call.exp": 2, "call.erf": 1, "float.add": 3, "callback": 5}
    rest = (None, None, None, False, False, False)
    statement = Statement("C", (), (), counts, "", *rest)
    assert [statement.count_of(kind) for kind in ("call", "float.add", "select")] == [3, 3, 0]


def test_a_number_without_an_expression_is_none_to_reckon_with():
    with pytest.raises(ValueError, match="every number has an expression"):
        known(None)
