"""What stops a kernel from being built or launched."""

import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_kernels import execute_kernel, kernel, program

from mschedx.emulator import CompilationError
from mschedx.emulator import build as module
from mschedx.emulator.build import build, compiler, prepared


def test_what_the_compiler_says(tmp_path):
    source = kernel("D[0] = no_such_function(1);", "int* D")
    with pytest.raises(CompilationError, match="no_such_function"):
        build(program(source, [np.zeros(1, "int32")]), tmp_path)


def test_no_compiler(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match=r"no g\+\+ on the path"):
        compiler.__wrapped__()


def test_an_old_compiler(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="11\n"))
    with pytest.raises(RuntimeError, match=r"expected g\+\+ 12 or newer, got 11"):
        compiler.__wrapped__()


def test_a_runtime_that_does_not_compile_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_COMMON", (*module._COMMON, "-no-such-option"))
    with pytest.raises(CompilationError, match="no-such-option"):
        prepared.__wrapped__()
    assert list((tmp_path / "mschedx" / "emulator").iterdir()) == []


def test_the_same_source_is_compiled_once(tmp_path):
    one = program(kernel("D[0] = 1;", "int* D"), [np.zeros(1, "int32")])
    first = build(one, tmp_path).path.stat().st_mtime_ns
    assert build(one, tmp_path).path.stat().st_mtime_ns == first


def test_more_arrays_than_there_is_room_for():
    names = [f"int* a{i}" for i in range(65)]
    arrays = [np.zeros(1, "int32") for _ in names]
    with pytest.raises(MemoryError, match="expected at most 64 arrays, 2 GiB together, got 65"):
        execute_kernel(kernel("a0[0] = 1;", ", ".join(names)), arrays)
