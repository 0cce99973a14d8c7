"""A builder that builds nothing and a runner that invents latencies, for tests of the flow."""

import math
import os
import signal
import tempfile
import time

from tvm import te
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from mschedx.measure.verification import VerifyResult


def gemm(m=32, n=32, k=32):
    a = te.placeholder((m, k), name="A")
    b = te.placeholder((k, n), name="B")
    r = te.reduce_axis((0, k), name="r")
    c = te.compute((m, n), lambda i, j: te.sum(a[i, r] * b[r, j], axis=r), name="C")
    return te.create_prim_func([a, b, c])


@derived_object
class Builder(ms.builder.PyBuilder):
    def build(self, build_inputs):
        return [
            ms.builder.BuilderResult(os.path.join(tempfile.mkdtemp(), "x.so"), None)
            for _ in build_inputs
        ]


@derived_object
class Future(ms.runner.PyRunnerFuture):
    def __init__(self, latency_s, error):
        super().__init__()
        self.latency_s, self.error = latency_s, error

    def done(self):
        return True

    def result(self):
        if self.error:
            return ms.runner.RunnerResult(None, self.error)
        return ms.runner.RunnerResult([self.latency_s], None)


@derived_object
class Runner(ms.runner.PyRunner):
    """Trial i takes ``latencies[i]`` ms (1/(i+1) beyond them); None fails."""

    def __init__(self, latencies=(), interrupt_after=None, sleep_s=0.0):
        super().__init__()
        self.latencies, self.interrupt_after, self.sleep_s = latencies, interrupt_after, sleep_s
        self.count = 0

    def run(self, runner_inputs):
        time.sleep(self.sleep_s)
        if self.interrupt_after is not None and self.count >= self.interrupt_after:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        return [self.next() for _ in runner_inputs]

    def next(self):
        latency = (
            self.latencies[self.count]
            if self.count < len(self.latencies)
            else 1.0 / (self.count + 1)
        )
        self.count += 1
        error = "timeout: took too long" if latency is None else None
        return Future((latency or 0) * 1e-3, error)


@derived_object
class Refuses(ms.postproc.PyPostproc):
    """Lets no program through."""

    def _initialize_with_tune_context(self, context):
        pass

    def apply(self, sch):
        return False

    def clone(self):
        return Refuses()


def quick(runner, **more):
    """Arguments of ``tune`` that take milliseconds a round."""
    return {
        "target": {"kind": "llvm", "mcpu": "haswell", "num-cores": 2},
        "builder": Builder(),
        "runner": runner,
        "space": "post-order-apply",
        "strategy": "replay-trace",
        "cost_model": "random",
        "verify": False,
        "progress": False,
        "trials_per_round": 4,
        **more,
    }


def answers(ran, reason):
    """What a check says of a wrong output, or where the program did not run."""
    nan = math.nan
    return VerifyResult(
        ok=False, checked=True, ran=ran, max_error=nan, tolerance=nan, reason=reason
    )
