"""Run a GPU rule on a CPU: the same schedule without threads, scopes, pipelines and intrinsics."""

from __future__ import annotations

from tvm.s_tir import Schedule

_GPU = ("software_pipeline", "warp_execution", "meta_schedule", "mschedx")


class SerialSchedule:
    """A schedule for which what belongs to a GPU is a plain loop, or memory, or nothing.

    Tiles, staging, reindexing, padding and the epilogue stay, and with them all index arithmetic. A
    block that an intrinsic was to replace keeps its loops, which are the intrinsic's description:
    ``tensorize`` on the real schedule checks that they are.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __getattr__(self, name):
        return getattr(self.schedule, name)

    def __tvm_ffi_object__(self):
        return self.schedule

    def copy(self):
        return SerialSchedule(self.schedule.copy())

    def bind(self, loop, thread):
        pass

    def tensorize(self, block_or_loop, name):
        pass

    def annotate(self, target, key, value):
        if not key.startswith(_GPU):
            self.schedule.annotate(target, key, value)

    def cache_read(self, block, index, scope):
        return self.schedule.cache_read(block, index, "global")

    def cache_write(self, block, index, scope):
        return self.schedule.cache_write(block, index, "global")
