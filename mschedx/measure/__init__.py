"""Build, run and verify candidates in warm, isolated worker processes.

Who runs where, and what they say to each other (`channel`)::

    session                        zygote                    worker
    builder, runner, verification  zygote                    work, verification_jobs
    pool, processes                imports TVM, then forks   one job at a time

    Zygote ── control socket ────► main
        (directory, initializers)
        (number, environment), with a job socket and an error file: a worker to fork
        None: an orderly end
           ◄──────────────────────
        ("ready", None) or ("failed", why)
        ("ended", number, status) for each worker, also for one that was killed

    Worker ── job socket ──────────────────────────────────► _worker
        (function, arguments)
           ◄────────────────────────────────────────────────
        ("hello", pid), then for each job
        ("done", value), ("raised", text), ("memory", text) or ("machine", text)

What a worker writes to its standard error goes to the error file, and is read when it has died.
Of the session only `Pool` decides that a worker is killed and replaced.

Worker processes import this package, so importing it imports neither TVM nor the classes below.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .builder import LocalBuilder
    from .config import MeasureConfig
    from .failures import MachineTrouble
    from .pool import shutdown, start
    from .runner import LocalRunner
    from .verification import VerifyResult, verify

__all__ = [
    "LocalBuilder",
    "LocalRunner",
    "MachineTrouble",
    "MeasureConfig",
    "VerifyResult",
    "shutdown",
    "start",
    "verify",
]

_HOME = {
    "LocalBuilder": "builder",
    "LocalRunner": "runner",
    "MachineTrouble": "failures",
    "MeasureConfig": "config",
    "VerifyResult": "verification",
    "shutdown": "pool",
    "start": "pool",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
