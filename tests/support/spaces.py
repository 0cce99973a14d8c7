"""Small workloads and TVM's design spaces of them."""

from __future__ import annotations

import tvm
from tvm import te
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
