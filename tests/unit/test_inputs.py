"""Arguments that make no sense are refused with what was expected, before anything starts."""

import json
import math
import re

import numpy as np
import pytest
import tvm
from stand_ins import Runner, gemm, quick
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.script import tirx as T
from tvm.target import Target

from mschedx import compat
from mschedx.inputs import normalize_mod, normalize_target, scheduled_already, targets
from mschedx.measure import LocalBuilder, LocalRunner, MeasureConfig
from mschedx.networks.tasks import as_task
from mschedx.search import ConstrainedEvolution, Strategy
from mschedx.tuning import tune


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, 0, -1, "10", True])
def test_a_time_limit_is_seconds(seconds, tmp_path):
    with pytest.raises(ValueError, match="expected timeout_s as seconds above 0, or None"):
        tune(gemm(), work_dir=tmp_path, **quick(Runner(), timeout_s=seconds))
    for make in (LocalBuilder, LocalRunner):
        with pytest.raises(ValueError, match="timeout_s must be a number of seconds above 0"):
            make(timeout_s=seconds)


@pytest.mark.parametrize("count", [0, -1, 1.5, "8", True])
def test_counts_are_integers(count, tmp_path):
    with pytest.raises(ValueError, match="expected trials_per_round as an int of at least 1"):
        tune(gemm(), work_dir=tmp_path, **quick(Runner(), trials_per_round=count))
    with pytest.raises(ValueError, match="expected trials as an int of at least 1"):
        tune(gemm(), trials=count or -1, work_dir=tmp_path)  # no trials rank
    with pytest.raises(ValueError, match="expected max_workers >= 1, got"):
        LocalBuilder(max_workers=count)
    with pytest.raises(ValueError, match="expected repeats >= 1, got"):
        MeasureConfig(repeats=count)


@pytest.mark.parametrize("whole", [np.int64(2), np.uint8(2)])
def test_numbers_of_numpy_are_numbers(whole, tmp_path):
    parts = quick(Runner(), trials_per_round=whole)
    result = tune(gemm(), trials=whole, seed=whole, patience=whole, work_dir=tmp_path, **parts)
    assert result.measured == 2
    assert LocalRunner(config=MeasureConfig(repeats=whole, number=whole), cores=np.int64(1))
    assert LocalBuilder(max_workers=whole, memory_bytes=np.int64(1 << 30))
    assert ConstrainedEvolution(batch=whole).batch == 2


@pytest.mark.parametrize("count", [0, 1.5, True, "2"])
def test_what_has_no_configuration_counts_in_whole_numbers_too(count):
    with pytest.raises(ValueError, match="expected batch >= 1, got"):
        Strategy(lambda: None, batch=count)
    with pytest.raises(ValueError, match="expected pool >= 1, got"):
        Strategy(lambda: None, pool=count)


@pytest.mark.parametrize("cores", [0, 1.0, True, "1"])
def test_cores_are_a_whole_number(cores):
    with pytest.raises(ValueError, match="cores must be an integer from 1 to"):
        LocalRunner(cores=cores)


@pytest.mark.parametrize("seed", [-1, 0.5, "0", 2**31, None, True])
def test_a_seed_is_an_integer(seed, tmp_path):
    with pytest.raises(ValueError, match="expected seed as an int from 0"):
        tune(gemm(), seed=seed, work_dir=tmp_path)


@pytest.mark.parametrize("memory", [-1, 0, 1 << 20, 1e9, True])
def test_memory_is_enough_for_a_worker(memory):
    for make in (LocalBuilder, LocalRunner):
        with pytest.raises(ValueError, match="memory_bytes must be an integer of at least"):
            make(memory_bytes=memory)


@pytest.mark.parametrize("name", ["min_repeat_s", "budget_s", "agreement", "slow_cutoff"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, "1"])
def test_settings_of_a_measurement_are_numbers(name, value):
    with pytest.raises(ValueError, match=name):
        MeasureConfig(**{name: value})


