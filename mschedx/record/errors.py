"""What can be wrong with a work_dir."""

from __future__ import annotations


class WorkDirError(ValueError):
    """A work_dir that cannot be used as asked."""


class WorkDirInUse(WorkDirError):
    """A work_dir that another one writes into at present."""


class WorkDirNotWritable(WorkDirError):
    """A work_dir into which this process cannot write, or not alone."""


class WorkDirWarning(UserWarning):
    """Something in a work_dir was repaired or moved aside."""
