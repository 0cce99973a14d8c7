"""What cannot be searched is measured as it is, under TVM's tuner and under ours alike."""

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import te, topi
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.script import tirx as T

import mschedx
from mschedx.hardware import host_target


@T.prim_func(s_tir=True)
def accumulates(
    a: T.Buffer((16, 16), "float32"),
    b: T.Buffer((16, 16), "float32"),
    c: T.Buffer((16, 16), "float32"),
):
    """A product that adds to what its argument holds."""
    T.func_attr({"global_symbol": "main"})
    for i, j, k in T.grid(16, 16, 16):
        with T.sblock("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            c[vi, vj] = c[vi, vj] + a[vi, vk] * b[vk, vj]


def scheduled():
    a = te.placeholder((16, 16), name="A")
    k = te.reduce_axis((0, 16), name="k")
    sch = Schedule(
        te.create_prim_func([a, te.compute((16,), lambda i: te.sum(a[i, k], k), name="C")])
    )
    (block,) = sch.get_child_blocks(sch.get_sblock("root"))
    i, k = sch.get_loops(block)
    sch.parallel(i)
    sch.decompose_reduction(block, k)
    return sch.mod["main"].with_attr("global_symbol", "main")


@T.prim_func(s_tir=True)
def triangular(a: T.Buffer((16, 16), "float32"), c: T.Buffer((16, 16), "float32")):
    """Sums along rows up to the diagonal: loops of varying extent."""
    T.func_attr({"global_symbol": "main"})
    for i in range(16):
        for j in range(i + 1):
            with T.sblock("C"):
                vi = T.axis.spatial(16, i)
                vj = T.axis.spatial(16, j)
                c[vi, vj] = a[vi, vj] * T.float32(2)


def assert_same(compiled, function):
    """What was compiled computes what the function as it is does."""
    rng = np.random.default_rng(0)
    arrays = [rng.random([int(n) for n in p.shape], np.float32) for p in function.params]
    given, expected = ([tvm.runtime.tensor(array) for array in arrays] for _ in range(2))
    tvm.compile(function, target="llvm")(*expected)
    compiled["main"](*given)
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5)
    assert not np.allclose(given[-1].numpy(), arrays[-1]), "nothing was computed"


FUNCTIONS = {
    "no initialisation": (accumulates, "nothing could be searched"),
    "scheduled already": (scheduled(), "scheduled already"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_way_for_both_flows(name, tmp_path):
    function, note = FUNCTIONS[name]
    target = host_target()
    database = ms.tune_tir(
        function, target, work_dir=str(tmp_path / "tvm"), max_trials_global=4,
        num_trials_per_iter=4,
        space=mschedx.space.for_target(target), strategy=mschedx.ConstrainedEvolution(),
        cost_model=mschedx.cost.HeronXGB(), builder=mschedx.LocalBuilder(),
        runner=mschedx.LocalRunner(), seed=1,
    )  # fmt: skip
    (record,) = database.get_all_tuning_records()
    assert float(record.run_secs[0]) < 1
    compiled = ms.tir_integration.compile_tir(database, function, target)
    assert_same(tvm.compile(compiled.mod, target=target), function)

    result = mschedx.tune(function, target, trials=4, work_dir=tmp_path / "ours", progress=False)
    assert result.schedule is not None
    assert result.measured == 1
    assert any(note in one for one in result.notes)
    again = mschedx.tune(function, target, trials=4, work_dir=tmp_path / "ours", progress=False)
    assert (again.measured, again.latency_s) == (0, result.latency_s)
    assert tvm_ffi.structural_equal(again.schedule.mod, result.schedule.mod)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (accumulates, "the function stays as it is: nothing in its space looks faster"),
        (scheduled(), "the function stays as it is: nothing in its space looks faster"),
        (triangular, "nothing could be ranked, so the function stays as it is: "),
    ],
)
def test_with_no_trials_it_stays_as_it_is(function, why, tmp_path):
    result = mschedx.tune(function, trials=0, work_dir=tmp_path, progress=False)
    assert result.unscheduled
    assert result.why_unscheduled.startswith(why)
    assert result.why_unscheduled in result.notes
    assert_same(result.compile(), function)


def test_with_no_trials_a_space_of_ones_own_that_is_unusable_is_an_error():
    with pytest.raises(ValueError, match=r"replays|extent|constant"):
        mschedx.tune(triangular, trials=0, space="post-order-apply", progress=False)


def test_windows_of_differing_lengths_are_measured_and_verified_as_they_are():
    """Pooling that does not divide its image: blocks in blocks, with loops of varying extent."""
    image = te.placeholder((1, 4, 7, 7), name="image")
    pooled = te.create_prim_func([image, topi.nn.adaptive_pool(image, (3, 3), "avg")])
    result = mschedx.tune(pooled, trials=4, progress=False)
    assert result.verified, result.notes
    assert_same(result.compile(), pooled)
