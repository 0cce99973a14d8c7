"""Heron, Felix and Pruner as plug-ins of Apache TVM's MetaSchedule."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mschedx.collector import without_collections
from mschedx.version import VERSION as __version__

if TYPE_CHECKING:
    from mschedx import cost as cost
    from mschedx import hardware as hardware
    from mschedx import measure as measure
    from mschedx import models as models
    from mschedx import networks as networks
    from mschedx import search as search
    from mschedx import space as space
    from mschedx import workloads as workloads
    from mschedx.hardware import Hardware as Hardware
    from mschedx.hardware.peak import calibrate as calibrate
    from mschedx.measure import LocalBuilder as LocalBuilder
    from mschedx.measure import LocalRunner as LocalRunner
    from mschedx.networks import BucketsResult as BucketsResult
    from mschedx.networks import NetworkResult as NetworkResult
    from mschedx.networks import PartsResult as PartsResult
    from mschedx.networks import tune_buckets as tune_buckets
    from mschedx.networks import tune_model as tune_model
    from mschedx.networks import tune_parts as tune_parts
    from mschedx.ranking import rank as rank
    from mschedx.search import ConstrainedEvolution as ConstrainedEvolution
    from mschedx.search import DraftVerify as DraftVerify
    from mschedx.search import GradientDescent as GradientDescent
    from mschedx.tune_result import TuneResult as TuneResult
    from mschedx.tuning import tune as tune


# TVM takes seconds to import; `import mschedx` and `mschedx --help` should not.
_HOMES = {
    "BucketsResult": "networks",
    "ConstrainedEvolution": "search",
    "DraftVerify": "search",
    "GradientDescent": "search",
    "Hardware": "hardware",
    "LocalBuilder": "measure",
    "LocalRunner": "measure",
    "NetworkResult": "networks",
    "PartsResult": "networks",
    "TuneResult": "tune_result",
    "calibrate": "hardware.peak",
    "rank": "ranking",
    "tune": "tuning",
    "tune_buckets": "networks",
    "tune_model": "networks",
    "tune_parts": "networks",
}
_MODULES = ("cost", "hardware", "measure", "models", "networks", "search", "space", "workloads")

__all__ = ["__version__", *_HOMES, *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        with without_collections():
            return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with without_collections():
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
