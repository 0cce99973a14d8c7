"""What can go wrong with a design space, as types a caller can act on."""

from __future__ import annotations

DYNAMIC_LOOP = "DisallowDynamicLoop"
"""The reason where the extent of a loop varies: the name of the postproc that refuses it."""


class InvalidSchedule(ValueError):
    """A config that does not become a schedule.

    Parameters
    ----------
    reason : str
        Short and stable, fit to be counted: ``"repaired"`` when TVM silently changed a decision,
        ``"primitive"`` when a schedule primitive refused, ``"decision"`` for a value that its
        decision never takes, otherwise the name of the postproc that
        rejected the program, such as ``"VerifyGPUCode"``.
    detail : str
        What exactly happened, for readers.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class EmptySpace(ValueError):
    """No config satisfies all constraints; the message names the ones that exclude everything."""


class SparseSpace(EmptySpace):
    """Valid configs are too few among those drawn to be found: to a search, as good as none."""


class UnsupportedTrace(ValueError):
    """A traced design space that cannot be opened up into integer decisions."""


NOT_SEARCHABLE = (EmptySpace, InvalidSchedule, UnsupportedTrace)
"""What opening a design space or a sketch raises where there is nothing to search in it."""
