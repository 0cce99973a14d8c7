"""Builder and runner in TVM's own search, and on what its spaces make of a weight layout."""

import logging
import os

import pytest
from programs_to_measure import TARGET, build, gemm, module
from tvm import te
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.runner import RunnerInput

from mschedx import compat
from mschedx.measure import pool, verify


def tune(builder, runner, **keywords):
    # Where TVM's logger does not propagate, pytest adds handlers that TVM cannot configure.
    logging.getLogger("tvm.s_tir.meta_schedule").handlers.clear()
    with compat.only_intrinsics(TARGET):
        return ms.tune_tir(
            gemm(64),
            TARGET,
            work_dir=keywords.pop("work_dir"),
            max_trials_global=8,
            num_trials_per_iter=4,
            builder=builder,
            runner=runner,
            cost_model="random",
            seed=0,
            num_tuning_cores=1,
            **keywords,
        )


@pytest.mark.parametrize(
    "strategy",
    [
        ms.search_strategy.ReplayTrace(),
        ms.search_strategy.EvolutionarySearch(population_size=64, genetic_num_iters=1),
    ],
    ids=["replay-trace", "evolutionary"],
)
def test_tvms_own_search_uses_them(builder, runner, tmp_path, strategy):
    directory = pool.shared_pool(builder._config).directory
    before = set(os.listdir(directory))
    database = tune(builder, runner, strategy=strategy, work_dir=str(tmp_path))
    records = database.get_all_tuning_records()
    latencies = [float(record.run_secs[0]) for record in records]
    assert len(latencies) == 8
    assert all(1e-7 < latency_s < 1 for latency_s in latencies)
    # Removed by TVM after each round, so a long run does not fill the disk.
    assert set(os.listdir(directory)) == before


def layout_free_gemm(n):
    a, b = (te.placeholder((n, n), name=name) for name in "AB")
    k = te.reduce_axis((0, n), name="k")
    c = te.compute(
        (n, n),
        lambda i, j: te.sum(a[i, k] * b[k, j], axis=k),
        name="C",
        attrs={"layout_free_placeholders": [b]},
    )
    return module(te.create_prim_func([a, b, c]))


def test_a_rewritten_weight_layout_is_measured_and_verified(builder, runner):
    mod = layout_free_gemm(64)
    context = ms.TuneContext(
        mod=mod,
        target=TARGET,
        space_generator="post-order-apply",
        search_strategy="replay-trace",
        num_threads=1,
        rand_state=3,
    )
    spaces = context.generate_design_space()
    context.pre_tuning(8, 8, spaces, ms.database.MemoryDatabase(), ms.cost_model.RandomModel())
    rewritten = [
        candidate
        for candidate in context.generate_measure_candidates()
        if "layout_rewrite_preproc" in str(candidate.sch.mod)
    ]
    assert rewritten
    candidate = rewritten[0]
    built = build(builder, candidate.sch.mod)
    assert built.error_msg is None
    assert [len(a.shape) for a in candidate.args_info] != [2, 2, 2]  # the weight is packed
    inputs = [RunnerInput(built.artifact_path, "cpu", candidate.args_info)]
    assert runner.run(inputs)[0].result().error_msg is None
    assert verify(candidate.sch, mod, TARGET).ok
