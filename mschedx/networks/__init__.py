"""Whole networks: imported, rewritten, cut into tasks, tuned under one budget, compiled."""

from .bucketed import CompiledBuckets
from .buckets import BucketsResult, tune_buckets
from .choices import Choice, Origin
from .compiled import CompiledNetwork
from .compiled_parts import CompiledParts
from .errors import DynamicShape, NetworkError, UnsupportedOperators
from .parts import PartsResult, tune_parts
from .profile import Operator, Profile
from .result import NetworkResult
from .tasks import NetworkTask
from .tuning import tune_model

__all__ = [
    "BucketsResult",
    "Choice",
    "CompiledBuckets",
    "CompiledNetwork",
    "CompiledParts",
    "DynamicShape",
    "NetworkError",
    "NetworkResult",
    "NetworkTask",
    "Operator",
    "Origin",
    "PartsResult",
    "Profile",
    "UnsupportedOperators",
    "tune_buckets",
    "tune_model",
    "tune_parts",
]
