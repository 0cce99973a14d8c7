"""Programs and helpers of the measuring tests: candidates good and bad, built and run alone."""

import tvm
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.runner import RunnerInput
from tvm.script import tirx as T

from mschedx import compat

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": compat.available_cores()})


GPU = tvm.target.Target("nvidia/nvidia-a100")


def gemm(n, dtype="float32", accumulator=None, name="main"):
    accumulator = accumulator or dtype
    a = te.placeholder((n, n), dtype, name="A")
    b = te.placeholder((n, n), dtype, name="B")
    k = te.reduce_axis((0, n), name="k")

    def product(i, j):
        return te.sum(a[i, k].astype(accumulator) * b[k, j].astype(accumulator), axis=k)

    function = te.create_prim_func([a, b, te.compute((n, n), product, name="C")])
    return tvm.IRModule({"main": function.with_attr("global_symbol", name)})


def tiled(mod, rows=4, columns=16, steps=4):
    sch = Schedule(mod)
    block = sch.get_sblock("C")
    i, j, k = sch.get_loops(block)
    i, row = sch.split(i, [None, rows])
    j, column = sch.split(j, [None, columns])
    k, step = sch.split(k, [None, steps])
    sch.reorder(i, j, k, row, step, column)
    sch.vectorize(column)
    sch.parallel(i)
    sch.unroll(row)
    sch.decompose_reduction(block, k)
    return sch


with compat.fast_script():

    @T.prim_func(s_tir=True)
    def decaying(x: T.Buffer((64,), "float32")):
        for i in range(64):
            with T.sblock("x"):
                v = T.axis.spatial(64, i)
                x[v] = x[v] * T.float32(0.9)

    @T.prim_func(s_tir=True)
    def cached(
        at: T.Buffer((1,), "int32"),
        k: T.Buffer((64,), "float32"),
        cache: T.Buffer((8, 64), "float32"),
    ):
        for i in range(64):
            with T.sblock("cache"):
                v = T.axis.spatial(64, i)
                cache[at[0], v] = k[v]
        for i in range(1):
            with T.sblock("at"):
                v = T.axis.spatial(1, i)
                at[v] = at[v] + 1

    @T.prim_func(s_tir=True)
    def add_one(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
        for i in range(64):
            with T.sblock("B"):
                v = T.axis.spatial(64, i)
                B[v] = A[v] + T.float32(1)

    @T.prim_func(s_tir=True)
    def aborts(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
        for i in range(64):
            with T.sblock("B"):
                v = T.axis.spatial(64, i)
                T.evaluate(T.call_extern("abort", dtype="int32"))
                B[v] = A[v]

    @T.prim_func(s_tir=True)
    def stores_far_away(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
        for i in range(64):
            with T.sblock("B"):
                v = T.axis.spatial(64, i)
                B[v * 8388608 + 4194304] = A[v]

    @T.prim_func(s_tir=True)
    def never_ends(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
        for i in range(64):
            with T.sblock("B"):
                v = T.axis.spatial(64, i)
                T.evaluate(T.call_extern("sleep", 3600, dtype="int32"))
                B[v] = A[v]

    @T.prim_func(s_tir=True)
    def eats_memory(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
        X = T.sblock_alloc_buffer((2_000_000_000,), "float32")
        for i in range(2_000_000_000):
            with T.sblock("X"):
                v = T.axis.spatial(2_000_000_000, i)
                X[v] = A[v % 64]
        for i in range(64):
            with T.sblock("B"):
                v = T.axis.spatial(64, i)
                B[v] = X[v * 1000000]

    # 512-bit operands for a target without 512-bit registers: LLVM gives up the whole process.
    @T.prim_func(s_tir=True)
    def aborts_llvm(A: T.Buffer((64,), "uint8"), B: T.Buffer((16,), "int32")):
        with T.sblock("root"), T.sblock("B"):
            T.reads(A[0:64], B[0:16])
            T.writes(B[0:16])
            B[T.ramp(0, 1, 16)] = T.call_llvm_pure_intrin(
                "int32x16",
                "llvm.x86.avx512.vpdpbusd.512",
                B[T.ramp(0, 1, 16)],
                T.reinterpret("int8x64", A[T.ramp(0, 1, 64)]),
                T.reinterpret("int8x64", A[T.ramp(0, 1, 64)]),
            )


def module(function):
    # A schedule whose module nobody else holds may change the loops of a function that it was
    # made from, so every module gets its own copy.
    own = tvm.ir.load_json(tvm.ir.save_json(function))
    return tvm.IRModule({"main": own.with_attr("global_symbol", "main")})


def scaled_in_place():
    """Every call leaves nine tenths of its argument."""
    return module(decaying)


def appended():
    """A row of a cache, and the place of the next one."""
    return module(cached)


def build(builder, mod, target=TARGET):
    return builder.build([BuilderInput(mod, target)])[0]


def run(runner, artifact, mod, device="cpu"):
    info = ArgInfo.from_entry_func(mod, remove_preproc=True)
    return runner.run([RunnerInput(artifact, device, info)])[0].result()


def measured(builder, runner, mod):
    built = build(builder, mod)
    assert built.error_msg is None
    return run(runner, built.artifact_path, mod)


def quotients(dtype="int8"):
    """Every element of an argument over that of another one."""
    a, b = (te.placeholder((4096,), dtype, name=name) for name in "ab")
    c = te.compute((4096,), lambda i: tirx.truncdiv(a[i], b[i]), name="C")
    return module(te.create_prim_func([a, b, c]))


def far_rows():
    """Rows of a table, each a quarter of a megabyte, at what an argument of 16 bits says."""
    x = te.placeholder((64,), "int16", name="x")
    table = te.placeholder((10, 65536), "float32", name="table")
    rows = te.compute((64, 4), lambda i, j: table[x[i].astype("int32"), j], name="C")
    return module(te.create_prim_func([x, table, rows]))


def threads_bound():
    sch = Schedule(module(add_one))
    (loop,) = sch.get_loops(sch.get_sblock("B"))
    outer, inner = sch.split(loop, [None, 32])
    sch.bind(outer, "blockIdx.x")
    sch.bind(inner, "threadIdx.x")
    return sch.mod
