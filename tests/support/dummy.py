"""Workloads and stand-ins for building and running, so that a whole tuning run takes seconds."""

import math
import os
import tempfile

import tvm
import tvm_ffi
from tvm import te
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.builder import BuilderResult, PyBuilder
from tvm.s_tir.meta_schedule.runner import PyRunner, PyRunnerFuture, RunnerResult

from mschedx import compat

TARGET = {"kind": "llvm", "mcpu": "haswell", "num-cores": 2}


def target():
    return tvm.target.Target(TARGET)


def gemm(m=64, n=64, k=64):
    a = te.placeholder((m, k), name="A")
    b = te.placeholder((k, n), name="B")
    r = te.reduce_axis((0, k), name="k")
    c = te.compute((m, n), lambda i, j: te.sum(a[i, r] * b[r, j], axis=r), name="C")
    return te.create_prim_func([a, b, c])


def softmax(m=16, n=32):
    a = te.placeholder((m, n), name="A")
    r, r2 = te.reduce_axis((0, n)), te.reduce_axis((0, n))
    top = te.compute((m,), lambda i: te.max(a[i, r], axis=r), name="top")
    e = te.compute((m, n), lambda i, j: te.exp(a[i, j] - top[i]), name="e")
    s = te.compute((m,), lambda i: te.sum(e[i, r2], axis=r2), name="s")
    return te.create_prim_func([a, te.compute((m, n), lambda i, j: e[i, j] / s[i], name="out")])


def relu(n=128):
    a = te.placeholder((n,), name="A")
    zero = tvm.tirx.const(0.0, "float32")
    return te.create_prim_func([a, te.compute((n,), lambda i: te.max(a[i], zero), name="B")])


def evolutionary():
    """TVM's own search with a tenth of its population."""
    return ms.search_strategy.EvolutionarySearch(
        population_size=48, init_min_unmeasured=12, genetic_num_iters=2
    )


@derived_object
class NoBuilder(PyBuilder):
    """Builds nothing; fails every ``fail``-th candidate (0: none)."""

    def __init__(self, fail=0):
        super().__init__()
        self.fail, self.seen, self.programs = fail, 0, []

    def build(self, build_inputs):
        results = []
        for item in build_inputs:
            self.seen += 1
            self.programs.append(tvm_ffi.structural_hash(item.mod))
            failed = self.fail and self.seen % self.fail == 0
            # TVM removes the artifact's directory afterwards.
            artifact = None if failed else os.path.join(tempfile.mkdtemp(), "none.tar")
            results.append(BuilderResult(artifact, "no luck" if failed else None))
        return results


@derived_object
class _Done(PyRunnerFuture):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def done(self):
        return True

    def result(self):
        return RunnerResult(self.seconds, None if self.seconds else "crashed")


@derived_object
class NoRunner(PyRunner):
    """Reports seconds that grow with the number of runs, or ``None`` for every ``fail``-th."""

    def __init__(self, fail=0):
        super().__init__()
        self.fail, self.seen = fail, 0

    def run(self, runner_inputs):
        futures = []
        for _ in runner_inputs:
            self.seen += 1
            failed = self.fail and self.seen % self.fail == 0
            futures.append(_Done(None if failed else [1e-3 * (1 + math.sin(self.seen) ** 2)]))
        return futures


def tune(mod, work_dir, strategy, cost_model, trials=16, seed=1, **options):
    """ms.tune_tir with the stand-ins; returns the database and the programs built, in order."""
    builder = options.pop("builder", None) or NoBuilder()
    runner = options.pop("runner", None) or NoRunner()
    on = options.pop("target", None) or target()
    with compat.only_intrinsics(on):
        database = ms.tune_tir(
            mod,
            on,
            str(work_dir),
            trials,
            builder=builder,
            runner=runner,
            strategy=strategy,
            cost_model=cost_model,
            seed=seed,
            num_tuning_cores=options.pop("num_tuning_cores", 2),
            **options,
        )
    return database, builder.programs


def context(strategy, mod=None):
    """A task as TVM's tuner hands it to a strategy."""
    with compat.only_intrinsics(target()):
        return ms.TuneContext(
            mod or gemm(),
            target=target(),
            space_generator="post-order-apply",
            search_strategy=strategy,
            rand_state=3,
            num_threads=1,
        ).clone()
