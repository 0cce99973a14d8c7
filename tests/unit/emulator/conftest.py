import shutil

import pytest


@pytest.fixture(autouse=True, scope="session")
def _host_compiler():
    if shutil.which("g++") is None:
        pytest.skip("the emulator compiles kernels with g++, which is not installed")
