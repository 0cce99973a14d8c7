import pytest
import tvm
from dummy import gemm, target
from hash_seeds import printed_under_hash_seeds
from spaces import matmul
from tvm.s_tir import meta_schedule as ms

from mschedx import compat
from mschedx.space import Task, sketches

SCRIPT = """
from dummy import gemm, target
from mschedx.space import sketches
from tvm import te

def shares(n=32):
    # Two blocks, so that TVM's space has compute locations, but few.
    a, r = te.placeholder((n, n), name="A"), te.reduce_axis((0, n))
    s = te.compute((n,), lambda i: te.sum(a[i, r], axis=r), name="s")
    return te.create_prim_func([a, te.compute((n, n), lambda i, j: a[i, j] / s[i], name="out")])

for function in (gemm(), shares()):
    for space in (None, "post-order-apply"):
        found = sketches(function, target(), space)
        print(found[0].task.key, [sketch.key for sketch in found])
"""


def test_keys_are_the_same_in_every_process():
    (only,) = printed_under_hash_seeds(SCRIPT)
    assert len(only.splitlines()) == 4


def test_a_function_has_one_key_however_it_is_handed_over():
    function = gemm()
    with compat.only_intrinsics(target()):
        context = ms.TuneContext(function, target=target())
    forms = [
        tvm.IRModule({"main": function}),
        tvm.IRModule({"other": function.with_attr("global_symbol", "other")}),
        context.mod,
    ]
    tasks = [Task.of(form, target()) for form in forms]
    assert len({task.key for task in tasks}) == len(set(tasks)) == 1
    assert [task.name for task in tasks] == ["main", "other", "main"]
    assert Task.of(forms[0], target(), "mine").name == "mine"


def test_host_and_tag_are_no_part_of_the_key_and_options_are():
    mod = matmul(16, 16, 16)
    alone = Task.of(mod, target())
    assert Task.of(mod, target().with_host(target())) == alone
    tagged = tvm.target.Target("nvidia/nvidia-a100")
    assert Task.of(mod, tagged) == Task.of(mod, tvm.target.Target(str(tagged))) != alone
    cores = tvm.target.Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 4})
    assert Task.of(mod, cores) != alone


def test_other_shapes_are_other_tasks():
    keys = {Task.of(matmul(16, 16, k), target()).key for k in (16, 32, 48)}
    assert len(keys) == 3


@pytest.mark.parametrize("key", ["", None])
def test_a_task_without_a_key_is_refused(key):
    with pytest.raises(ValueError, match=r"expected Task.key as a text that is not empty"):
        Task(key)


def test_every_sketch_of_a_task_has_a_key_of_its_own_and_narrowing_keeps_it():
    found = sketches(gemm(), target())
    assert len({sketch.key for sketch in found}) == len(found) > 1
    assert [sketch.narrowed(preferences=True).key for sketch in found] == [s.key for s in found]
    again = sketches(gemm(), target())
    assert [sketch.key for sketch in again] == [sketch.key for sketch in found]
