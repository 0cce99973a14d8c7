"""Heron, Felix and Pruner as plug-ins of Apache TVM's MetaSchedule."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import cost as cost
    from . import measure as measure
    from . import search as search
    from . import space as space
    from .hardware import Hardware as Hardware
    from .measure import LocalBuilder as LocalBuilder
    from .measure import LocalRunner as LocalRunner
    from .search import ConstrainedEvolution as ConstrainedEvolution
    from .tuning import TuneResult as TuneResult
    from .tuning import tune as tune

__version__ = "0.1.0.dev0"

# TVM takes seconds to import; `import mschedx` and `mschedx --help` should not.
_HOMES = {
    "ConstrainedEvolution": "search",
    "Hardware": "hardware",
    "LocalBuilder": "measure",
    "LocalRunner": "measure",
    "TuneResult": "tuning",
    "tune": "tuning",
}
_PACKAGES = ("cost", "measure", "search", "space")

__all__ = ["__version__", *_HOMES, *_PACKAGES]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
