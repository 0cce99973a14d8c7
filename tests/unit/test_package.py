import subprocess
import sys

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
    assert mschedx.workloads.make("gemm", (8, 8, 8)) is not None
    assert mschedx.hardware.host_target().kind.name == "llvm"


def test_errors_of_networks_are_found_without_a_network():
    code = "import mschedx; print(mschedx.networks.NetworkError.__name__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "NetworkError\n"


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'tuna'"):
        _ = mschedx.tuna
    assert "tune" in dir(mschedx)
