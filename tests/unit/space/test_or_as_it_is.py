"""Spaces of ours in runs that they were not made for."""

import copy
import pickle

import pytest
from dummy import gemm
from stand_ins import Runner, quick
from tvm import te, topi
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

import mschedx
from mschedx.space import for_target, sketches

AVX2 = {"kind": "llvm", "mcpu": "haswell", "num-cores": 2}
OTHERS = {
    "instructions": {**AVX2, "mcpu": "sapphirerapids"},
    "cores": {**AVX2, "num-cores": 32},
    "kind": "nvidia/nvidia-a100",
}
SAYS = r"expected a space for the target .*haswell.*made for .*for_target\(target\)"


def context(space, target):
    return ms.TuneContext(gemm(), target=Target(target), space_generator=space, num_threads=1)


def tuned(space, target, tmp_path):
    options = quick(Runner(), space=space, target=target, cost_model="none")
    return mschedx.tune(gemm(), trials=1, work_dir=tmp_path / "w", **options)


@pytest.mark.parametrize("other", OTHERS)
def test_a_space_for_another_target_is_refused_wherever_it_is_used(other, tmp_path):
    space = for_target(OTHERS[other])
    for use in (
        lambda: context(space, AVX2),
        lambda: context(space.clone(), AVX2),
        lambda: sketches(gemm(), AVX2, space),
        lambda: mschedx.rank(gemm(), AVX2, space=space),
        lambda: tuned(space, AVX2, tmp_path),
    ):
        with pytest.raises(ValueError, match=SAYS):
            use()
    assert not list(tmp_path.iterdir()), "it is said before anything is made"


@pytest.mark.parametrize("target", [AVX2, "nvidia/nvidia-a100"])
def test_the_same_target_in_other_words_is_not_another(target):
    for same in (Target(target), Target(str(Target(target))), Target(target, host="llvm")):
        assert context(for_target(target), same).clone().generate_design_space()
        assert sketches(gemm(), same, for_target(target))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_make_the_same_designs_and_none_is_pickled(copied):
    space = for_target(AVX2)
    found = copied(space)
    assert found.__chandle__() != space.__chandle__()
    traces = [
        [str(one.trace) for one in context(made, AVX2).generate_design_space()]
        for made in (space, found)
    ]
    assert len(traces[0]) == len(traces[1]) > 0
    with pytest.raises(TypeError, match=r"cannot be pickled: .*for_target\(target\)"):
        pickle.dumps(space)


def scaled_product(rows):
    """A product, and a softmax of its rows, which is what a rule leaves beside it."""
    a, b = te.placeholder((rows, 64), name="A"), te.placeholder((64, 64), name="B")
    k = te.reduce_axis((0, 64), name="k")
    c = te.compute((rows, 64), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    return te.create_prim_func([a, b, topi.nn.softmax(c)])


def test_contexts_of_one_space_each_get_their_own_designs():
    space = for_target(AVX2)

    def begun(rows):
        return ms.TuneContext(
            scaled_product(rows), target=Target(AVX2), space_generator=space, num_threads=1,
            rand_state=1, task_name=f"of {rows}",
        )  # fmt: skip

    def rows_of(context):
        found = context.generate_design_space()
        return len(found), {int(one.mod["main"].params[0].shape[0]) for one in found}

    first, second = begun(64), begun(128)
    alone = len(begun(64).clone().generate_design_space())
    second_again = begun(128)
    for one, rows in ((first, 64), (second, 128), (second_again, 128), (first, 64)):
        assert rows_of(one) == (alone, {rows})
