"""What users pass, turned into what can be tuned, or said to be wrong."""

from mschedx.ranges import check_seconds, check_seed, check_trials

from .functions import normalize_mod, scheduled_already
from .targets import has_gpu, normalize_target, require_device

__all__ = [
    "check_seconds",
    "check_seed",
    "check_trials",
    "has_gpu",
    "normalize_mod",
    "normalize_target",
    "require_device",
    "scheduled_already",
]
