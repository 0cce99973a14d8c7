"""Ctrl-C in Python that TVM calls for a config is no failure of the config."""

import numpy as np
import pytest
import tvm
from dummy import gemm, target
from tvm.ir.utils import derived_object
from tvm.s_tir.meta_schedule.postproc import PyPostproc

from mschedx.space import sketches
from mschedx.space.trace.instructions import replay
from mschedx.space.trace.materialize import Postprocs


@derived_object
class Interrupted(PyPostproc):
    def _initialize_with_tune_context(self, context):
        del context

    def apply(self, sch):
        raise KeyboardInterrupt

    def clone(self):
        return Interrupted()


@pytest.fixture(scope="module")
def sketch():
    return sketches(gemm(), target())[0]


def test_in_a_postproc(sketch):
    schedule = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
    with pytest.raises(KeyboardInterrupt):
        Postprocs([Interrupted()]).apply(schedule)


def test_in_what_watches_a_replay(sketch):
    def provider(schedule):
        def watch(*_):
            raise KeyboardInterrupt

        return watch

    with pytest.raises(KeyboardInterrupt):
        replay(tvm.IRModule({"main": gemm()}), sketch.design.trace, provider)
