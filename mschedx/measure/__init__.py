"""Build, run and verify candidates in warm, isolated worker processes.

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
