"""Statements against TVM's own feature extractor, which reads programs (felix.md, fact 2)."""

import numpy as np
import pytest
import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.feature_extractor import PerStoreFeature

from mschedx.space import sketches
from mschedx.workloads import make

CPU = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
GPU = tvm.target.Target("nvidia/nvidia-a100")
TVM = "post-order-apply"
CASES = {
    "GEMM on a CPU, TVM's space": ("gemm", (64, 96, 48), CPU, TVM),
    "GEMM on a CPU": ("gemm", (64, 96, 48), CPU, None),
    "convolution on a CPU, TVM's space": ("conv2d", (1, 8, 12, 12, 16, 3, 1, 1), CPU, TVM),
    "GEMM on a GPU, TVM's space": ("gemm", (128, 128, 64), GPU, TVM),
    "batched GEMM on a GPU, TVM's space": ("batch_gemm", (4, 64, 64, 32), GPU, TVM),
}
ADDITIONS, PRODUCTS = 1, 2
THREADS = {"blockIdx.x": 49 + 1, "threadIdx.x": 49 + 4, "vthread.x": 49 + 7}
ALLOCATED, OUTER_PRODUCT = -7, -3
"""Columns of the extractor's 164."""


def extracted(sketch, configs):
    """What the extractor says of each config, a row a store; its logarithms undone."""
    context = ms.TuneContext(sketch.design.mod, target=sketch.design.target, num_threads=1)
    candidates = [
        ms.MeasureCandidate(s, ms.arg_info.ArgInfo.from_entry_func(s.mod, True))
        for s in sketch.schedules(configs)
    ]
    found = PerStoreFeature().extract_from(context, candidates)
    return [np.rint(np.exp2(rows.numpy()) - 1).astype(np.int64) for rows in found]


def threads(statement, tag, at):
    """Iterations of a statement's loops that are bound to a tag."""
    return int(np.prod([loop.extent(at)[0] for loop in statement.loops if loop.thread == tag]))


@pytest.mark.parametrize("case", list(CASES))
def test_fact_2_statements_are_what_tvm_extracts(case):
    op, shape, target, space = CASES[case]
    for sketch in sketches(make(op, shape, "float32"), target, space)[:2]:
        configs = sketch.sample(20, np.random.default_rng(0))
        stores = [s for s in sketch.statements if not s.is_init]
        sizes = {one.buffer: one.bytes for one in sketch.analysis.allocations}
        for rows, config in zip(extracted(sketch, configs), configs):
            # An initialisation and its update are one store.
            assert len(rows) == len(stores)
            for row, statement in zip(rows, stores):
                at = config[None]
                instances = int(statement.instances(at)[0])
                assert row[OUTER_PRODUCT] == instances
                for column, kind in ((ADDITIONS, "float.add"), (PRODUCTS, "float.mul")):
                    assert row[column] == instances * statement.operations.get(kind, 0)
                (written,) = statement.writes
                size = sizes.get(written.buffer)
                if size is not None and written.scope == "local":
                    # The extractor looks before virtual threads get registers of their own.
                    assert row[ALLOCATED] * threads(statement, "vthread.x", at) == size(at)[0]
                elif size is not None and written.scope.startswith("shared"):
                    # And before buffers that are not live together share their memory.
                    assert row[ALLOCATED] <= size(at)[0]
                elif size is not None:
                    assert row[ALLOCATED] == size(at)[0]
                for tag, column in THREADS.items():
                    if any(loop.thread == tag for loop in statement.loops):
                        assert row[column] == threads(statement, tag, at)
