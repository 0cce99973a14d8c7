"""What is saved of a winner needs TVM and nothing else, for every CPU rule and dtype."""

import json
import runpy
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm.s_tir import Schedule

from mschedx.inputs import normalize_mod, normalize_target
from mschedx.record.export import save_schedule
from mschedx.space import sketches
from mschedx.workloads import OPERATORS, make

IMAGE = (1, 16, 10, 10, 32, 3)
SHAPES = {
    "gemm": (64, 64, 64),
    "gemm_nt": (64, 64, 64),
    "batch_gemm": (2, 32, 64, 64),
    "batch_gemm_nt": (2, 32, 64, 64),
    "gemv": (64, 128),
    "conv1d": (1, 16, 32, 32, 3),
    "conv2d": IMAGE,
    "conv2d_bias_relu": IMAGE,
    "conv2d_nhwc": (1, 10, 10, 16, 32, 3),
    "conv2d_blocked": IMAGE,
    "conv3d": (1, 4, 6, 6, 6, 16, 3),
    "depthwise_conv2d": (1, 32, 10, 10, 3),
    "conv2d_transpose": IMAGE,
    "softmax": (16, 128),
    "layer_norm": (16, 128),
    "mean": (16, 128),
    "gelu": (16, 128),
    "bias_gelu": (16, 128),
}
CASES = [
    *((op, "float32", "znver4") for op in SHAPES),
    *(
        (op, dtype, "znver4")
        for op in ("gemm", "gemm_nt", "conv2d")
        for dtype in ("int8", "bfloat16", "float16")
    ),
    ("gemm", "float64", "znver4"),
    ("softmax", "float32", "haswell"),
    ("gelu", "float32", "haswell"),
    ("gemm", "int8", "haswell"),
]

READER = """
import runpy, sys
from pathlib import Path

class TVMAlone:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("mschedx", "torch"):
            raise ModuleNotFoundError(f"{name} must not be needed")

sys.meta_path.insert(0, TVMAlone)
import json
import tvm, tvm_ffi

for folder in map(Path, sys.argv[1:]):
    schedule = runpy.run_path(str(folder / "schedule.py"))
    unscheduled = tvm.ir.load_json((folder / "unscheduled.json").read_text())
    wanted = tvm.ir.load_json((folder / "scheduled.json").read_text())
    sch = tvm.s_tir.Schedule(unscheduled)
    schedule["apply"](sch)
    assert tvm_ffi.structural_equal(sch.mod, wanted), folder
    sch = tvm.s_tir.Schedule(unscheduled)
    trace = json.loads((folder / "trace.json").read_text())
    tvm.s_tir.schedule.Trace.apply_json_to_schedule(trace, sch)
    assert tvm_ffi.structural_equal(sch.mod, wanted), folder
    scheduled = runpy.run_path(str(folder / "scheduled.py"))["Module"]
    assert tvm_ffi.structural_equal(scheduled, wanted), folder
    # LLVM need not optimise: that it takes what it is given is the question.
    tvm.compile(scheduled, target=tvm.target.Target({**schedule["TARGET"], "opt-level": 0}))
print("read", len(sys.argv) - 1)
"""


def test_every_operator_is_here():
    assert set(SHAPES) == set(OPERATORS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """One config of every design space of every case, each in a folder of its own."""
    place = tmp_path_factory.mktemp("saved")
    found = {}
    for op, dtype, mcpu in CASES:
        mod = normalize_mod(make(op, SHAPES[op], dtype))
        target = normalize_target({"kind": "llvm", "mcpu": mcpu, "num-cores": 2})
        for number, sketch in enumerate(sketches(mod, target)):
            schedule = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
            folder = place / f"{op}-{dtype}-{mcpu}-{number}"
            found[folder] = save_schedule(folder, schedule, mod, target, 1e-3)
    return found


def test_a_process_without_mschedx_reads_and_compiles_all_of_it(saved):
    done = subprocess.run(
        [sys.executable, "-c", READER, *map(str, saved)], capture_output=True, text=True
    )
    assert done.stdout.strip() == f"read {len(saved)}", done.stderr[-2000:]


def test_the_cases_cover_intrinsics_of_all_kinds_and_programs_that_do_not_parse(saved):
    names = {
        name
        for files in saved.values()
        if "intrinsics" in files
        for name in json.loads(files["intrinsics"].read_text())
    }
    for kind in ("dot_16x4", "bf16bf16f32", "transpose", "exp", "erf", "tanh"):
        assert any(kind in name for name in names), kind
    ways = {"load_json" in files["scheduled"].read_text() for files in saved.values()}
    assert ways == {True, False}


def test_options_of_a_target_that_are_true_or_false_are_pythons(tmp_path):
    mod = normalize_mod(make("gemm", SHAPES["gemm"]))
    target = normalize_target(
        {"kind": "llvm", "mcpu": "haswell", "num-cores": 2, "fast-math": True}
    )
    schedule = Schedule(mod)
    schedule.parallel(schedule.get_loops(schedule.get_sblock("C"))[0])
    files = save_schedule(tmp_path, schedule, mod, target, 1e-3)
    found = normalize_target(runpy.run_path(str(files["schedule"]))["TARGET"])
    assert str(found) == str(target)


def test_lines_that_python_cannot_run_give_way_to_the_trace(tmp_path):
    mod = normalize_mod(make("gemm", SHAPES["gemm"]))
    schedule = Schedule(mod)
    schedule.vectorize(schedule.get_loops(schedule.get_sblock("C"))[1])

    class Printed:
        def __init__(self, trace):
            self.trace = trace

        def as_json(self):
            return self.trace.as_json()

        def as_python(self):
            return ["this is <not> Python"]

    class Unprintable:
        mod, trace = schedule.mod, Printed(schedule.trace)

    target = normalize_target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
    files = save_schedule(tmp_path, Unprintable, mod, target, 1e-3)
    again = Schedule(mod)
    runpy.run_path(str(files["schedule"]))["apply"](again)
    assert tvm_ffi.structural_equal(again.mod, schedule.mod)


def test_a_library_and_its_caller_need_no_mschedx(tmp_path):
    """What is said about exported libraries: aligned, contiguous tensors, TVM only."""
    from mschedx.kernel import Compiled

    target = normalize_target(None)
    mod = normalize_mod(make("gemm", SHAPES["gemm"]))
    kernel = Compiled(tvm.compile(mod, target=target), mod, target)
    kernel.export_library(str(tmp_path / "kernel.so"))
    script = """
        import sys
        sys.modules["mschedx"] = sys.modules["torch"] = None
        import numpy as np, tvm
        a, b = np.random.default_rng(0).random((2, 64, 64), dtype=np.float32)
        c = tvm.runtime.empty((64, 64), "float32")
        library = tvm.runtime.load_module(sys.argv[1])
        library["main"](tvm.runtime.tensor(a), tvm.runtime.tensor(b), c)
        np.testing.assert_allclose(c.numpy(), a @ b, rtol=1e-4)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "kernel.so")], check=True
    )
