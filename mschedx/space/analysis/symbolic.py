"""A program whose integers are expressions of the decisions.

Notation
--------
P : number of probes.
level j of a block with n loops : its loops j … n−1 run, the others stand still; level n is one
    instance of the block.

Loop extents are found first, then how far every block iterator ranges at every level, then the
region every access touches, by interval arithmetic on the expressions of the iterators. What fits
no product of factors is composed: a window is ``Σ |c|·(range − 1) + length``, and the extent of a
loop that copies a region is found among the regions. Several rounds are made, for one kind leads
to the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mschedx.space.expression import Expression, IntArray, add, ceil_div, constant, minimum, multiply
from .affine import Affine, Division, NotAffine, atom_loops, sweep
from .extract import Program
from .fit import Solver

_ROUNDS = 3
_UNKNOWN = -1
"""Stands for "no number" in the arrays of observations; sizes are never negative."""


@dataclass(frozen=True, slots=True)
class Component:
    """One loop's part in a block iterator.

    The loop moves the iterator in ``count`` steps of ``stride``; of the components of one fused
    loop, the one with the smaller ``period`` varies faster.
    """

    loop: int
    count: Expression
    stride: Expression
    period: float


@dataclass(frozen=True)
class SymbolicProgram:
    """Expressions addressed like the program they belong to.

    ``extents[l]`` is loop l's extent; ``ranges[b][v][j]`` how many values iterator v of block b
    spans at level j; ``regions[b][a][d][j]`` how many elements access a spans along dimension d;
    ``components[b][v]`` what the loops do to iterator v. None where no expression reproduces every
    probe; ``problems`` says which and why.
    """

    template: Program
    extents: list[Expression | None]
    ranges: list[list[list[Expression | None]]]
    regions: list[list[list[list[Expression | None]]]]
    components: list[list[list[Component]]]
    problems: dict[str, str]


@dataclass(frozen=True, slots=True)
class _BlockNumbers:
    """What one block showed: ``ranges`` [P, V, n+1], ``regions`` [P, sum of dims, n+1].

    ``steps`` [P, V, n, 3] holds count, stride and period of every loop in every iterator; count 0
    where a loop has no plain part in it, 1 where it does not move it.
    """

    ranges: IntArray
    regions: IntArray
    steps: IntArray


def solve(programs: Sequence[Program], solver: Solver) -> SymbolicProgram:
    """Find the expressions of programs that share one skeleton.

    Parameters
    ----------
    programs : sequence of Program, length P
    solver : Solver
        Made on the configs of the same P probes.
    """
    return _Builder(programs, solver).run()


class _Builder:
    """The rounds of finding; see the module header."""

    def __init__(self, programs: Sequence[Program], solver: Solver) -> None:
        self.programs = programs
        self.template = programs[0]
        self.solver = solver
        self.numbers = [_numbers(programs, b) for b in range(len(self.template.blocks))]
        self.observed_extents = np.array([[x.extent for x in p.loops] for p in programs])
        self.extents: list[Expression | None] = [None] * len(self.template.loops)
        blocks = self.template.blocks
        self.ranges = [[[None] * (len(b.loops) + 1) for _ in b.iters] for b in blocks]
        self.regions = [
            [[[None] * (len(b.loops) + 1) for _ in a.lengths] for a in b.accesses] for b in blocks
        ]
        self.components: list[list[list[Component]]] = [[[] for _ in b.iters] for b in blocks]
        self.problems: dict[str, str] = {}

    def run(self) -> SymbolicProgram:
        for _ in range(_ROUNDS):
            missing = self._missing()
            self._solve_extents()
            for block in range(len(self.template.blocks)):
                self._solve_components(block)
                self._solve_ranges(block)
                self._solve_regions(block)
            if self._missing() in (0, missing):
                break
        self._report()
        return SymbolicProgram(
            self.template, self.extents, self.ranges, self.regions, self.components, self.problems
        )

    def _missing(self) -> int:
        nested = [*self.ranges, *(r for block in self.regions for r in block)]
        return self.extents.count(None) + sum(x.count(None) for part in nested for x in part)

    def _solve_extents(self) -> None:
        for index, found in enumerate(self.extents):
            if found is None:
                values = self.observed_extents[:, index]
                recipe = _once(lambda index=index: self._fused_extent(index))
                self.extents[index] = self.solver.solve(values, recipes=recipe)

    def _fused_extent(self, loop: int) -> Expression | None:
        """Multiply the counts of a fused loop's components."""
        for block, components in zip(self.template.blocks, self.components):
            parts = [c.count for iterator in components for c in iterator if c.loop == loop]
            if loop in block.loops and parts:
                return multiply(*parts)
        return None

    def _solve_components(self, block: int) -> None:
        loops = self.template.blocks[block].loops
        steps = self.numbers[block].steps
        for v in range(len(self.components[block])):
            found = []
            for position, loop in enumerate(loops):
                counts, strides, periods = np.moveaxis(steps[:, v, position], -1, 0)
                moves = counts > 1
                if (counts == 0).any() or not moves.any():
                    continue
                count = self.solver.solve(counts)
                stride = self.solver.solve(strides, moves)
                if count is not None and stride is not None:
                    found.append(Component(loop, count, stride, float(periods[moves].mean())))
            self.components[block][v] = found

    def _solve_ranges(self, block: int) -> None:
        loops = self.template.blocks[block].loops
        for v, found in enumerate(self.ranges[block]):
            for level in reversed(range(len(loops) + 1)):
                values = self.numbers[block].ranges[:, v, level]
                if found[level] is None and (values != _UNKNOWN).all():
                    recipe = _once(lambda v=v, at=level: self._composed_range(block, v, at))
                    found[level] = self.solver.solve(values, recipes=recipe)

    def _composed_range(self, block: int, v: int, level: int) -> Expression | None:
        """``1 + Σ stride·(count − 1)`` over the loops that run."""
        running = self.template.blocks[block].loops[level:]
        terms = [
            multiply(part.stride, add(part.count, constant(-1)))
            for part in self.components[block][v]
            if part.loop in running
        ]
        return expand(add(1, *terms))

    def _solve_regions(self, block: int) -> None:
        row = 0
        for access, found in zip(self.template.blocks[block].accesses, self.regions[block]):
            shape = next(b.shape for b in self.template.buffers if b.name == access.buffer)
            for d, levels in enumerate(found):
                for level in range(len(levels)):
                    values = self.numbers[block].regions[:, row, level]
                    if levels[level] is not None or (values == _UNKNOWN).any():
                        continue
                    recipe = _once(
                        lambda a=access, d=d, at=level: self._composed_region(block, a, d, at)
                    )
                    levels[level] = self.solver.solve(values, recipes=recipe)
                    if levels[level] is not None:
                        # Copies of a region stop at the buffer's edge.
                        self.solver.learn(minimum(levels[level], shape[d]))
                row += 1

    def _composed_region(self, block: int, access, d: int, level: int) -> Expression | None:
        """``length + Σ |c|·(range − 1)`` over the block's iterators."""
        form = access.local[d]
        reach = None if form is None else self._form_range(block, form, level)
        return None if reach is None else expand(add(reach, access.lengths[d] - 1))

    def _form_range(self, block: int, form: Affine, level: int) -> Expression | None:
        terms: list[Expression | int] = [1]
        for atom, coefficient in form.terms:
            if isinstance(atom, Division):
                inner = self._form_range(block, atom.inner, level)
                reach = inner and _divided(inner, atom)
            else:
                reach = self.ranges[block][atom][level]
            if reach is None:
                return None
            terms.append(multiply(abs(coefficient), add(reach, constant(-1))))
        return expand(add(*terms))

    def _report(self) -> None:
        for loop, expression in zip(self.template.loops, self.extents):
            if expression is None:
                self.problems[loop.name] = "no expression has these extents"
        for b, block in enumerate(self.template.blocks):
            for access, found in zip(block.accesses, self.regions[b]):
                mode = "write" if access.is_write else "read"
                for d, levels in enumerate(found):
                    if None in levels:
                        reason = access.problem or "no expression has these sizes"
                        self.problems[f"{block.name}/{access.buffer}.{mode}[{d}]"] = reason


