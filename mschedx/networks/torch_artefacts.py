"""What was made of one captured graph: for which shapes, and for which weights.

An artefact serves one combination of both. Weights are known by themselves and watched; with them
goes what was made for them. A ready artefact is found in microseconds while another is made, for
minutes perhaps; those who need that one, or one more, wait for their turn. Where there can be none
that is remembered, unless it may pass.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from .watching import Watch

Artefact = Callable[..., Any]

_SHORT_LIVED = 8
"""Sets of weights in a row that may serve one call each before torch runs a graph for good."""

_PAUSE_S = 60.0
"""Seconds for which torch runs what has no artefact, after something that may pass."""


class NotNow(Exception):
    """There is no artefact at present, for a reason that may pass."""


@dataclass(slots=True)
class _Made:
    """What was made with one set of weights.

    Attributes
    ----------
    watch : Watch
        Of the weights.
    artefacts : dict
        By the kinds of inputs; None where none could be made.
    calls : int
        That had an artefact.
    """

    watch: Watch
    artefacts: dict[tuple[Any, ...], Artefact | None] = field(default_factory=dict)
    calls: int = 0


def _forget(
    known: dict[tuple[int, ...], _Made], ids: tuple[int, ...], short_lived: list[tuple[int, ...]]
) -> None:
    """Let go what was made with weights that are gone; at any time, in any thread: without a lock.

    It notes whether they served a single call, and clears such notes where they served more.
    """
    made = known.pop(ids, None)
    if made is None or not any(made.artefacts.values()):
        return
    if made.calls > 1:
        short_lived.clear()
    else:
        short_lived.append(ids)


class Artefacts:
    """Those of one graph, asked for from any thread and made one at a time.

    Parameters
    ----------
    most : int
        Artefacts for weights that are alive.
    leave : callable
        Is told why calls are left to torch from now on.
    """

    def __init__(self, most: int, leave: Callable[[str], None]) -> None:
        self._most, self._leave = most, leave
        self._made: dict[tuple[int, ...], _Made] = {}  # by the ids of weights that are alive
        self._short_lived: list[tuple[int, ...]] = []  # since the last set that served more calls
        self._was_full = False
        self._paused_until = 0.0
        self._begin()

    def _begin(self) -> None:
        """Hold nothing: in a forked process, what other threads held is never given back."""
        self._process = os.getpid()
        self._known = threading.Lock()  # held for microseconds
        self._turn = threading.Lock()  # held while one is made

    def find(
        self,
        weights: Sequence[torch.Tensor],
        inputs: Sequence[Any],
        make: Callable[[], Artefact | None],
    ) -> Artefact | None:
        """What was made for such inputs with these weights, or is made now; None without one.

        Parameters
        ----------
        weights, inputs : sequence
            Of a call.
        make : callable
            Gives the artefact, or None where there can be none, which is remembered; raises
            `NotNow` where there may be one later.
        """
        if self._process != os.getpid():
            self._begin()
        ids, kinds = tuple(map(id, weights)), tuple(map(_kind, inputs))
        with self._known:
            made = self._of(ids, weights)
            if self._is_settled(made, kinds):
                return self._served(made, kinds)
        with self._turn:
            with self._known:  # another thread may have made it meanwhile
                made = self._of(ids, weights)
                if self._is_settled(made, kinds):
                    return self._served(made, kinds)
            # Watched from before on: a write to a weight while it is laid out is seen.
            gone = partial(_forget, self._made, ids, self._short_lived)
            made = made or _Made(Watch(weights, gone))
            try:
                artefact = make()
            except NotNow:
                self._paused_until = time.monotonic() + _PAUSE_S
                return None
            with self._known:
                made.artefacts[kinds] = artefact
                self._made[ids] = made
                return self._served(made, kinds)

    def _of(self, ids: tuple[int, ...], weights: Sequence[torch.Tensor]) -> _Made | None:
        """What was made with these weights, as they are now."""
        made = self._made.get(ids)
        if made is not None and made.watch.has_changed(weights):
            _forget(self._made, ids, self._short_lived)  # they never are again what they were
            return None
        return made

    def _is_settled(self, made: _Made | None, kinds: tuple[Any, ...]) -> bool:
        """Whether nothing is to be made: it is there, or must not be."""
        if made is not None and kinds in made.artefacts:
            return True
        if time.monotonic() < self._paused_until:
            return True
        return self._weights_pass() or not self._has_room()

    @staticmethod
    def _served(made: _Made | None, kinds: tuple[Any, ...]) -> Artefact | None:
        if made is None or kinds not in made.artefacts:
            return None
        made.calls += 1
        return made.artefacts[kinds]

    def _weights_pass(self) -> bool:
        """Whether weights come and go with the calls, so that tuning for them is lost."""
        if len(self._short_lived) < _SHORT_LIVED:
            return False
        self._leave(
            f"its last {_SHORT_LIVED} sets of weights served one call each, and an artefact is "
            "made for one set"
        )
        return True

    def _has_room(self) -> bool:
        """Whether one more artefact is allowed; a warning where none is."""
        made = [one for of in list(self._made.values()) for one in of.artefacts.values()]
        count = sum(artefact is not None for artefact in made)
        if count < self._most:
            return True
        if not self._was_full:
            self._was_full = True
            self._leave(
                f"it has {count} artefacts, one for each combination of shapes and weights, and "
                "max_artefacts allows no more"
            )
        return False


def _kind(value: Any) -> Any:
    """What an artefact depends on of an input."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype, value.device
    return int(value) if isinstance(value, torch.SymInt) else value
