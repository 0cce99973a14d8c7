"""TVM's marks of parameters that may lie in any layout."""

from __future__ import annotations

from typing import Any

PERFORMED_AHEAD = "meta_schedule.layout_rewrite_preproc"
"""TVM's annotation of a block at the root that is taken out and performed ahead of all calls."""

FREE_LAYOUTS = "layout_free_buffers"
"""TVM's attribute of a function: positions of parameters that may be stored in any layout."""


def free_layouts(function: Any) -> frozenset[int]:
    """Positions of the parameters that a PrimFunc leaves the layout of open."""
    attributes = function.attrs or {}
    return frozenset(int(position) for position in attributes.get(FREE_LAYOUTS, ()))
