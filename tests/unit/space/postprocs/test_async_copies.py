"""Copies to shared memory that do not wait: which, and what waits for them."""

import re

import numpy as np
import pytest
import tvm
from tensor_core_products import A100, factors, gemm, module, spaces, workload
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from mschedx.space.analysis.read.extract import entry, extract
from mschedx.space.opening import sketches


@pytest.mark.parametrize("made", ["computed", "every other"])
def test_only_what_moves_neighbours_is_asynchronous(made):
    """What makes an operand is done on the way to shared memory; ``cp.async`` moves vectors."""
    a, b = te.placeholder((64, 128), "float16", "A"), te.placeholder((64, 64), "float16", "B")
    makes = {
        "computed": lambda i, j: te.max(a[i, j], te.const(0, "float16")),
        "every other": lambda i, j: a[i, j * 2],
    }
    s = te.compute((64, 64), makes[made], name="S")
    r = te.reduce_axis((0, 64), "r")

    def cell(i, j):
        return te.sum(s[i, r].astype("float32") * b[r, j].astype("float32"), axis=r)

    function = te.create_prim_func([a, b, te.compute((64, 64), cell, name="C")])
    for sketch in sketches(module(function), A100):
        found = sketch.schedules(sketch.sample(24, np.random.default_rng(0)))
        assert all(isinstance(one, Schedule) for one in found)


def source_of(sketch, **wanted):
    """The kernel of a valid config with some decisions fixed, as CUDA source."""
    schedule = sketch.schedule(factors(sketch, **wanted))
    source = tvm.compile(schedule.mod, A100).mod.imports[0].inspect_source()
    return source[source.rindex("__global__") :]


_EVENT = re.compile(
    r"(?P<copy>mschedx_copy_async_\d+\()|(?P<commit>commit_group\(\))|wait_group_(?P<wait>\d)\(\)"
    r"|(?P<sync>__syncthreads\(\))|(?P<use>\bfor \(int ax2_0_1)|(?P<loop>for \(int ax2_0_0)"
)


def events(source):
    """What happens to asynchronous copies, in the order of the source."""
    found = []
    for one in _EVENT.finditer(source):
        event = f"wait {one['wait']}" if one["wait"] else one.lastgroup
        if not (event == "copy" and found[-1:] == ["copy"]):
            found.append(event)
    return found


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_waits_cover_the_tiles_that_are_used(stages):
    sketch, *_ = sketches(module(gemm(512, 512, 512)), A100)
    wanted = {"ax2_0_0.stages": stages, "ax2_0_0.async": 1, "C_o.ax2_0.1": 2, "unroll": 0}
    found = events(source_of(sketch, **wanted))
    # Before iteration i uses its tiles, i + stages + 1 groups are committed, so as many as there
    # are stages may be under way; after the last commit, one less for every iteration.
    ahead = ["copy", "commit"] * stages
    around = ["loop", "sync", "copy", "commit", f"wait {stages}", "sync", "use"]
    last = [e for left in reversed(range(stages)) for e in (f"wait {left}", "sync", "use")]
    assert found == ahead + around + last


@pytest.mark.parametrize("unroll", [16, 512])
def test_waits_are_for_constant_numbers_where_loops_are_unrolled(unroll):
    sketch, *_ = sketches(module(gemm(512, 512, 512)), A100)
    wanted = {"ax2_0_0.stages": 3, "ax2_0_0.async": 1, "unroll": unroll}
    found = events(source_of(sketch, **wanted))
    assert [e for e in found if e.startswith("wait")][-3:] == ["wait 2", "wait 1", "wait 0"]


def test_a_record_replays_without_the_postproc():
    mod = module(gemm(512, 512, 512))
    sketch, *_ = sketches(mod, A100)
    schedule = sketch.schedule(factors(sketch, **{"ax2_0_0.stages": 2, "ax2_0_0.async": 1}))
    replayed = Schedule(mod)
    Trace.apply_json_to_schedule(schedule.trace.as_json(), replayed)
    tvm.ir.assert_structural_equal(schedule.mod, replayed.mod)
    assert "mschedx_copy_async" in replayed.mod.script()


def test_copies_are_synchronous_where_nothing_is_fetched_ahead_or_nobody_asks():
    sketch, *_ = sketches(module(gemm(512, 512, 512)), A100)
    for wanted in ({"ax2_0_0.stages": 0, "ax2_0_0.async": 1}, {"ax2_0_0.async": 0}):
        source = source_of(sketch, **wanted)
        assert "copy_async" not in source
        assert "wait_group" not in source
        assert "*(uint4*)" in source


def test_fewer_iterations_than_stages_wait_for_everything():
    sketch, *_ = sketches(module(gemm(256, 256, 64)), A100)
    wanted = {"ax2_0_0.stages": 3, "ax2_0_0.async": 1, "C_o.ax2_0.0": 2, "unroll": 0}
    found = events(source_of(sketch, **wanted))
    assert found.count("commit") == 2
    assert [e for e in found if e.startswith("wait")] == ["wait 0", "wait 0"]


@pytest.mark.parametrize(
    ("function", "target", "decided"),
    [
        (gemm(64, 64, 64), A100, True),
        # Padded copies are guarded; a padded image is, its weights are not.
        (gemm(60, 60, 60), A100, False),
        (workload("conv2d_nhwc", 1, 8, 8, 32, 32, 3, 1, 1), A100, True),
        (gemm(64, 64, 64), Target("nvidia/nvidia-t4"), False),
    ],
)
def test_asynchronous_copies_are_a_decision(function, target, decided):
    sch, *_ = spaces(function, target)
    loops = extract(entry(sch.mod)).loops
    pipelines = [dict(loop.annotations) for loop in loops if loop.annotations]
    assert any("mschedx.async" in notes for notes in pipelines) == decided
    assert any("mschedx.stages" in notes for notes in pipelines)
