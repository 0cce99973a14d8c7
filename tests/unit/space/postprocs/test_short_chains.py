"""Maxima whose unrolled terms LLVM would compile for minutes."""

import os
import resource
import signal

import numpy as np
import pytest
import tvm
from spaces import module
from tvm import te, tirx
from tvm.s_tir import Schedule

from mschedx import measure, workloads
from mschedx.hardware import host_target
from mschedx.space import sketches
from mschedx.space.analysis.exactness import check
from mschedx.space.postprocs.short_chains import ShortChains

LIMIT = "pragma_auto_unroll_max_step"


def greatest(axes, value):
    return te.max(value, axes)


def chosen(axes, value):
    reducer = te.comm_reducer(lambda a, b: tirx.Select(a >= b, a, b), te.min_value)
    return reducer(value, axes)


def total(axes, value):
    return te.sum(te.max(value, 0.0), axes)


def of_rows(reduce, terms=32, dtype="float32", annotated=0, thread=""):
    """A number of every row of [16, 8, terms]; up to 64 steps of a loop are unrolled."""
    x = te.placeholder((16, 8, terms), dtype, name="x")
    i, k = te.reduce_axis((0, 8), name="i"), te.reduce_axis((0, terms), name="k")
    mod = module([x, te.compute((16,), lambda r: reduce([i, k], x[r, i, k]), name="y")])
    schedule = Schedule(mod)
    block = schedule.get_sblock("y")
    row, outer, _ = loops = schedule.get_loops(block)
    if thread:
        schedule.bind(row, thread)
    schedule.annotate(loops[annotated], LIMIT, 64)
    schedule.annotate(loops[annotated], "pragma_unroll_explicit", 1)
    schedule.decompose_reduction(block, outer)
    return schedule, mod


def limits(schedule):
    """The limits annotated on the loops of the reduction, outermost first."""
    loops = schedule.get_loops(schedule.get_sblock("y_update"))
    return [int(schedule.get(loop).annotations.get(LIMIT, -1)) for loop in loops]