def test_an_unknown_cpu_is_refused_with_those_like_it():
    with pytest.raises(ValueError, match=r"no mcpu 'znver99'.*generic.*close to it: .*znver4"):
        normalize_target({"kind": "llvm", "mcpu": "znver99", "num-cores": 2})
    arm = {"kind": "llvm", "mcpu": "cortex-a72", "num-cores": 4}
    triple = {"mtriple": "aarch64-linux-gnu"}
    assert normalize_target({**arm, **triple}).attrs["mcpu"] == "cortex-a72"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (
            "llvm -mcpu=cascadelake -mattr=+avx512vnni,+fma -num-cores=4",
            {"mcpu": "cascadelake", "mattr": ["+avx512vnni", "+fma"], "num-cores": 4},
        ),
        (
            "llvm -keys=cpu,fast -mcpu skylake -num-cores 2",
            {"keys": ["cpu", "fast"], "mcpu": "skylake", "num-cores": 2},
        ),
        (
            "llvm -link-params -mcpu=skylake -num-cores=2",
            {"link-params": True, "mcpu": "skylake", "num-cores": 2},
        ),
    ],
)
def test_the_old_form_of_a_target_is_translated(text, meant):
    with pytest.raises(ValueError, match="command-line form") as said:
        normalize_target(text)
    advised = json.loads(str(said.value).partition("write ")[2])
    assert advised == {"kind": "llvm", **meant}
    if True not in meant.values():
        assert normalize_target(advised).attrs["mcpu"] == meant["mcpu"]


@pytest.mark.parametrize("target", ["cuda", {"kind": "cuda"}, '{"kind": "cuda"}'])
def test_a_gpu_is_named_where_there_is_none_to_ask(target, monkeypatch):
    monkeypatch.setattr(targets, "has_gpu", lambda: False)
    with pytest.raises(ValueError, match=r'the "arch" of its GPU.*nvidia/nvidia-a100.*"sm_80"'):
        normalize_target(target)


def test_a_target_object_without_a_gpu_s_name_is_refused_too(monkeypatch):
    monkeypatch.setattr(targets, "has_gpu", lambda: False)
    unnamed = Target({"kind": "cuda", "arch": "sm_50"})  # as Target("cuda") is without a GPU
    if not tvm.cuda().exist:
        assert str(Target("cuda").attrs["arch"]) == "sm_50"
    monkeypatch.setattr(targets, "_NAMED", set())
    with pytest.raises(ValueError, match='the "arch" of its GPU'):
        normalize_target(unnamed)
    for named in ({"kind": "cuda", "arch": "sm_50"}, "nvidia/nvidia-a100"):
        target = normalize_target(named)
        assert normalize_target(target) is target
    assert normalize_target(Target({"kind": "cuda", "arch": "sm_80"})).attrs["arch"] == "sm_80"


def test_measuring_on_a_gpu_that_is_not_there_is_refused_before_anything_is_built(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(targets, "has_gpu", lambda: False)
    with pytest.raises(ValueError, match=r"sm_80 needs an NVIDIA GPU.*runner="):
        tune(gemm(), "nvidia/nvidia-a100", work_dir=tmp_path / "w")
    assert not (tmp_path / "w").exists()


@pytest.mark.skipif(compat.architecture_of(Target("llvm")) == "aarch64", reason="it runs here")
def test_measuring_for_another_architecture_is_refused_before_anything_is_built(tmp_path):
    arm = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "num-cores": 4}
    with pytest.raises(ValueError, match=r"target is for aarch64.*runner=.*builder="):
        tune(gemm(), arm, work_dir=tmp_path / "w")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("dtype", ["int4", "uint4", "float4_e2m1fn", "float32x4"])
