"""Undo TVM's logging set-up after each test; options of the suite; threads and signals."""

import logging
import os
import signal

import pytest

# Before anything is loaded that reads them. Idle threads of OpenMP (PyTorch, XGBoost) and TVM spin,
# and test processes with as many threads each as there are cores take these from one another.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", "0")

# In the background of a script it is ignored, here and in what is started here; tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the files of tests/golden instead of comparing with them; read the diff",
    )


@pytest.fixture(autouse=True)
def _no_leftover_handlers():
    """Undo what TVM did to its logger.

    It stops propagation, upon which pytest attaches nameless handlers of its own, with which TVM
    cannot configure logging again.
    """
    yield
    tuning = logging.getLogger("tvm.s_tir.meta_schedule")
    tuning.propagate = True
    for handler in list(tuning.handlers):
        tuning.removeHandler(handler)
        handler.close()
