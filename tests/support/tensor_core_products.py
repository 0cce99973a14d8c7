"""Products for tensor cores, and their design spaces without other rules."""

import numpy as np
import tvm
from serial import SerialSchedule
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.testing import te_workload as tw
from tvm.target import Target

from mschedx.space.analysis.read.extract import entry, extract
from mschedx.space.rules.tensor_core_tile import tensor_core_tiles

A100 = Target("nvidia/nvidia-a100")


def gemm(m, n, k, dtype="float16", out="float32", transposed=(False, False), epilogue=False):
    a = te.placeholder((k, m) if transposed[0] else (m, k), dtype, name="A")
    b = te.placeholder((n, k) if transposed[1] else (k, n), dtype, name="B")
    r = te.reduce_axis((0, k), name="k")

    def cell(i, j):
        left = a[r, i] if transposed[0] else a[i, r]
        right = b[j, r] if transposed[1] else b[r, j]
        return te.sum(left.astype(out) * right.astype(out), axis=r)

    c = te.compute((m, n), cell, name="C")
    if not epilogue:
        return te.create_prim_func([a, b, c])
    bias = te.placeholder((n,), out, name="bias")
    d = te.compute((m, n), lambda i, j: c[i, j] + bias[j], name="D")
    e = te.compute((m, n), lambda i, j: te.max(d[i, j], te.const(0, out)), name="E")
    return te.create_prim_func([a, b, bias, e])


def workload(name, *args):
    """An operator on float16 with float32 sums."""
    tensors = getattr(tw, name)(*args, in_dtype="float16", out_dtype="float32")
    return te.create_prim_func(list(tensors))


def module(function):
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def main_block(sch):
    """The block that reduces."""
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    return next(block for block in blocks if sch.get(block).init is not None)


def spaces(function, target=A100, serial=False, **options):
    sch = Schedule(module(function), seed=1)
    used = SerialSchedule(sch) if serial else sch
    return tensor_core_tiles(used, main_block(sch), target, **options)


def factors(sketch, **wanted):
    """A valid config with some decisions fixed, by name."""
    rng = np.random.default_rng(0)
    configs = sketch.sample(20_000, rng)
    columns = {name: sketch.names.index(name) for name in wanted}
    for name, value in wanted.items():
        configs = configs[configs[:, columns[name]] == value]
    assert len(configs), f"no valid config has {wanted}"
    return configs[0]


def nests(sch):
    """Every block with the loops around it: thread tags and extents, ``*`` before a pipeline."""
    program = extract(entry(sch.mod))

    def text(loop):
        star = "*" if "software_pipeline_stage" in dict(loop.annotations) else ""
        kind = {"vectorized": "v", "unrolled": "u"}.get(loop.kind, "")
        return f"{star}{loop.thread.replace('Idx', '') or kind}{loop.extent}"

    return {b.name: " ".join(text(program.loops[i]) for i in b.loops) for b in program.blocks[1:]}