def _divided(inner: Expression, atom: Division) -> Expression:
    """How many values a quotient or remainder takes when its argument spans ``inner``."""
    return minimum(inner, atom.divisor) if atom.remainder else ceil_div(inner, atom.divisor)


def _once(recipe) -> list:
    return [recipe]


def expand(expression: Expression) -> Expression:
    """Multiply monomials out of sums, so that telescoping windows cancel."""
    from mschedx.space.expression import Product, Sum

    if isinstance(expression, Sum):
        return add(*(expand(term) for term in expression.terms))
    if isinstance(expression, Product):
        total: list[Expression] = [constant(1)]
        for factor in expression.factors:
            terms = factor.terms if isinstance(factor, Sum) else (factor,)
            total = [multiply(a, b) for a in total for b in terms]
        return add(*total)
    return expression


def _numbers(programs: Sequence[Program], block: int) -> _BlockNumbers:
    ranges, regions, steps = [], [], []
    for program in programs:
        extents = {index: loop.extent for index, loop in enumerate(program.loops)}
        own = program.blocks[block]
        cache: dict[Affine, list[int]] = {}
        ranges.append([_levels(form, own.loops, extents, cache) for form in own.bindings])
        regions.append(
            [
                [n + length - 1 if n != _UNKNOWN else n for n in reach]
                for access in own.accesses
                for form, length in zip(access.offsets, access.lengths)
                for reach in [_levels(form, own.loops, extents, cache)]
            ]
        )
        steps.append([[*_steps(form, own.loops, extents)] for form in own.bindings])
    own = programs[0].blocks[block]
    probes, n, v = len(programs), len(own.loops), len(own.iters)
    dims = sum(len(access.lengths) for access in own.accesses)
    return _BlockNumbers(
        np.array(ranges, dtype=np.int64).reshape(probes, v, n + 1),
        np.array(regions, dtype=np.int64).reshape(probes, dims, n + 1),
        np.array(steps, dtype=np.int64).reshape(probes, v, n, 3),
    )


