"""A program whose integers are expressions of the decisions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...algebra.expression import Expression, IntArray
from ..read.program import Program


@dataclass(frozen=True, slots=True)
class Component:
    """One loop's part in a block iterator.

    The loop moves the iterator in ``count`` steps of ``stride``; of the components of one fused
    loop, the one with the smaller ``period`` varies faster. ``kept`` tells whether the term stays
    in the program where the count is 1; None when it sometimes does. ``every`` is how many
    iterations it takes to move, None where no expression says so. ``falls`` tells whether the
    iterator falls while the loop runs.
    """

    loop: int
    count: Expression
    stride: Expression
    period: float
    kept: bool | None
    every: Expression | None
    falls: bool


@dataclass(frozen=True)
class Form:
    """An affine value of a block found in expressions: an iterator, or an access along a dimension.

    ``reach[L]`` is how many values it spans at level L of `observe` (None where no expression
    reproduces every probe), ``components`` what the single loops do to it, ``bound`` the number of
    values it can take at all. What the ``tangled`` loops do to it is not known for certain.
    """

    reach: list[Expression | None]
    components: list[Component]
    bound: Expression | None
    tangled: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Gap:
    """What too few programs show.

    ``where`` [m] tells which of the unseen configs show it, ``lacking`` how many it takes at least.
    """

    where: NDArray[np.bool_]
    lacking: int


@dataclass(frozen=True)
class SymbolicProgram:
    """Expressions addressed like the program they belong to.

    ``extents[l]`` is loop l's extent, ``shapes[b][d]`` dimension d of buffer b,
    ``iters[b][v]`` the form of iterator v of block b and ``regions[b][a][d]`` that of access a
    along dimension d, whose reach counts elements. ``problems`` says what was not found and why,
    ``disputed`` lists configs [D] at which expressions differ that agree with every program seen.
    ``gaps`` are parts of loops that run in too few of them. ``undecided`` tells that some
    expression was left out because no program decided between it and a rival, or because one
    contradicted it.
    """

    template: Program
    extents: list[Expression | None]
    shapes: dict[str, list[Expression | None]]
    iters: list[list[Form]]
    regions: list[list[list[Form]]]
    problems: dict[str, str]
    disputed: list[IntArray] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    undecided: bool = False

    @property
    def settled(self) -> bool:
        """Whether further programs would show nothing new.

        An expression that no program contradicts was looked for on numbers that are legible in
        enough of them: more can take expressions away, but add none.
        """
        return not (self.disputed or self.gaps or self.undecided)

    def reducing(self, loop: int) -> set[bool | None]:
        """How the loop's reductions take an extent of 1; empty where no block reduces over it.

        The members are the ``kept`` of the reducing components of all blocks below the loop.
        """
        return set().union(*(self.reducing_for(b, loop) for b in range(len(self.iters))))

    def reducing_for(self, block: int, loop: int) -> set[bool | None]:
        """As :meth:`reducing`, of the reducing components of one block."""
        return {
            part.kept
            for (_, kind, _), form in zip(self.template.blocks[block].iters, self.iters[block])
            for part in form.components
            if kind == "reduce" and part.loop == loop
        }
