import ast
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

import mschedx


def test_everything_named_is_there_after_the_one_import():
    code = "import mschedx; [getattr(mschedx, name) for name in mschedx.__all__]; print('all')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "all\n"


def test_an_import_alone_does_not_load_tvm():
    code = "import sys, mschedx; print('tvm' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_readme_modules_are_attributes():
    product = mschedx.workloads.make("gemm", (8, 8, 8))
    assert [tuple(map(int, buffer.shape)) for buffer in product.params] == [(8, 8)] * 3
    assert mschedx.hardware.host_target().kind.name == "llvm"


def test_errors_of_networks_are_found_without_a_network():
    code = "import mschedx; print(mschedx.networks.NetworkError.__name__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "NetworkError\n"


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'tuna'"):
        _ = mschedx.tuna
    assert "tune" in dir(mschedx)


def test_all_that_is_imported_is_declared():
    """But for what only those have who ask for it: a notebook."""
    package = Path(mschedx.__file__).parent
    project = tomllib.loads((package.parent / "pyproject.toml").read_text())["project"]
    required = chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {re.split(r"[=<>\[ ]", one)[0].removeprefix("apache-") for one in required}
    declared = {name.replace("-", "_") for name in names}
    imported = {name.split(".")[0] for file in package.rglob("*.py") for name in _imports(file)}
    assert imported - sys.stdlib_module_names - declared == {"mschedx", "IPython"}


def test_what_a_room_logs_bears_its_name():
    """TVM's loggers are silenced, or listened to, by the beginning of their names."""
    package = Path(mschedx.__file__).parent
    named = [
        (file.relative_to(package).parts[0], name)
        for file in package.rglob("*.py")
        for name in re.findall(r'getLogger\("([^"]*)"\)', file.read_text())
    ]
    assert {room for room, _ in named} >= {"space", "search", "cost"}
    assert [one for one in named if one[1] != f"tvm.s_tir.meta_schedule.mschedx.{one[0]}"] == []


def _imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
