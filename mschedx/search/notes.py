"""What a search tells its user: that it does not, or no longer, do all it was asked to."""

from __future__ import annotations

import logging
from typing import Any

from mschedx.told import listening, pass_on

__all__ = ["listening", "tell"]

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.search")


def tell(level: int, text: str, *arguments: Any) -> None:
    """Log a line, and tell it whoever listens in this thread (`mschedx.told`).

    Parameters
    ----------
    level : int
        As of `logging`.
    text : str
        With the places of ``arguments``, as loggers take them.
    *arguments
    """
    logger.log(level, text, *arguments)
    pass_on(text % arguments)
