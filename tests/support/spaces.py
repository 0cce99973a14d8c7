"""Small workloads and TVM's design spaces of them."""

from __future__ import annotations

import tvm
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.testing import te_workload

from mschedx import compat

LLVM = tvm.target.Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
CUDA = tvm.target.Target("nvidia/nvidia-a100")


def module(tensors) -> tvm.IRModule:
    return tvm.IRModule({"main": te.create_prim_func(tensors)})


def matmul(m: int, n: int, k: int, **dtypes) -> tvm.IRModule:
    return module(te_workload.matmul(m, n, k, **dtypes))


def chained_sums() -> list[te.Tensor]:
    """A transposition, windows, sums of these, and an elementwise end: four places to choose."""
    x, b = te.placeholder((5, 64), name="x"), te.placeholder((32,), name="b")
    k, j = te.reduce_axis((0, 3), name="k"), te.reduce_axis((0, 4), name="j")
    turned = te.compute((64, 5), lambda i, o: x[o, i], name="turned")
    windows = te.compute(
        (32, 4),
        lambda i, o: te.sum(
            tirx.if_then_else(
                tirx.all(i * 2 + k >= 1, i * 2 + k < 65, o * 2 >= 1, o * 2 < 6),
                turned[i * 2 + k - 1, o * 2 - 1],
                0.0,
            ),
            k,
        ),
        name="windows",
    )
    sums = te.compute((32,), lambda i: te.sum(windows[i, j], j), name="sums")
    last = te.compute((32,), lambda i: te.max(sums[i], b[i]) / (sums[i] + 1.0), name="last")
    return [x, b, last]


def design_spaces(mod: tvm.IRModule, target) -> list[Schedule]:
    """TVM's own design spaces."""
    with compat.only_intrinsics(target):
        context = ms.TuneContext(
            mod, target=target, space_generator="post-order-apply", rand_state=1, num_threads=1
        )
    return list(context.generate_design_space())


def schedule_of(mod: tvm.IRModule, build) -> Schedule:
    """A schedule to which ``build`` was applied."""
    schedule = Schedule(mod, seed=1)
    build(schedule)
    return schedule