def _levels(
    form: Affine | None,
    loops: tuple[int, ...],
    extents: dict[int, int],
    cache: dict[Affine, list[int]],
) -> list[int]:
    """How many values the form spans at every level, `_UNKNOWN` where that is not a number."""
    if form is None:
        return [_UNKNOWN] * (len(loops) + 1)
    if form in cache:
        return cache[form]
    reads = form.loops()
    levels = [1] * (len(loops) + 1)
    for level in reversed(range(len(loops))):
        levels[level] = levels[level + 1]
        if loops[level] in reads:
            try:
                levels[level] = sweep(form, extents, frozenset(loops[level:])) + 1
            except NotAffine:
                levels[level] = _UNKNOWN
    cache[form] = levels
    return levels


def _steps(
    form: Affine | None, loops: tuple[int, ...], extents: dict[int, int]
) -> Iterator[tuple[int, int, int]]:
    """Count, stride and period of every loop in the form."""
    for loop in loops:
        if form is None:
            yield 0, 0, 0
            continue
        parts = [(atom, c) for atom, c in form.terms if loop in atom_loops(atom)]
        if not parts:
            yield 1, 0, 0
        elif len(parts) > 1 or len(atom_loops(parts[0][0])) > 1:
            yield 0, 0, 0
        else:
            (atom, coefficient), *_ = parts
            try:
                count = sweep(Affine(0, ((atom, 1),)), extents, frozenset({loop})) + 1
                yield count, abs(coefficient), _period(atom)
            except NotAffine:
                yield 0, 0, 0


def _period(atom: int | Division) -> int:
    """Steps of the loop between two changes of the atom."""
    if isinstance(atom, int):
        return 1
    inner = atom.inner.terms[0][0]
    return _period(inner) if atom.remainder else _period(inner) * atom.divisor
