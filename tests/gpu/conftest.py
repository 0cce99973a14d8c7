"""What every test on a GPU needs: the GPU."""

import pytest
import tvm


@pytest.fixture(scope="session", autouse=True)
def gpu():
    """Skip where there is none, or one older than sm_80."""
    device = tvm.cuda(0)
    if not device.exist:
        pytest.skip("no NVIDIA GPU: tvm.cuda(0).exist is false")
    if int(str(device.compute_version).split(".")[0]) < 8:
        pytest.skip(f"expected sm_80 or newer, got compute capability {device.compute_version}")
    return device


@pytest.fixture(scope="session")
def checker(gpu):
    from gpu_checks import Checker, device_target

    made = Checker(device_target(), workers=4, compile_only=False)
    yield made
    made.close()
