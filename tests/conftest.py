"""Keep TVM's logging set-up from one test to the next."""

import logging

import pytest


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
