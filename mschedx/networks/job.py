"""What one call of ``tune_model`` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mschedx.hardware import Hardware
from mschedx.plan import Parts

from .caches import weights_are_cold
from .importing import Imported
from .progress import NetworkProgress
from .tasks import Tasks

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target


@dataclass(frozen=True, kw_only=True)
class NetworkJob:
    """What one call is asked for, and what was imported for it.

    Parameters
    ----------
    imported : Imported
        Its module is ``fused``.
    fused : IRModule
        Rewritten for the target, fused and cut into tasks.
    tasks : Tasks
    target : Target
    trials_per_task, seed, timeout_s, prepack, verify
        As of `mschedx.tune_model`.
    begin : float
        When the call began, by ``time.perf_counter``.
    parts : Parts
        As the caller gave them.
    progress : bool or NetworkProgress
        As the caller gave it, for what is done once it is asked for.
    """

    imported: Imported
    fused: IRModule
    tasks: Tasks
    target: Target
    trials_per_task: int
    seed: int
    timeout_s: float | None
    begin: float
    prepack: bool
    verify: bool
    parts: Parts
    progress: bool | NetworkProgress

    @cached_property
    def cold(self) -> bool:
        """Whether a task's weights come from memory at every call."""
        if self.target.kind.name != "llvm":
            return False
        return weights_are_cold(self.fused, Hardware.from_target(self.target))
