"""What is made of a sketch once, and goes with it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch

_Made = TypeVar("_Made")


class PerSketch(Generic[_Made]):
    """Calls ``make(sketch)`` for the first call with a sketch; later ones return the same.

    A sketch is told from others as an object, not by its key. What is made is kept for as long as
    the sketch lives, so it must not hold the sketch.

    Parameters
    ----------
    make : callable
        From a sketch to what is kept; what it raises is raised, and nothing is kept.
    """

    def __init__(self, make: Callable[[Sketch], _Made]) -> None:
        self._make = make
        self._made: weakref.WeakKeyDictionary[Sketch, _Made] = weakref.WeakKeyDictionary()

    def __call__(self, sketch: Sketch) -> _Made:
        if sketch not in self._made:
            self._made[sketch] = self._make(sketch)
        return self._made[sketch]
