"""compat: versions, fast TVMScript, intrinsics by kind, cores."""

import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from mschedx import compat
from mschedx.compat import threads


def run_python(code: str, **environment: str) -> str:
    """Run `code` in a fresh interpreter, return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def versions(monkeypatch):
    """Pretend that other versions are installed."""

    def pretend(tvm: str | None, ffi: str | None) -> None:
        found = {"apache-tvm": tvm, "apache-tvm-ffi": ffi}
        monkeypatch.setattr("mschedx.compat.versions._version", found.get)
        compat.check_versions.cache_clear()

    yield pretend
    compat.check_versions.cache_clear()


@pytest.mark.parametrize(
    ("tvm", "ffi"), [("0.27.0", "0.1.14"), ("0.27.0.post1", "0.1.14.post1"), (None, None)]
)
def test_tested_versions_pass(versions, tvm, ffi):
    versions(tvm, ffi)
    compat.check_versions()


@pytest.mark.parametrize(
    ("tvm", "ffi", "named"),
    [
        ("0.27.0", "0.1.15", "0.1.15"),
        ("0.27.0", "0.1.15.post2", "segmentation fault"),
        ("0.26.0", "0.1.14", "0.26.0"),
        ("0.28.0", "0.1.14", "0.28.0"),
    ],
)
def test_known_bad_versions_name_version_and_fix(versions, tvm, ffi, named):
    versions(tvm, ffi)
    with pytest.raises(compat.IncompatibleVersion, match=named) as caught:
        compat.check_versions()
    assert "pip install" in str(caught.value)


def test_the_installed_versions_pass():
    compat.check_versions()


def test_fast_script_parses_the_same_and_is_undone():
    # Class methods, closures and nested decorators are what the parser reads the stack for.
    out = run_python(
        """
        import sys, tempfile, importlib.util, pathlib
        from mschedx import compat
        with compat.without_torch():
            import tvm
        import inspect
        source = '''
        from tvm.script import ir as I, tirx as T
        def make(n):
            @T.prim_func(s_tir=True)
            def f(A: T.Buffer((n,), "float32"), B: T.Buffer((n,), "float32")):
                for i in range(n):
                    with T.sblock("B"):
                        v = T.axis.spatial(n, i)
                        B[v] = A[v] * T.float32(2)
            return f
        @I.ir_module
        class M:
            @T.prim_func(s_tir=True)
            def main(A: T.Buffer((4,), "float32")):
                for i in range(4):
                    with T.sblock("A"):
                        v = T.axis.spatial(4, i)
                        A[v] = T.float32(1)
        '''
        import textwrap
        path = pathlib.Path(tempfile.mkdtemp()) / "script.py"
        path.write_text(textwrap.dedent(source))
        def load():
            spec = importlib.util.spec_from_file_location("script", path)
            module = importlib.util.module_from_spec(spec)
            sys.modules["script"] = module
            spec.loader.exec_module(module)
            return module.M, module.make(8)
        slow = load()
        with compat.fast_script(), compat.fast_script():
            fast = load()
        for a, b in zip(slow, fast):
            tvm.ir.assert_structural_equal(a, b)
        try:
            with compat.fast_script():
                raise KeyError
        except KeyError:
            pass
        import tvm.tirx.script.parser.entry as e1, tvm.script.parser.ir.entry as e2
        print(e1.inspect is inspect, e2.inspect is inspect)
        """
    )
    assert out.split() == ["True", "True"]


@pytest.mark.performance
def test_all_intrinsics_load_in_four_seconds_and_completely():
    out = run_python(
        """
        import time
        import tvm
        from tvm.s_tir import TensorIntrin
        from mschedx import compat
        start = time.process_time()
        compat.load_tensor_intrinsics()
        seconds = time.process_time() - start
        import tvm.s_tir.tensor_intrin
        for name in ("dot_16x4_vnni", "wmma_fill_16x16x16_f32", "dot_4x4_i8i8s32_neon"):
            TensorIntrin.get(name)
        print(seconds)
        """
    )
    assert float(out) < 4.0


def test_one_kind_loads_alone_and_the_package_is_complete_later():
    run_python(
        """
        import sys
        from mschedx import compat
        with compat.without_torch():
            import tvm
        from tvm.s_tir import TensorIntrin
        compat.load_tensor_intrinsics("x86")
        x86 = sys.modules["tvm.s_tir.tensor_intrin.x86"]
        TensorIntrin.get("dot_16x4_vnni")
        assert TensorIntrin.get("wmma_sync_16x16x16_f16f16f32", allow_missing=True) is None
        assert "tvm.s_tir.tensor_intrin" not in sys.modules
        with compat.fast_script():
            import tvm.s_tir.tensor_intrin as package
        assert package.x86 is x86 and package.__file__.endswith("__init__.py")
        TensorIntrin.get("wmma_sync_16x16x16_f16f16f32")
        """
    )


def test_a_tune_context_loads_the_intrinsics_of_its_target_alone():
    run_python(
        """
        import sys
        from mschedx import compat
        with compat.without_torch():
            import tvm
        from tvm.s_tir import TensorIntrin, meta_schedule as ms
        target = tvm.target.Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})
        with compat.only_intrinsics(target):
            ms.TuneContext(target=target)
            for kind in ("cuda", "hexagon", "rocm", "metal"):
                assert f"tvm.s_tir.tensor_intrin.{kind}" not in sys.modules
            # another submodule is still there for who asks
            import tvm.s_tir.tensor_intrin
            found = tvm.s_tir.tensor_intrin.x86.dot_product_16x4_u8i8i32_vnni
            assert isinstance(found, tvm.tirx.PrimFunc), type(found)
        assert "tvm.s_tir.tensor_intrin" not in sys.modules
        assert not hasattr(tvm.s_tir, "tensor_intrin")
        """
    )


def test_blocks_of_two_threads_have_the_intrinsics_of_both_until_the_last_one_ends():
    out = run_python(
        """
        import sys, threading
        from mschedx import compat
        with compat.without_torch():
            import tvm
        from tvm.s_tir import TensorIntrin
        target = tvm.target.Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})
        name = "tvm.s_tir.tensor_intrin"
        inside, over = threading.Event(), threading.Event()

        def second():
            with compat.only_intrinsics(target):
                print(TensorIntrin.get("dot_16x4_vnni") is not None)
                inside.set()
                over.wait()
                print(name in sys.modules)

        thread = threading.Thread(target=second, daemon=True)
        with compat.only_intrinsics(tvm.target.Target("nvidia/nvidia-a100"), ()):
            thread.start()
            print(inside.wait(60))
        over.set()
        thread.join()
        print(name in sys.modules, hasattr(tvm.s_tir, "tensor_intrin"))
        with compat.only_intrinsics(target):
            thread = threading.Thread(target=compat.load_tensor_intrinsics)
            thread.start()
            thread.join()
        print(TensorIntrin.get("wmma_sync_16x16x16_f16f16f32") is not None)
        """
    )
    assert out.split() == ["True", "True", "True", "False", "False", "True"]


def test_our_cuda_space_uses_none_of_tvms_intrinsics():
    out = run_python(
        """
        import sys
        import numpy as np
        from mschedx import compat
        with compat.without_torch():
            import tvm
        from tvm import te
        from tvm.s_tir import Schedule
        from tvm.s_tir.meta_schedule.testing import te_workload
        from mschedx.space import sketches
        target = tvm.target.Target("nvidia/nvidia-a100")
        gemm = te_workload.matmul(64, 64, 64, in_dtype="float16", out_dtype="float32")
        found = sketches(te.create_prim_func(gemm), target)
        for sketch in found:
            configs = sketch.sample(4, np.random.default_rng(0))
            assert all(isinstance(one, Schedule) for one in sketch.schedules(configs))
            print(sum(inst.kind.name == "Tensorize" for inst in sketch.design.trace.insts))
        assert "tvm.s_tir.tensor_intrin.cuda" not in sys.modules
        """
    )
    assert any(map(int, out.split())), "there must be tensor cores for it to show anything"


@pytest.mark.performance
def test_a_direct_user_of_our_space_does_not_wait_for_tvms_intrinsics():
    out = run_python(
        """
        import time
        from mschedx import compat
        with compat.without_torch():
            import tvm
        from tvm.s_tir import meta_schedule as ms
        from mschedx.space import for_target
        target = tvm.target.Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})
        start = time.process_time()
        for_target(target)
        ms.TuneContext(target=target)
        print(time.process_time() - start)
        """
    )
    assert float(out) < 5.0


def test_scheduling_is_bounded_where_llvm_compiles_and_nobody_else_has_said_how():
    from tvm.target import Target

    plain = Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2, "opt-level": 2})
    bounded = compat.bounded_scheduling(plain)
    (option,) = bounded.attrs["cl-opt"]
    assert option == "-dag-maps-huge-region:uint=200"
    kept = {key: value for key, value in dict(bounded.export()).items() if key != "cl-opt"}
    assert kept == dict(plain.export())
    gpu = Target("nvidia/nvidia-a100")
    assert compat.bounded_scheduling(gpu) is gpu
    own = Target({"kind": "llvm", "cl-opt": ["-dag-maps-huge-region:uint=50"]})
    assert compat.bounded_scheduling(own) is own
    other = Target({"kind": "llvm", "cl-opt": ["-enable-misched:bool=1"]})
    assert len(compat.bounded_scheduling(other).attrs["cl-opt"]) == 2


def test_unknown_kind_is_named():
    with pytest.raises(ValueError, match="sparc"):
        compat.load_tensor_intrinsics("sparc")


def test_intrinsic_kinds_follow_the_target():
    from tvm.target import Target

    assert compat.intrinsic_kinds(Target("nvidia/nvidia-a100")) == ("cuda",)
    arm = Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "num-cores": 2})
    assert compat.intrinsic_kinds(arm) == ("arm_cpu",)
    x86 = Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "num-cores": 2})
    assert compat.intrinsic_kinds(x86) == ("x86",)
    assert compat.intrinsic_kinds(Target("c")) is None
    assert compat.own_space_kinds(Target("nvidia/nvidia-a100")) == ()
    assert compat.own_space_kinds(x86) == ("x86",)


def test_without_torch_keeps_torch_out_and_is_undone():
    pytest.importorskip("torch")
    out = run_python(
        """
        import sys
        from mschedx import compat
        with compat.without_torch():
            import tvm
        assert "torch" not in sys.modules
        assert not [f for f in sys.meta_path if getattr(f, "__name__", "") == "_NoTorch"]
        print("ok")
        """
    )
    assert out.strip() == "ok"


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2", None])
def test_cores_environment_refuses_nonsense(bad):
    with pytest.raises(ValueError, match="expected cores >= 1, got"):
        compat.cores_environment(bad)


def test_cores_are_whole_numbers_of_numpys_too():
    assert compat.cores_environment(np.int64(2)) == compat.cores_environment(2)
    with pytest.raises(ValueError, match="expected cores >= 1, got True: it is a whole number"):
        compat.on_cores(True, os.getpid)


def test_available_cores_follows_affinity():
    assert compat.available_cores() == len(os.sched_getaffinity(0))


def test_a_pool_of_one_thread_cannot_grow_but_on_cores_helps():
    out = run_python(
        """
        from mschedx import compat
        with compat.without_torch():
            import tvm
        import tvm_ffi
        threads = tvm_ffi.get_global_func("runtime.NumThreads")
        threads()
        try:
            compat.use_cores(2)
        except RuntimeError as error:
            assert "on_cores" in str(error)
            print("refused")
        print(compat.on_cores(2, threads), compat.on_cores(1, threads))
        """,
        TVM_NUM_THREADS="1",
    )
    assert out.split() == ["refused", "2", "1"]


def test_a_call_has_its_cores_in_whatever_thread_it_is_made():
    out = run_python(
        """
        import threading
        from mschedx import compat
        with compat.without_torch():
            import tvm
        import tvm_ffi
        count = tvm_ffi.get_global_func("runtime.NumThreads")

        def asked():
            return count(), threading.current_thread().name

        every, two = compat.Caller(), compat.Caller(2)
        print(every.call(count) == compat.available_cores(), every.call(asked)[1])
        print(compat.on_cores(1, lambda: (count(), every.call(asked))))
        print(compat.on_cores(1, lambda: (count(), two.call(asked))))
        """
    )
    here, kept, apart = out.splitlines()
    assert here == "True MainThread", "TVM by itself would start half as many"
    assert kept == "(1, (1, 'mschedx-on-cores'))", "what its thread has asked for"
    assert apart == "(1, (2, 'mschedx-calls_0'))", "a pool cannot grow"
    with pytest.raises(ValueError, match="expected cores >= 1"):
        compat.Caller(0)


def test_a_number_of_threads_that_the_user_states_is_what_is_used():
    out = run_python(
        """
        import os
        from mschedx import compat
        with compat.without_torch():
            import tvm
        import tvm_ffi
        threads = tvm_ffi.get_global_func("runtime.NumThreads")
        print(*(compat.on_cores(cores, threads) for cores in (None, 2, None)))
        os.environ["TVM_NUM_THREADS"] = "2"
        print(*(compat.on_cores(cores, threads) for cores in (None, 1, None)))
        os.environ["TVM_NUM_THREADS"] = "1000"
        print(compat.on_cores(None, threads) == compat.available_cores())
        print(os.environ["TVM_NUM_THREADS"] == str(compat.available_cores()))
        """,
        TVM_NUM_THREADS="1",
    )
    assert out.split() == ["1", "2", "1", "2", "1", "2", "True", "True"]


@pytest.mark.parametrize(
    ("text", "cores"), [("", None), ("0", None), ("-1", None), ("two", None), (" 2 ", 2)]
)
def test_what_states_a_number_of_threads(monkeypatch, text, cores):
    monkeypatch.setattr(threads, "_count", threads._Count())
    monkeypatch.setenv("TVM_NUM_THREADS", text)
    assert compat.stated_cores() == cores


@pytest.mark.skipif(compat.available_cores() < 2, reason="needs two cores")
def test_two_cores_are_really_used():
    """Both of the pool's threads work, and neither is bound to a core.

    The kernel itself says which thread ran each of its iterations: CPU time says the same on an
    idle machine only, for the thread that is done first spins until the other one gets a core.
    """
    out = run_python(
        """
        import os
        from mschedx import compat
        with compat.without_torch():
            import tvm
        from tvm import te, tirx
        from tvm.s_tir import Schedule
        import numpy as np
        ran = te.compute((8,), lambda i: tirx.call_extern("int32", "gettid"), name="ran")
        sch = Schedule(te.create_prim_func([ran]))
        sch.parallel(sch.get_loops(sch.get_sblock("ran"))[0])
        built = tvm.build(sch.mod, target={"kind": "llvm", "num-cores": 2})
        threads = tvm.runtime.tensor(np.zeros(8, "int32"))
        def work():
            built["main"](threads)
            used = set(threads.numpy().tolist())
            return len(used), min(len(os.sched_getaffinity(thread)) for thread in used)
        print(*compat.on_cores(2, work))
        """,
        OPENBLAS_NUM_THREADS="1",
    )
    threads_used, cores_to_run_on = map(int, out.split())
    assert threads_used == 2
    assert cores_to_run_on >= 2


@pytest.mark.performance
def test_check_versions_is_cheap():
    compat.check_versions.cache_clear()
    start = time.process_time()
    compat.check_versions()
    assert time.process_time() - start < 0.2
