"""Networks of the literature in plain torch, with published configurations and random weights."""

from .catalogue import CATALOGUE, Entry, make

__all__ = ["CATALOGUE", "Entry", "make"]
