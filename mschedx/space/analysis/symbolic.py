"""A program whose integers are expressions of the decisions.

Notation
--------
P : number of probes.
level j of a block with n loops : its loops j … n−1 run, the others stand still; level n is one
    instance of the block.
team level j : the same with all threads of the thread block running too, which is what shared
    memory holds; stored at index n+1+j, and equal to level j where there are no threads.
own level j : the same with every thread standing still, which is what a thread holds; at 2n+2+j.

Loop extents are found first, then how far every block iterator ranges at every level, then the
region every access touches, by interval arithmetic on the expressions of the iterators. What fits
no product of factors is composed: a window is ``Σ |c|·(range − 1) + length``, and the extent of a
loop that copies a region is found among the regions. Several rounds are made, for one kind leads
to the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mschedx.space.expression import (
    Expression,
    IntArray,
    Product,
    Sum,
    add,
    ceil_div,
    constant,
    minimum,
    multiply,
)

from .affine import Affine, Division, NotAffine, atom_loops, sweep
from .extract import Program
from .fit import Recipe, Solver

_ROUNDS = 3
_UNKNOWN = -1
"""Stands for "no number" in the arrays of observations; sizes are never negative."""


@dataclass(frozen=True, slots=True)
class Component:
    """One loop's part in a block iterator.

    The loop moves the iterator in ``count`` steps of ``stride``; of the components of one fused
    loop, the one with the smaller ``period`` varies faster. ``kept`` tells whether the term stays
    in the program where the count is 1; None when it sometimes does.
    """

    loop: int
    count: Expression
    stride: Expression
    period: float
    kept: bool | None


@dataclass(frozen=True)
class Form:
    """An affine value of a block found in expressions: an iterator, or an access along a dimension.

    ``reach[L]`` is how many values it spans at level L (None where no expression reproduces every
    probe), ``components`` what the single loops do to it, ``bound`` the number of values it can
    take at all.
    """

    reach: list[Expression | None]
    components: list[Component]
    bound: Expression | None


@dataclass(frozen=True)
class SymbolicProgram:
    """Expressions addressed like the program they belong to.

    ``extents[l]`` is loop l's extent, ``shapes[b][d]`` dimension d of buffer b,
    ``iters[b][v]`` the form of iterator v of block b and ``regions[b][a][d]`` that of access a
    along dimension d, whose reach counts elements. ``problems`` says what was not found and why.
    """

    template: Program
    extents: list[Expression | None]
    shapes: dict[str, list[Expression | None]]
    iters: list[list[Form]]
    regions: list[list[list[Form]]]
    problems: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What one form showed.

    ``reach`` [P, 3n+3] is `_UNKNOWN` where there is no number. ``steps`` [P, n, 3] holds count,
    stride and period of every loop; the count is 0 where a loop's part is not plain, 1 where it
    does not move the form. ``local`` is an access in the block's iterators when that is the same
    in every probe, and ``length`` the elements from there.
    """

    reach: IntArray
    steps: IntArray
    length: int = 1
    local: Affine | None = None
    bound: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


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
        self.template = programs[0]
        self.solver = solver
        self.observed_extents = np.array([[x.extent for x in p.loops] for p in programs])
        self.extents: list[Expression | None] = [None] * len(self.template.loops)
        self.running = [_running(self.template, b.loops) for b in self.template.blocks]
        self.iters: list[list[Form]] = []
        self.regions: list[list[list[Form]]] = []
        self.numbers: dict[int, _Numbers] = {}
        sizes = {
            buffer.name: np.array([p.buffers[i].shape for p in programs], dtype=np.int64)
            for i, buffer in enumerate(self.template.buffers)
        }
        self.shapes = {
            name: [solver.solve(column) for column in bound.T] for name, bound in sizes.items()
        }
        for b, block in enumerate(self.template.blocks):
            reader = _Reader(programs, b, self.running[b])
            self.iters.append(
                [
                    self._form(b, reader.extent(v), reader.binding(v))
                    for v in range(len(block.iters))
                ]
            )
            self.regions.append(
                [
                    [
                        self._form(b, sizes[access.buffer][:, d], reader.access(a, d))
                        for d in range(len(access.lengths))
                    ]
                    for a, access in enumerate(block.accesses)
                ]
            )

    def _form(self, block: int, bound: IntArray, numbers: _Numbers) -> Form:
        form = Form([None] * len(self.running[block]), [], self.solver.solve(bound))
        self.numbers[id(form)] = replace(numbers, bound=bound)
        return form

    def run(self) -> SymbolicProgram:
        for _ in range(_ROUNDS):
            missing = self._missing()
            self._solve_extents()
            for block in range(len(self.template.blocks)):
                for form in self._forms(block):
                    self._solve_components(block, form)
                    self._solve_reach(block, form)
            if self._missing() in (0, missing):
                break
        return SymbolicProgram(
            self.template, self.extents, self.shapes, self.iters, self.regions, self._problems()
        )

    def _forms(self, block: int) -> list[Form]:
        return [*self.iters[block], *(form for dims in self.regions[block] for form in dims)]

    def _missing(self) -> int:
        forms = [form for block in range(len(self.iters)) for form in self._forms(block)]
        return self.extents.count(None) + sum(form.reach.count(None) for form in forms)

    def _solve_extents(self) -> None:
        for index, found in enumerate(self.extents):
            if found is None:
                values = self.observed_extents[:, index]
                self.extents[index] = self.solver.solve(
                    values, recipes=[lambda index=index: self._fused_extent(index)]
                )

    def _fused_extent(self, loop: int) -> Expression | None:
        """Multiply the counts of a fused loop's components."""
        for block, iters in zip(self.template.blocks, self.iters):
            parts = [c.count for form in iters for c in form.components if c.loop == loop]
            if loop in block.loops and parts:
                return multiply(*parts)
        return None

    def _solve_components(self, block: int, form: Form) -> None:
        form.components.clear()
        for position, loop in enumerate(self.template.blocks[block].loops):
            counts, strides, periods = np.moveaxis(self.numbers[id(form)].steps[:, position], -1, 0)
            present = strides > 0
            if (counts == 0).any() or not present.any():
                continue
            count, stride = self.solver.solve(counts), self.solver.solve(strides, present)
            if count is not None and stride is not None:
                kept = set(present[counts == 1].tolist()) or {True}
                form.components.append(
                    Component(
                        loop,
                        count,
                        stride,
                        period=float(periods[present].mean()),
                        kept=kept.pop() if len(kept) == 1 else None,
                    )
                )

    def _solve_reach(self, block: int, form: Form) -> None:
        numbers = self.numbers[id(form)]
        for level in reversed(range(len(form.reach))):
            values = numbers.reach[:, level]
            if form.reach[level] is not None or (values == _UNKNOWN).any():
                continue
            found = self.solver.solve(
                np.minimum(values, numbers.bound), recipes=self._recipes(block, form, level)
            )
            form.reach[level] = found

    def _recipes(self, block: int, form: Form, level: int) -> Iterator[Recipe]:
        """Ways to compose the reach of a form at a level, clipped to its bound or not."""
        numbers = self.numbers[id(form)]
        if numbers.local is not None:
            local = numbers.local
            yield lambda: _longer(self._local_reach(block, local, level), numbers.length)
        steps = _longer(self._stepped(block, form, level), numbers.length)
        yield lambda: steps
        yield lambda: steps and form.bound and minimum(steps, form.bound)

    def _stepped(self, block: int, form: Form, level: int) -> Expression | None:
        """``1 + Σ stride·(count − 1)`` over the loops that run."""
        running = self.running[block][level]
        terms = [
            multiply(part.stride, add(part.count, constant(-1)))
            for part in form.components
            if part.loop in running
        ]
        return expand(add(1, *terms))

    def _local_reach(self, block: int, form: Affine, level: int) -> Expression | None:
        """``1 + Σ |c|·(reach − 1)`` over the block's iterators."""
        terms: list[Expression | int] = [1]
        for atom, coefficient in form.terms:
            if isinstance(atom, Division):
                inner = self._local_reach(block, atom.inner, level)
                reach = inner and _divided(inner, atom)
            else:
                reach = self.iters[block][atom].reach[level]
            if reach is None:
                return None
            terms.append(multiply(abs(coefficient), add(reach, constant(-1))))
        return expand(add(*terms))

    def _problems(self) -> dict[str, str]:
        problems = {
            loop.name: "no expression has these extents"
            for loop, expression in zip(self.template.loops, self.extents)
            if expression is None
        }
        for block, accesses in zip(self.template.blocks, self.regions):
            for access, dims in zip(block.accesses, accesses):
                mode = "write" if access.is_write else "read"
                for d, form in enumerate(dims):
                    if None in form.reach:
                        reason = access.problem or "no expression has these sizes"
                        problems[f"{block.name}/{access.buffer}.{mode}[{d}]"] = reason
        return problems


