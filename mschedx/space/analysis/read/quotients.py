"""Quotients and remainders of block iterators in accesses, and whether tiles are aligned to them.

What ``x[i // 16]`` touches while a tile of ``i`` runs depends on where the tile stands, unless
tiles begin at multiples of 16 or stay below one: lanes of a packed panel do, rows of a strided read
may not. A quotient is *aligned* where, written in loops, it falls apart into multiples and a rest
that never reaches the divisor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .affine import Affine, Division, NotAffine, falls_apart, simplified, substituted, sweep
from .program import Block, Program


def divides(program: Program, really: bool = False) -> bool:
    """Whether an access of the program has a quotient or remainder of block iterators.

    Parameters
    ----------
    program : Program
    really : bool
        Leave out quotients that are always 0, as in a convolution of one group.
    """
    return any(not (really and _is_still(atom, block)) for block, _, atom in _quotients(program))


def misaligned(programs: Sequence[Program]) -> bool:
    """Whether decisions make tiles that are not aligned to a quotient of block iterators.

    Parameters
    ----------
    programs : sequence of Program
        Of one structure, corners among them: an outer loop that takes a whole extent moves in steps
        as small as any, so that where tiles can be misaligned at all a corner shows it.

    Returns
    -------
    bool
        False where all programs are aligned, and for quotients that are the same in all of them.
    """
    known: dict[Place, object] = {}
    unsettled: set[Place] = set()
    for program in programs:
        for block, place, atom in _quotients(program):
            written = _in_loops(atom, block, program)
            if written is None:
                return True
            form, extents = written
            if not falls_apart(form, atom.divisor, extents):
                unsettled.add(place)
            now = (form, extents)
            if known.setdefault(place, now) != now:
                known[place] = _VARIES
        if any(known[place] is _VARIES for place in unsettled):
            return True
    return False


Place = tuple[str, int, int, int]
"""Block, access, dimension, and which quotient of it."""

_VARIES = object()
"""Stands for a quotient that is another one in another program."""


def _in_loops(
    atom: Division, block: Block, program: Program
) -> tuple[Affine, dict[int, int]] | None:
    """What is divided, in loops, and these loops' extents; None where a binding is not affine."""
    extents = {loop: program.loops[loop].extent for loop in block.loops}
    try:
        form = simplified(substituted(atom.inner, block.bindings), extents)
    except NotAffine:
        return None
    return form, {loop: extents[loop] for loop in form.loops()}


def _quotients(program: Program) -> Iterator[tuple[Block, Place, Division]]:
    """Every quotient and remainder of an access, nested ones too, and where it stands."""
    for block in program.blocks:
        for a, access in enumerate(block.accesses):
            for d, form in enumerate(access.local):
                if form is not None and not form.is_plain:
                    for number, atom in enumerate(_nested(form)):
                        yield block, (block.name, a, d, number), atom


def _nested(form: Affine) -> Iterator[Division]:
    for atom, _ in form.terms:
        if isinstance(atom, Division):
            yield atom
            yield from _nested(atom.inner)


def _is_still(atom: Division, block: Block) -> bool:
    extents = {v: extent for v, (_, _, extent) in enumerate(block.iters)}
    try:
        return not sweep(Affine(0, ((atom, 1),)), extents, frozenset(extents))
    except NotAffine:
        return False
