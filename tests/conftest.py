"""Undo TVM's logging set-up after each test; options of the suite."""

import logging

import pytest


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