def _longer(reach: Expression | None, length: int) -> Expression | None:
    return None if reach is None else expand(add(reach, length - 1))


def _divided(inner: Expression, atom: Division) -> Expression:
    """How many values a quotient or remainder takes when its argument spans ``inner``."""
    return minimum(inner, atom.divisor) if atom.remainder else ceil_div(inner, atom.divisor)


def expand(expression: Expression) -> Expression:
    """Multiply monomials out of sums, so that telescoping windows cancel."""
    if isinstance(expression, Sum):
        return add(*(expand(term) for term in expression.terms))
    if isinstance(expression, Product):
        total: list[Expression] = [constant(1)]
        for factor in expression.factors:
            terms = factor.terms if isinstance(factor, Sum) else (factor,)
            total = [multiply(a, b) for a in total for b in terms]
        return add(*total)
    return expression


def _running(program: Program, loops: tuple[int, ...]) -> list[frozenset[int]]:
    """The loops that run at every level, then at every team level, then at every own level."""
    threads = {i for i in loops if program.loops[i].thread.startswith(("threadIdx", "vthread"))}
    plain = [frozenset(loops[level:]) for level in range(len(loops) + 1)]
    team, alone = [now | threads for now in plain], [now - threads for now in plain]
    return plain + team + alone


class _Reader:
    """Reads the numbers of one block's forms from every probe."""

    def __init__(
        self, programs: Sequence[Program], block: int, running: list[frozenset[int]]
    ) -> None:
        self.extents = [{i: x.extent for i, x in enumerate(p.loops)} for p in programs]
        self.blocks = [p.blocks[block] for p in programs]
        self.running = running
        self.caches: list[dict[Affine | None, tuple]] = [{} for _ in programs]

    def extent(self, v: int) -> IntArray:
        return np.array([block.iters[v][2] for block in self.blocks], dtype=np.int64)

    def binding(self, v: int) -> _Numbers:
        return self._numbers([block.bindings[v] for block in self.blocks])

    def access(self, a: int, d: int) -> _Numbers:
        accesses = [block.accesses[a] for block in self.blocks]
        reach_steps = self._numbers([access.offsets[d] for access in accesses])
        lengths = np.array([access.lengths[d] for access in accesses])
        if (lengths != lengths[0]).any():
            return _Numbers(np.full_like(reach_steps.reach, _UNKNOWN), reach_steps.steps)
        known = reach_steps.reach != _UNKNOWN
        reach = np.where(known, reach_steps.reach + lengths[0] - 1, _UNKNOWN)
        local = {access.local[d] for access in accesses}
        same = local.pop() if len(local) == 1 else None
        return _Numbers(reach, reach_steps.steps, int(lengths[0]), same)

    def _numbers(self, forms: Sequence[Affine | None]) -> _Numbers:
        reach, steps = [], []
        for form, extents, cache in zip(forms, self.extents, self.caches):
            if form not in cache:
                loops = self.blocks[0].loops
                own = [*_steps(form, loops, extents)]
                cache[form] = (_levels(form, self.running, extents), own)
            levels, own = cache[form]
            reach.append(levels)
            steps.append(own)
        probes, n = len(forms), len(self.blocks[0].loops)
        return _Numbers(
            np.array(reach, dtype=np.int64).reshape(probes, len(self.running)),
            np.array(steps, dtype=np.int64).reshape(probes, n, 3),
        )


def _levels(
    form: Affine | None, running: list[frozenset[int]], extents: dict[int, int]
) -> list[int]:
    """How many values the form spans at every level, `_UNKNOWN` where that is not a number."""
    if form is None:
        return [_UNKNOWN] * len(running)
    reads = form.loops()
    by_moving: dict[frozenset[int], int] = {}
    for moving in {reads & loops for loops in running}:
        try:
            by_moving[moving] = sweep(form, extents, moving) + 1
        except NotAffine:
            by_moving[moving] = _UNKNOWN
    return [by_moving[reads & loops] for loops in running]


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
