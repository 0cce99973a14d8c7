"""A design space as expressions and constraints; start at `analyse`."""

from .analyse import analyse
from .model import (
    AccessInfo,
    AllocationInfo,
    Analysis,
    KernelInfo,
    LoopInfo,
    VectorInfo,
)

__all__ = [
    "AccessInfo",
    "AllocationInfo",
    "Analysis",
    "KernelInfo",
    "LoopInfo",
    "VectorInfo",
    "analyse",
]