def seconds(mod):
    """How long a process computes that compiles the module; None where it takes longer than 1."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
        status = 1
        try:
            tvm.compile(mod, target=host_target())
            status = 0
        finally:
            os._exit(status)
    _, status, used = os.wait4(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return None
    assert status == 0
    return used.ru_utime


@pytest.mark.parametrize("reduce", [greatest, chosen])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_chains_are_cut(reduce, dtype):
    schedule, mod = of_rows(reduce, dtype=dtype)
    assert ShortChains().apply(schedule)
    assert limits(schedule) == [64, -1, 16]
    assert measure.verify(schedule, mod, host_target()).ok


@pytest.mark.parametrize("annotated", [0, 2], ids=["above", "the chain's own loop"])
def test_llvm_takes_exponential_time(annotated):
    schedule, _ = of_rows(greatest, annotated=annotated)
    assert seconds(schedule.mod) is None, "LLVM is quick now: drop the postproc"
    assert ShortChains().apply(schedule)
    assert seconds(schedule.mod) is not None
    done = len(schedule.trace.insts)
    assert ShortChains().apply(schedule)
    assert len(schedule.trace.insts) == done


@pytest.mark.parametrize(
    "given",
    [
        of_rows(greatest, terms=16),
        of_rows(greatest, dtype="int32"),
        of_rows(total),
    ],
    ids=["sixteen terms", "integers", "a sum of maxima"],
)
def test_what_compiles_at_once_is_left_alone(given):
    schedule, _ = given
    before = len(schedule.trace.insts)
    assert ShortChains().apply(schedule)
    assert len(schedule.trace.insts) == before
    assert seconds(schedule.mod) is not None


def test_programs_for_gpus_are_left_alone():
    schedule, _ = of_rows(greatest, thread="threadIdx.x")
    assert ShortChains().apply(schedule)
    assert limits(schedule)[-1] == -1


@pytest.mark.parametrize("space", [None, "post-order-apply"])
def test_spaces_compile_and_statements_stay_exact(space):
    x = te.placeholder((6, 64, 3, 31), "float32", name="x")
    axes = [te.reduce_axis((0, n), name=f"k{n}") for n in (64, 3, 31)]
    mod = module([x, te.compute((6,), lambda r: te.min(x[(r, *axes)], axes), name="y")])
    rng, cut = np.random.default_rng(0), 0
    for sketch in sketches(mod, host_target(), space):
        configs = sketch.sample(6, rng)
        verdict = check(sketch.design, sketch.analysis, configs, lowering=len(configs))
        assert not verdict.wrong
        for config in configs:
            schedule = sketch.schedule(config)
            cut += schedule.mod.script().count(f'"{LIMIT}": 16}}')
            assert seconds(schedule.mod) is not None
    assert cut or space is None


def of_parts(terms, within=1, last="greatest", dtype="float32"):
    """The greatest of 16 parts, each the greatest of ``terms`` numbers, begun where it is needed.

    ``within`` more numbers are compared with each part.
    """
    x = te.placeholder((8, 16, terms), dtype, name="x")
    z = te.placeholder((8, 16, within), dtype, name="z")
    k, i, j = (te.reduce_axis((0, n)) for n in (terms, 16, within))
    parts = te.compute((8, 16), lambda r, i: te.max(x[r, i, k], k), name="parts")
    reduce = {"greatest": greatest, "chosen": chosen, "sum": te.sum}[last]

    def whole(r):
        value = parts[r, i] * z[r, i, j]
        return te.sum(value, [i, j]) if last == "sum" else reduce([i, j], value)

    mod = module([x, z, te.compute((8,), whole, name="y")])
    schedule = Schedule(mod)
    y, parts = schedule.get_sblock("y"), schedule.get_sblock("parts")
    row, part, _ = schedule.get_loops(y)
    schedule.parallel(row)
    schedule.annotate(row, LIMIT, 64)
    schedule.annotate(row, "pragma_unroll_explicit", 1)
    schedule.compute_at(parts, part)
    inner = schedule.get_loops(parts)[-1]
    schedule.decompose_reduction(y, part)
    schedule.decompose_reduction(parts, inner)
    return schedule, mod


def limits_of_parts(schedule):
    """The limits on the innermost loops of the parts and of what is compared with each."""
    return [
        int(
            schedule.get(schedule.get_loops(schedule.get_sblock(name))[-1]).annotations.get(
                LIMIT, -1
            )
        )
        for name in ("parts_update", "y_update")
    ]


@pytest.mark.parametrize("last", ["greatest", "chosen"])
@pytest.mark.parametrize(
    ("terms", "within", "wanted"),
    [(48, 1, [16, -1]), (17, 1, [16, -1]), (16, 1, [-1, -1]), (12, 12, [8, 8]), (24, 4, [8, -1])],
)
def test_parts_are_links_of_the_chain_of_what_they_are_compared_with(terms, within, wanted, last):
    schedule, mod = of_parts(terms, within, last)
    assert ShortChains().apply(schedule)
    assert limits_of_parts(schedule) == wanted
    assert seconds(schedule.mod) is not None
    done = len(schedule.trace.insts)
    assert ShortChains().apply(schedule)
    assert len(schedule.trace.insts) == done
    assert measure.verify(schedule, mod, host_target()).ok


@pytest.mark.parametrize(("terms", "within"), [(32, 1), (16, 16)])
def test_llvm_takes_exponential_time_of_parts(terms, within):
    schedule, _ = of_parts(terms, within)
    assert seconds(schedule.mod) is None, "LLVM is quick now: drop the postproc"


@pytest.mark.parametrize("given", [of_parts(48, last="sum"), of_parts(48, dtype="int32")])
def test_parts_that_end_in_a_sum_or_are_integers_are_left_alone(given):
    schedule, _ = given
    assert ShortChains().apply(schedule)
    assert limits_of_parts(schedule) == [-1, -1]
    assert seconds(schedule.mod) is not None


@pytest.mark.parametrize("limit", [64, 512])
def test_a_softmax_in_tvms_space_compiles_whatever_its_parts(limit):
    mod, rng = workloads.make("softmax", (16, 768)), np.random.default_rng(0)
    opened = sketches(mod, host_target(), "post-order-apply")
    cut = 0
    for sketch in (one for one in opened if "max.r.0" in one.names):
        (config,) = sketch.fix({"max.r.0": 48, "unroll": limit}).sample(1, rng)
        schedule = sketch.schedule(config)
        cut += f'"{LIMIT}": 16}}' in schedule.mod.script()
        assert seconds(schedule.mod) is not None
    assert cut
