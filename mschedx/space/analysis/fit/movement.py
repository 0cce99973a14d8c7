"""How far one form of one program ranges while some loops run, and what single loops do to it.

A form is a sum over loops, but for quotients and remainders of several. What a loop adds to the
range while it runs is found once, so that the range at every level of a nest is a sum of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..read.affine import Affine, Atom, Division, NotAffine, atom_loops, sweep
from ..read.program import UNKNOWN

Step = tuple[int, int, int, int]
"""Count, stride and period of a loop in a form, and 1 where the form falls with it."""

UNCLEAR: Step = (0, 0, 0, 0)
"""Of a loop whose part in the form is not plain."""


@dataclass(frozen=True, slots=True)
class Movement:
    """What loops do to a form.

    Parameters
    ----------
    loops : frozenset of int
        Those that the form reads.
    widths : dict of int to int
        By loop, how far its terms range while it runs; `UNKNOWN` where that is no number.
    joint : Affine
        The terms that several loops move together.
    steps : dict of int to Step
        Of every loop that the form reads.
    """

    loops: frozenset[int]
    widths: Mapping[int, int]
    joint: Affine
    steps: Mapping[int, Step]

    def span(self, running: frozenset[int], extents: Mapping[int, int]) -> int:
        """How many values the form takes while loops run, `UNKNOWN` where that is no number."""
        total = 1
        for loop, width in self.widths.items():
            if loop in running:
                if width == UNKNOWN:
                    return UNKNOWN
                total += width
        if not self.joint.terms:
            return total
        try:
            return total + sweep(self.joint, extents, running)
        except NotAffine:
            return UNKNOWN


def movement_of(form: Affine, extents: Mapping[int, int]) -> Movement:
    """Find what loops do to a form.

    Parameters
    ----------
    form : Affine
        Simplified, see `affine.simplified`.
    extents : mapping of int to int
        Trip count of every loop that the form reads.
    """
    widths: dict[int, int] = {}
    steps: dict[int, Step] = {}
    joint: list[tuple[Atom, int]] = []
    for atom, coefficient in form.terms:
        loops = atom_loops(atom)
        if len(loops) > 1:
            joint.append((atom, coefficient))
            steps.update(dict.fromkeys(loops, UNCLEAR))
            continue
        if not loops:
            continue
        (loop,) = loops
        width, step = _alone(atom, coefficient, loop, extents)
        before = widths.get(loop, 0)
        widths[loop] = UNKNOWN if UNKNOWN in (before, width) else before + width
        steps[loop] = UNCLEAR if loop in steps else step
    return Movement(frozenset(steps), widths, Affine(0, tuple(joint)), steps)


def _alone(atom: Atom, coefficient: int, loop: int, extents: Mapping[int, int]) -> tuple[int, Step]:
    """How far a term of one loop ranges, and its step."""
    size, falls = abs(coefficient), int(coefficient < 0)
    if isinstance(atom, int):
        extent = extents[loop]
        return size * (extent - 1), (extent, size, 1, falls)
    try:
        width = sweep(Affine(0, ((atom, 1),)), extents, frozenset({loop}))
    except NotAffine:
        return UNKNOWN, UNCLEAR
    return size * width, (width + 1, size, _period(atom), falls)


def _period(atom: int | Division) -> int:
    """Steps of the loop between two changes of the atom."""
    if isinstance(atom, int):
        return 1
    inner = atom.inner.terms[0][0]
    return _period(inner) if atom.remainder else _period(inner) * atom.divisor
