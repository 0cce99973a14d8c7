"""Where the analysis of a design joins the sketch; a sketch without one knows its tables only."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from typing import Any

from .constraints import Constraint
from .expression import Expression


@dataclass(frozen=True)
class Analysis:
    """What is known of a design, as exact functions of its decisions.

    Parameters
    ----------
    quantities : dict of str to Expression
    constraints : tuple of Constraint
    unresolved : dict of str to str
        Quantities that have no exact expression here, with the reason.
    """

    quantities: dict[str, Expression] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()
    unresolved: dict[str, str] = field(default_factory=dict)


def analyse(design: Any) -> Any:
    """Derive quantities and constraints of a design."""
    package = importlib.util.find_spec("mschedx.space.analysis")
    if package is None or package.origin is None:
        return Analysis()
    return importlib.import_module("mschedx.space.analysis").analyse(design)
