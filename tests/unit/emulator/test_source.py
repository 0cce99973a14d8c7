"""Sources and launches of schedules, without a GPU."""

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.target import Target

from mschedx.emulator import execute, source
from mschedx.emulator.source import generate
from mschedx.emulator.translate import UnsupportedSource

A100 = Target("nvidia/nvidia-a100")


def two_stages():
    a = te.placeholder((40,), "float32", "A")
    b = te.compute((40,), lambda i: a[i] + 1.0, name="B")
    c = te.compute((40,), lambda i: b[i] * b[39 - i], name="C")
    sch = Schedule(te.create_prim_func([a, c]))
    for name in "BC":
        (loop,) = sch.get_loops(sch.get_sblock(name))
        block, thread = sch.split(loop, [None, 8])
        sch.bind(block, "blockIdx.x")
        sch.bind(thread, "threadIdx.x")
    return sch.mod


def test_kernels_in_order_with_what_they_hand_to_each_other():
    program = generate(two_stages(), A100)
    assert [(one.name, one.shape, one.is_argument) for one in program.arrays] == [
        ("A", (40,), True),
        ("C", (40,), True),
        ("B", (40,), False),
    ]
    first, second = program.launches
    assert (first.grid, first.block) == ((5, 1, 1), (8, 1, 1))
    assert {program.arrays[i].name for i in first.arguments} == {"A", "B"}
    assert {program.arrays[i].name for i in second.arguments} == {"B", "C"}
    assert program.shared_limit_bytes == 49152


def test_both_are_executed():
    a = np.arange(40, dtype="float32")
    done = execute(two_stages(), A100, [a, np.zeros(40, "float32")])
    np.testing.assert_array_equal(done.arrays[1], (a + 1) * (a + 1)[::-1])
    assert done.finished
    assert done.faults == ()


def test_arguments_are_not_changed():
    c = np.zeros(40, "float32")
    execute(two_stages(), A100, [np.ones(40, "float32"), c])
    assert (c == 0).all()


def test_another_target():
    with pytest.raises(ValueError, match='expected a target of kind "cuda", got "llvm"'):
        generate(two_stages(), Target("llvm"))


def test_a_target_without_its_shared_memory():
    bare = Target({"kind": "cuda", "arch": "sm_80", "max_shared_memory_per_block": 0})
    with pytest.raises(ValueError, match="no max_shared_memory_per_block"):
        generate(two_stages(), bare)


def test_several_functions():
    one = two_stages()["main"]
    with pytest.raises(ValueError, match=r"a module of one function, got \['a', 'b'\]"):
        generate(tvm.IRModule({"a": one, "b": one}), A100)


def test_dynamic_shapes():
    n = tvm.tirx.Var("n", "int32")
    a = te.placeholder((n,), "float32", "A")
    sch = Schedule(te.create_prim_func([a, te.compute((n,), lambda i: a[i] + 1.0, name="B")]))
    (loop,) = sch.get_loops(sch.get_sblock("B"))
    block, thread = sch.split(loop, [None, 8])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    with pytest.raises(ValueError, match="expected a constant for the shape of A, got n"):
        generate(sch.mod, A100)


def test_a_loop_around_a_launch():
    a = te.placeholder((4, 40), "float32", "A")
    sch = Schedule(te.create_prim_func([a, te.compute((4, 40), lambda j, i: a[j, i] + 1, "B")]))
    block, thread = sch.split(sch.get_loops(sch.get_sblock("B"))[1], [None, 8])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    with pytest.raises(UnsupportedSource, match="one after the other, got a For around"):
        generate(sch.mod, A100)


@pytest.mark.parametrize("kind", ["For", "IfThenElse"])
def test_launches_that_do_not_run_once_are_not_taken_for_such_that_do(kind, monkeypatch):
    """Also where nothing in them depends on how often they run."""
    split = source._AfterSplit.run_after_pass

    def around(self, mod, info):
        split(self, mod, info)
        if info.name == "tirx.SplitHostDevice":
            mod = tvm.IRModule(mod.functions)
            host = next(v for v, f in mod.functions_items() if "tirx.is_entry_func" in f.attrs)
            body, j = mod[host].body, tvm.tirx.Var("j", "int32")
            if kind == "For":
                body = tvm.tirx.For(j, 0, 4, tvm.tirx.ForKind.SERIAL, body)
            else:
                body = tvm.tirx.IfThenElse(tvm.tirx.IntImm("bool", 0), body, None)
            mod[host] = mod[host].with_body(body)
            self.module = mod

    monkeypatch.setattr(source._AfterSplit, "run_after_pass", around)
    with pytest.raises(UnsupportedSource, match=f"got a {kind} around"):
        generate(two_stages(), A100)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.zeros(40, "float32")], "expected 2 arrays, got 1"),
        (
            [np.zeros(40, "float32"), np.zeros(41, "float32")],
            r"argument C: expected float32 of shape \(40,\), got float32 of shape \(41,\)",
        ),
        (
            [np.zeros(40, "float64"), np.zeros(40, "float32")],
            r"argument A: expected float32 of shape \(40,\), got float64",
        ),
    ],
)
def test_wrong_arrays(arrays, message):
    with pytest.raises(ValueError, match=message):
        execute(two_stages(), A100, arrays)
