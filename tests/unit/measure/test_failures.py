"""Every error message of ours and of TVM's runners has a category."""

import os
import signal

import pytest

from mschedx.measure import failures


@pytest.mark.parametrize(
    ("message", "category"),
    [
        (None, None),
        ("build: InternalError: no", "build"),
        ("run: RuntimeError: no CUDA device on this machine", "run"),
        ("timeout: stopped after 3 s", "timeout"),
        ("memory: stopped at 2048 MiB, the limit is 1024 MiB", "memory"),
        ("crash: SIGSEGV", "crash"),
        ("LocalBuilder: Timeout, killed after 30.0 seconds", "timeout"),
        ("LocalRunner: Timeout, killed after 30 seconds\n", "timeout"),
        ("LocalBuilder: An exception occurred\nbla", "build"),
        ("LocalRunner: An exception occurred\nbla", "run"),
        ("RPCRunner: An exception occurred\nbla", "run"),
        ("anything else", "other"),
        ("", "other"),
        ("builder: no", "other"),
    ],
)
def test_reason(message, category):
    assert failures.reason(message) == category


NOT_MAPPED = "/tmp/x/candidate.so: failed to map segment from shared object"


@pytest.mark.parametrize("more", ["", ": Operation not permitted"])
def test_a_folder_that_is_mounted_noexec_is_no_candidates_failure(more):
    error = RuntimeError(f"InternalError: Check failed: (lib_handle_)\nFailed: {NOT_MAPPED}{more}")
    trouble = failures.machine_trouble(error)
    assert trouble.startswith(f"Failed: {NOT_MAPPED}{more} (is its folder mounted noexec?")
    assert "TMPDIR" in trouble


def test_a_candidate_too_large_to_be_loaded_is_its_own_failure():
    error = RuntimeError(f"{NOT_MAPPED}: Cannot allocate memory")
    assert failures.machine_trouble(error) is None


def exit_status(action) -> int:
    pid = os.fork()
    if pid == 0:
        action()
        os._exit(3)
    return os.waitpid(pid, 0)[1]


def test_crash_message_names_the_signal_and_the_last_words():
    status = exit_status(lambda: os.kill(os.getpid(), signal.SIGKILL))
    message = failures.crash_message(status, "a\nb\nc\nd\n\nLLVM ERROR: cannot select\n")
    assert message.splitlines()[0] == "crash: SIGKILL"
    assert message.splitlines()[-1] == "LLVM ERROR: cannot select"
    assert "a" not in message.splitlines()
    assert failures.reason(message) == "crash"


def test_crash_message_names_the_exit_code():
    assert "code 3" in failures.crash_message(exit_status(lambda: None), "")


def test_a_crash_for_want_of_memory_is_of_that_category():
    status = exit_status(lambda: os.kill(os.getpid(), signal.SIGKILL))
    message = failures.crash_message(status, "terminate called: what(): std::bad_alloc")
    assert failures.reason(message) == "memory"


def test_crash_without_a_status():
    assert failures.reason(failures.crash_message(None, "")) == "crash"
