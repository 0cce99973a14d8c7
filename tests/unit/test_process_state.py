import logging
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from tvm.s_tir.meta_schedule.logging import get_logging_func

from mschedx.process_state import interruptible, numpy_seed, quiet_logging, search_log


def test_ctrl_c_is_noted_and_raised():
    noted = []
    with interruptible(lambda: noted.append(1)), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert noted == [1]


def test_ctrl_c_that_is_ignored_stays_ignored():
    noted = []
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible(lambda: noted.append(1)):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not noted


def test_a_handler_that_is_not_pythons_is_left_alone(monkeypatch):
    """R's reticulate and C++ programs install one; Python cannot put it back."""
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("it was replaced"))
    with interruptible(lambda: None):
        pass
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_the_bindings_is_raised_once_they_have_returned():
    bindings = {"__name__": "tvm_ffi.error"}
    exec(
        "from signal import raise_signal, SIGINT\n"
        "def busy():\n    raise_signal(SIGINT)\n    return 'returned'",
        bindings,
    )
    said, noted = [], []
    begin = time.monotonic()
    with interruptible(lambda: noted.append(1)):
        said.append(bindings["busy"]())
        with pytest.raises(KeyboardInterrupt):
            time.sleep(5)
    assert said == ["returned"]
    assert len(noted) >= 2
    assert time.monotonic() - begin < 2


def test_ctrl_c_in_a_message_of_tvms_log_is_raised_once_it_is_written():
    """TVM calls what it logs with from a destructor: what is raised there ends the process."""
    logger, said = logging.getLogger("interrupted"), []

    class Interrupting(logging.Handler):
        def emit(self, record):
            signal.raise_signal(signal.SIGINT)
            said.append(record.getMessage())

    logger.addHandler(Interrupting())
    logger.propagate = False
    write = get_logging_func(logger)
    with interruptible(lambda: None):
        write(logging.ERROR, "file.cc", 7, "written")
        assert said == ["[file.cc:7] written"]
        with pytest.raises(KeyboardInterrupt):
            time.sleep(5)


DYING = """
import signal, sys
sys.modules["torch"] = None  # which tvm-ffi imports if it can
import tvm_ffi
from tvm_ffi import core
from mschedx.process_state import interruptible, numpy_seed, quiet_logging, search_log

scope = {"__name__": "tvm_ffi.error", "original": core._TRACEBACK_TO_BACKTRACE_STR}
exec(
    "from signal import raise_signal, SIGINT\\n"
    "def to_text(traceback):\\n    raise_signal(SIGINT)\\n    return original(traceback)",
    scope,
)
core._TRACEBACK_TO_BACKTRACE_STR = scope["to_text"]

def fail():
    raise ValueError("of a callback")

callback = tvm_ffi.convert(fail)
with interruptible(lambda: print("noted", flush=True)):
    try:
        callback()
    except ValueError as error:
        print(error)
"""


def test_ctrl_c_while_an_error_is_handed_to_cpp_does_not_end_the_process():
    run = subprocess.run([sys.executable, "-c", DYING], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert set(run.stdout.split("\n")) == {"noted", "of a callback", ""}
    unguarded = DYING.replace("interruptible(lambda", "__import__('contextlib').nullcontext(lambda")
    assert subprocess.run([sys.executable, "-c", unguarded], capture_output=True).returncode < 0, (
        "TVM's bindings survive this now: interruptible need not postpone"
    )


def test_runs_that_end_in_the_order_in_which_they_began_leave_all_as_it_was():
    """As those of two threads do."""
    logger, own = logging.getLogger("tvm.s_tir.meta_schedule"), logging.NullHandler()
    logger.addHandler(own)
    closed = []
    own.close = lambda: closed.append(1)
    before = (logging.raiseExceptions, logger.level, logger.propagate, list(logger.handlers))
    expected = np.random.RandomState(7).rand(3)
    np.random.seed(7)  # noqa: NPY002
    runs = [(quiet_logging(), numpy_seed(seed)) for seed in range(2)]
    try:
        for quiet, seeded in runs:
            quiet.__enter__()
            seeded.__enter__()
            assert logger.handlers == []
            logger.addHandler(logging.NullHandler())  # as tune_tir does
            logger.setLevel(logging.DEBUG)
            logger.propagate = False
        for quiet, seeded in runs:
            assert not logging.raiseExceptions
            seeded.__exit__(None, None, None)
            quiet.__exit__(None, None, None)
        after = (logging.raiseExceptions, logger.level, logger.propagate, list(logger.handlers))
        assert after == before
        assert not closed
        assert (np.random.rand(3) == expected).all()  # noqa: NPY002
    finally:
        logger.handlers.clear()
        logging.raiseExceptions = True


def test_a_search_of_another_thread_says_nothing_here(caplog):
    name = "tvm.s_tir.meta_schedule.mschedx.search"
    logger = logging.getLogger(name)
    # Whatever level a run of TVM's tuner has left behind in this process.
    with caplog.at_level(logging.WARNING, name), search_log() as said:
        other = threading.Thread(target=logger.warning, args=("another's",))
        other.start()
        other.join()
        logger.warning("own")
    assert said == ["own"]
