"""Python's cyclic garbage collector, held off while there is nothing for it to find."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Hold off the cyclic garbage collector in this block.

    It looks through all that lives each time a quarter more is made. Work that makes many objects
    which live until its end, and hardly any cycles, pays for that and gets nothing: a seventh of
    an analysis, a fifth of importing TVM and torch, a quarter of a network's export. Where it is
    off already it stays off; the first to leave of several threads turns it on again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
