"""A builder and a runner whose worker processes end with the module that used them."""

import pytest

from mschedx import compat
from mschedx.measure import LocalBuilder, LocalRunner, pool


@pytest.fixture(scope="module")
def workers():
    compat.load_tensor_intrinsics()
    yield
    pool.shutdown()


@pytest.fixture(scope="module")
def builder(workers):
    return LocalBuilder(timeout_s=60)


@pytest.fixture(scope="module")
def runner(workers):
    return LocalRunner(timeout_s=30)