def test_arguments_that_no_trial_can_be_given_are_refused_before_anything_is_built(dtype, tmp_path):
    weights = te.placeholder((16, 16), dtype, "W")
    copy = te.create_prim_func([weights, te.compute((16, 16), lambda *i: weights(*i), name="C")])
    with pytest.raises(ValueError, match=rf'parameter "W" is of {dtype}.*runner='):
        tune(copy, work_dir=tmp_path / "w")
    assert not (tmp_path / "w").exists()
    with pytest.raises(ValueError, match=f"is of {dtype}"):
        as_task(copy)


def test_a_class_of_strategies_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(TypeError, match=r"strategy as .* class ConstrainedEvolution: make one"):
        tune(gemm(), strategy=ConstrainedEvolution, work_dir=tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_a_function_that_is_scheduled_already_is_named_as_such():
    assert scheduled_already(normalize_mod(gemm())) == ""
    for change, says in (
        (lambda sch, i, j: sch.parallel(i), 'loop "i" is parallel'),
        (lambda sch, i, j: sch.vectorize(j), 'loop "j" is vectorized'),
        (lambda sch, i, j: sch.bind(i, "blockIdx.x"), "bound to threads"),
    ):
        sch = Schedule(gemm())
        i, j, _ = sch.get_loops(sch.get_sblock("C"))
        change(sch, i, j)
        found = scheduled_already(normalize_mod(sch.mod))
        assert re.search(rf"scheduled already \(.*{says}.*as it was before", found)


def external():
    a = te.placeholder((16,), "float32", name="A")

    def body(ins, outs):
        call = tvm.tirx.call_packed("somebodys.function", ins[0].data, outs[0].data)
        return tvm.tirx.For(
            tvm.tirx.Var("i", "int32"), 0, 1, tvm.tirx.ForKind.PARALLEL, tvm.tirx.Evaluate(call)
        )

    out = te.extern((16,), [a], body, name="E", dtype="float32")
    return te.create_prim_func([a, out])


def test_functions_of_one_opaque_block_are_functions():
    mod = normalize_mod(external())
    assert mod["main"].body.block.name_hint == "E"


def test_parameters_that_are_no_buffers_are_named():
    @T.prim_func(s_tir=True)
    def scalar(A: T.Buffer((16,), "float32"), n: T.int32, B: T.Buffer((16,), "float32")):
        for i in range(16):
            with T.sblock("b"):
                v = T.axis.spatial(16, i)
                B[v] = A[v] * T.Cast("float32", n)

    with pytest.raises(ValueError, match=r'parameter "n" is a scalar.*specialize'):
        normalize_mod(scalar)

    @T.prim_func(s_tir=True)
    def pointer(a: T.handle, B: T.Buffer((16,), "float32")):
        for i in range(16):
            with T.sblock("b"):
                v = T.axis.spatial(16, i)
                B[v] = T.float32(1)

    with pytest.raises(ValueError, match=r'parameter "a" is a bare pointer.*match_buffer'):
        normalize_mod(pointer)

    @T.prim_func(s_tir=True)
    def lowered(A: T.Buffer((16,), "float32"), n: T.int32):
        for i in range(16):
            A[i] = T.Cast("float32", n)

    with pytest.raises(ValueError, match='parameter "n" is a scalar'):
        normalize_mod(lowered)


def laid_out(strides=None, elem_offset=None):
    @T.prim_func(s_tir=True)
    def main(x: T.handle, y: T.handle):
        a = T.match_buffer(x, (64, 64), strides=strides, elem_offset=elem_offset)
        b = T.match_buffer(y, (64, 64))
        for i, j in T.grid(64, 64):
            with T.sblock("b"):
                vi, vj = T.axis.remap("SS", [i, j])
                b[vi, vj] = a[vi, vj] + T.float32(1)

    return main


@pytest.mark.parametrize("strides", [[128, 2], [65, 1], [1, 64]])
def test_arrays_with_gaps_are_refused(strides):
    with pytest.raises(ValueError, match=r'"a" has the strides .*compact.*without strides'):
        normalize_mod(laid_out(strides))


def test_arrays_that_begin_elsewhere_are_refused():
    with pytest.raises(ValueError, match=r'"a" begins 1024 elements into .* without elem_offset'):
        normalize_mod(laid_out(elem_offset=1024))


def test_no_offset_and_one_that_may_be_any_are_none():
    @T.prim_func(s_tir=True)
    def anywhere(x: T.handle, y: T.Buffer((16,), "float32")):
        a = T.match_buffer(x, (16,), offset_factor=1)
        for i in range(16):
            with T.sblock("b"):
                v = T.axis.spatial(16, i)
                y[v] = a[v] + T.float32(1)

    for function in (laid_out(elem_offset=0), anywhere):
        assert normalize_mod(function)["main"].body.block.name_hint == "root"


def test_strides_of_a_compact_array_are_none():
    @T.prim_func(s_tir=True)
    def any_strides(x: T.handle, y: T.Buffer((16,), "float32")):
        step = T.int32()
        a = T.match_buffer(x, (16,), strides=[step])
        for i in range(16):
            with T.sblock("b"):
                v = T.axis.spatial(16, i)
                y[v] = a[v] + T.float32(1)

    for function in (laid_out([64, 1]), any_strides):
        assert normalize_mod(function)["main"].body.block.name_hint == "root"


def test_a_target_that_tvm_refuses_without_a_word_is_named(monkeypatch):
    def refuse(config):
        raise ValueError

    monkeypatch.setattr(targets, "Target", refuse)
    with pytest.raises(ValueError, match=r"not know this target: ValueError\(\) Expected a kind"):
        targets._parse({"kind": "llvm"})


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("llvm -mcpu=znver4 -num-cores 2", '"mcpu": "znver4", "num-cores": 2'),
        ("nonsense", "does not know"),
        ({"kind": "nonsense"}, '"llvm", "cuda"'),
        ({"kind": "llvm", "num_cores": 2}, "num-cores"),
        ("llvm", r'needs num-cores.*"mcpu": ".+", "num-cores": \d'),
        ({"kind": "llvm", "mcpu": "haswell"}, r'"mcpu": "haswell", "num-cores": \d'),
        ({"kind": "llvm", "num-cores": 0}, "got num-cores 0"),
        ('{"kind": ', "JSON"),
        ("c", 'got "c"'),
        ({"mcpu": "haswell"}, "kind"),
    ],
)
def test_bad_targets_say_what_to_write(target, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        tune(gemm(), target, work_dir=tmp_path)


def test_a_target_without_mcpu_is_warned_about():
    with pytest.warns(UserWarning, match="mcpu") as said:
        normalize_target({"kind": "llvm", "num-cores": 2})
    assert [one.filename for one in said] == [__file__]


def test_target_forms_are_equal():
    config = {"kind": "llvm", "mcpu": "haswell", "num-cores": 2}
    forms = [config, json.dumps(config), Target(config)]
    assert len({str(normalize_target(f)) for f in forms}) == 1
    assert normalize_target("nvidia/nvidia-a100").kind.name == "cuda"
    assert normalize_target(None).kind.name == "llvm"


def test_bad_functions_say_what_to_pass():
    n = tirx.Var("n", "int32")
    with pytest.raises(ValueError, match=r"dynamic shape .*n.*specialize"):
        normalize_mod(gemm(n))
    with pytest.raises(ValueError, match="no blocks"):
        normalize_mod(tirx.PrimFunc([], tirx.Evaluate(0)))
    with pytest.raises(ValueError, match=r"got 2 of 2.*tune_relax"):
        normalize_mod(tvm.IRModule({"main": gemm(), "other": gemm()}))
    with pytest.raises(TypeError, match="got int"):
        normalize_mod(5)


def test_a_module_of_one_function_is_that_function():
    func = gemm()
    modules = [normalize_mod(func), normalize_mod(tvm.IRModule({"kernel": func}))]
    tvm.ir.assert_structural_equal(*modules)
