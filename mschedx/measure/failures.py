"""Why a candidate could not be measured: stable categories at the head of every error message.

A builder's or runner's ``error_msg`` begins ``"<category>: <what happened>"``:

========== ==========================================================================
``build``  the compiler, the linker or an initializer refused the candidate
``run``    it was built but could not be loaded or executed (or there is no such device)
``timeout`` it was stopped after the builder's or runner's ``timeout_s``
``memory`` it was stopped at the memory limit, or could not allocate
``crash``  its process died: the signal (``SIGSEGV``, ``SIGABRT``) and its last words
``other``  a message that is not ours, for instance of TVM's own builder or runner
========== ==========================================================================

What keeps every candidate from being measured is no candidate's failure: a temporary folder that is
full or mounted noexec, no file handles, no linker, helper processes that die. It is raised as
:class:`MachineTrouble`, after a second and a third try, and no trial is recorded.
"""

from __future__ import annotations

import errno
import os
import signal

CATEGORIES = ("build", "run", "timeout", "memory", "crash", "other")
# What TVM's own LocalBuilder, LocalRunner and RPCRunner write.
_FOREIGN = {
    "LocalBuilder: Timeout": "timeout",
    "LocalRunner: Timeout": "timeout",
    "RPCRunner: Timeout": "timeout",
    "LocalBuilder:": "build",
    "LocalRunner:": "run",
    "RPCRunner:": "run",
}
_OUT_OF_MEMORY = ("std::bad_alloc", "out of memory", "cannot allocate memory")
_LAST_WORDS_LINES = 4
_MACHINE_ERRNOS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EMFILE,
    errno.ENFILE,
    errno.EROFS,
    errno.EIO,
)
# The same as a compiler or a linker says it.
_MACHINE_TEXTS = tuple(os.strerror(number) for number in _MACHINE_ERRNOS)
# What the loader says of every library in a folder that is mounted noexec.
_NOT_MAPPED = "failed to map segment from shared object"
_MACHINE_MARK = "machine: "


class MachineTrouble(RuntimeError):
    """Nothing can be measured on this machine at present; the message says what it lacks."""

    def __str__(self) -> str:
        return _MACHINE_MARK + super().__str__()


def machine_trouble(error: BaseException) -> str | None:
    """What an exception says about the machine rather than about a candidate; None if nothing.

    Knows the exception also behind TVM's calling convention, which keeps only its text.
    """
    text = str(error)
    if _MACHINE_MARK in text:
        return text.partition(_MACHINE_MARK)[2].strip()
    if isinstance(error, OSError) and error.errno in _MACHINE_ERRNOS:
        return text
    for line in text.splitlines():
        if any(sign in line for sign in _MACHINE_TEXTS):
            return line.strip()
        if _NOT_MAPPED in line and not out_of_memory(line):
            return (
                f"{line.strip()} (is its folder mounted noexec? Set TMPDIR to one where libraries "
                "may be loaded)"
            )
    return None


def reason(error_msg: str | None) -> str | None:
    """Category of a builder's or runner's ``error_msg``; None where there is no error.

    Never raises: a message of unknown origin is ``"other"``.
    """
    if error_msg is None:
        return None
    text = str(error_msg)
    head = text.partition(":")[0]
    if head in CATEGORIES:
        return head
    for prefix, category in _FOREIGN.items():
        if text.startswith(prefix):
            return category
    return "other"


def crash_message(status: int | None, last_words: str) -> str:
    """Say how a worker ended: ``"crash: SIGSEGV ..."``, or ``"memory: ..."`` if it says so.

    Parameters
    ----------
    status : int or None
        What ``os.waitpid`` gave; None when it is not known.
    last_words : str
        What the process wrote to its error output.
    """
    if status is None:
        how = "the worker ended without a trace"
    elif os.WIFSIGNALED(status):
        how = signal.Signals(os.WTERMSIG(status)).name
    else:
        how = f"the worker exited with code {os.WEXITSTATUS(status)}"
    lines = [line.strip() for line in last_words.splitlines() if line.strip()]
    said = "\n".join(lines[-_LAST_WORDS_LINES:])
    category = "memory" if out_of_memory(last_words) else "crash"
    return f"{category}: {how}" + (f"\n{said}" if said else "")


def out_of_memory(text: str) -> bool:
    """Whether an error text speaks of an allocation that failed."""
    low = text.lower()
    return any(sign in low for sign in _OUT_OF_MEMORY)
