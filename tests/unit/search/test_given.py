"""Programs to start from are of one task of a run, and the others are searched as always."""

import numpy as np
import pytest
import tvm
from dummy import gemm, relu, target, tune
from stand_ins import Runner, quick
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

import mschedx
from mschedx.search import ConstrainedRandom
from mschedx.space import sketches


@pytest.fixture(scope="module")
def sketch():
    return sketches(gemm(), target(), "post-order-apply")[0]


@pytest.fixture(scope="module")
def known(sketch):
    (config,) = sketch.sample(1, np.random.default_rng(5))
    return sketch.schedule(config)


def run(path, other, program):
    """Records of the product and of another function, in one run that starts from a program."""
    mod = tvm.IRModule({"one": gemm(), "two": other})
    strategy = ConstrainedRandom(batch=2).restricted(start=[program])
    how = {"trials": 4, "max_trials_per_task": 2, "num_trials_per_iter": 2}
    database, _ = tune(mod, path, strategy, "none", **how)
    found = {True: [], False: []}
    for record in database.get_all_tuning_records():
        (function,) = record.workload.mod.functions.values()
        found[len(function.params) == 3 and int(function.params[0].shape[0]) == 64].append(record)
    return found[True], found[False]


@pytest.mark.parametrize(
    ("other", "given"),
    [
        (lambda: gemm(32, 32, 32), lambda schedule: schedule),
        (relu, lambda schedule: schedule),
        (relu, lambda schedule: schedule.trace),
    ],
)
def test_other_functions_of_a_run_are_searched(other, given, sketch, known, tmp_path):
    own, others = run(tmp_path, other(), given(known))
    configs = [sketch.config_of(record.trace) for record in own]
    config = sketch.config_of(known.trace).tolist()
    assert config in [one.tolist() for one in configs if one is not None]
    assert others
    assert all(len(record.trace.insts) > 1 for record in others), "none is as it is"


def begin(program):
    context = ms.TuneContext(
        gemm(), target=target(), space_generator="post-order-apply", task_name="one",
        search_strategy=ConstrainedRandom(batch=2).restricted(start=[program]), num_threads=1,
    )  # fmt: skip
    context.pre_tuning(2, 2)


def test_programs_that_could_be_of_the_task_and_are_of_no_sketch_are_refused():
    mod = tvm.IRModule({"main": gemm()})
    with pytest.raises(ValueError, match=r"sketches of one .* another at position 0 of start$"):
        begin(Schedule(mod))


def test_programs_for_a_function_of_another_name_are_refused_with_both():
    schedule = Schedule(tvm.IRModule({"matmul": gemm()}))
    loop = schedule.get_loops(schedule.get_sblock("C", func_name="matmul"))[0]
    schedule.split(loop, schedule.sample_perfect_tile(loop, 2, 8))
    with pytest.raises(ValueError, match=r'written for a function called "matmul" and not "main"$'):
        begin(schedule)


def test_where_there_is_one_task_all_programs_must_be_of_it(known, tmp_path):
    strategy = ConstrainedRandom(batch=2).restricted(start=[known])
    for way in ({"start": [known]}, {"strategy": strategy}):
        options = quick(
            Runner(), **{"strategy": ConstrainedRandom(batch=2), "cost_model": "none", **way}
        )
        with pytest.raises(ValueError, match="another at position 0 of start"):
            mschedx.tune(gemm(32, 32, 32), trials=2, work_dir=tmp_path, **options)
