"""Find the expressions behind a program's integers.

Loop extents are found first, then how far every block iterator ranges at every level, then the
region every access touches, by interval arithmetic on the expressions of the iterators. What fits
no product of factors is composed: a window is ``Σ |c|·(range − 1) + length``, and the extent of a
loop that copies a region is found among the regions. Several rounds are made, for one kind leads
to the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...algebra.expression import (
    Expression,
    IntArray,
    Product,
    Sum,
    add,
    ceil_div,
    constant,
    floor_div,
    minimum,
    multiply,
    where_at_most,
    where_divides,
)
from ..policy import Scrutiny
from ..read.affine import Affine, Division
from ..read.program import Access
from .integers import LEGIBLE, Recipe, Solver
from .numbers import UNKNOWN, Numbers, Observations
from .symbolic import Component, Form, Gap, SymbolicProgram

_ROUNDS = 3

NOT_FOUND = "no expression has"
"""How the reason begins where the replays agree with no expression."""


def solve(
    observed: Observations,
    solver: Solver,
    unseen: IntArray | None = None,
    scrutiny: Scrutiny | None = None,
) -> SymbolicProgram:
    """Find the expressions of the programs observed.

    Parameters
    ----------
    observed : Observations
    solver : Solver
        Made on the configs of the same P probes.
    unseen : int64 array [m, D], optional
        Configs that nothing was seen of: expressions are kept within their bounds there, and those
        of accesses with quotients are compared with their rivals.
    scrutiny : Scrutiny, optional
    """
    return _Builder(observed, solver, unseen, scrutiny or Scrutiny()).run()


def withdraw(found: SymbolicProgram, observed: Observations, configs: IntArray) -> SymbolicProgram:
    """Drop the expressions that other programs contradict, and say so in ``problems``.

    Parameters
    ----------
    found : SymbolicProgram
        Its lists and ``problems`` are changed in place.
    observed : Observations
        Of programs with the same skeleton that no expression was fitted on.
    configs : int64 array [P, D]

    Returns
    -------
    SymbolicProgram
        ``undecided`` where something was dropped.
    """
    before = len(found.problems)
    values: dict[Expression, IntArray] = {}

    def holds(expression: Expression | None, seen: IntArray) -> bool:
        if expression is None:
            return True
        if expression not in values:
            values[expression] = expression(configs)
        return bool((values[expression] == seen)[seen != UNKNOWN].all())

    for index, loop in enumerate(found.template.loops):
        if not holds(found.extents[index], observed.extents[:, index]):
            found.extents[index] = None
            found.problems[loop.name] = "an expression failed on a held-out config"
    for b, block in enumerate(found.template.blocks):
        for access, dims, numbers in zip(block.accesses, found.regions[b], observed.regions[b]):
            for d, (form, own) in enumerate(zip(dims, numbers)):
                seen = np.where(
                    own.reach == UNKNOWN, UNKNOWN, np.minimum(own.reach, own.bound[:, None])
                )
                for level, expression in enumerate(form.reach):
                    if not holds(expression, seen[:, level]):
                        form.reach[level] = None
                        name = access_name(block.name, access, d)
                        found.problems[name] = "an expression failed on a held-out config"
    return replace(found, undecided=found.undecided or len(found.problems) > before)


def access_name(block: str, access: Access, d: int) -> str:
    """Name one dimension of an access."""
    return f"{block}/{access.buffer}.{'write' if access.is_write else 'read'}[{d}]"


class _Builder:
    """The rounds of finding; see the module header."""

    def __init__(
        self,
        observed: Observations,
        solver: Solver,
        unseen: IntArray | None,
        scrutiny: Scrutiny,
    ) -> None:
        self.scrutiny = scrutiny
        self.undecided = False
        self.gaps: dict[tuple[int, Expression | None], Gap] = {}
        self.evidence: dict[tuple[bytes, Expression], int] = {}
        self.template = observed.template
        self.unseen = solver.configs[:0] if unseen is None else unseen
        self.disputed: dict[bytes, IntArray] = {}
        self.elsewhere: dict[Expression, IntArray] = {}
        self.solver = solver
        self.observed = observed
        self.running = observed.running
        self.extents: list[Expression | None] = [None] * len(self.template.loops)
        self.shapes = {
            name: [solver.solve(column) for column in sizes.T]
            for name, sizes in observed.shapes.items()
        }
        self.numbers: dict[int, Numbers] = {}
        self.iters = [
            [self._form(b, own) for own in forms] for b, forms in enumerate(observed.iters)
        ]
        self.regions = [
            [[self._form(b, own) for own in dims] for dims in accesses]
            for b, accesses in enumerate(observed.regions)
        ]

    def _form(self, block: int, numbers: Numbers) -> Form:
        form = Form([None] * len(self.running[block]), [], self.solver.solve(numbers.bound))
        self.numbers[id(form)] = numbers
        return form

    def run(self) -> SymbolicProgram:
        for _ in range(_ROUNDS):
            missing = self._missing()
            self.gaps.clear()
            self._solve_extents()
            for block in range(len(self.template.blocks)):
                self._solve_forms(block)
            if self._missing() in (0, missing):
                break
        return SymbolicProgram(
            self.template,
            self.extents,
            self.shapes,
            self.iters,
            self.regions,
            self._problems(),
            list(self.disputed.values()),
            list(self.gaps.values()),
            self.undecided,
        )

    def _solve_forms(self, block: int) -> None:
        """Solve the forms of a block; of those that showed the same numbers, the first."""
        alike: dict[tuple, Form] = {}
        for form in self._forms(block):
            numbers = self.numbers[id(form)]
            shown = (numbers.reach, numbers.steps, numbers.bound)
            key = (*(part.tobytes() for part in shown), numbers.local, numbers.length)
            before = alike.setdefault(key, form)
            if before is form:
                self._solve_components(block, form)
                self._solve_reach(block, form)
            else:
                form.components[:] = before.components
                form.reach[:] = before.reach
                form.tangled.clear()
                form.tangled.update(before.tangled)

    def _forms(self, block: int) -> list[Form]:
        return [*self.iters[block], *(form for dims in self.regions[block] for form in dims)]

    def _missing(self) -> int:
        forms = [form for block in range(len(self.iters)) for form in self._forms(block)]
        return self.extents.count(None) + sum(form.reach.count(None) for form in forms)

    def _solve_extents(self) -> None:
        for index, found in enumerate(self.extents):
            if found is None:
                values = self.observed.extents[:, index]
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
        form.tangled.clear()
        # Each [loops, P].
        counts, strides, periods, falls = self.numbers[id(form)].steps.transpose(2, 1, 0)
        present, plain = strides > 0, counts > 0
        loops = self.template.blocks[block].loops
        form.tangled.update(loops[p] for p in np.flatnonzero(~plain.all(axis=1)))
        for p in np.flatnonzero((plain.mean(axis=1) >= LEGIBLE) & present.any(axis=1)):
            count = self.solver.solve(counts[p], plain[p])
            stride = self.solver.solve(strides[p], present[p])
            lacking = self._lacking(present[p], count)
            if count is None or stride is None or lacking:
                # A rule may rest on such a stride where it holds, but it is no quantity.
                form.tangled.add(loops[p])
            if lacking:
                self._note_gap(loops[p], count, lacking)
            if count is not None and stride is not None:
                kept = set(present[p][counts[p] == 1].tolist()) or {True}
                form.components.append(
                    Component(
                        loops[p],
                        count,
                        stride,
                        period=float(periods[p][present[p]].mean()),
                        kept=kept.pop() if len(kept) == 1 else None,
                        every=self.solver.solve(periods[p], present[p]),
                        falls=bool(falls[p].any()),
                    )
                )

    def _note_gap(self, loop: int, count: Expression | None, lacking: int) -> None:
        before = self.gaps.get((loop, count))
        if before is None or before.lacking < lacking:
            self.gaps[loop, count] = Gap(self._running(loop, count), lacking)

    def _running(self, loop: int, count: Expression | None) -> NDArray[np.bool_]:
        """At which unseen configs a part of a loop is present, as far as that is known: [n]."""
        of_loop = count or self.extents[loop]
        if of_loop is None:
            return np.ones(len(self.unseen), dtype=bool)
        return self._at(of_loop) > 1

    def _lacking(self, present: NDArray[np.bool_], count: Expression | None) -> int:
        """How many more programs where a part of a loop is present show all it may depend on."""
        if count is None:
            return max(0, self.solver.enough - int(present.sum()))
        key = (present.tobytes(), count)
        if key not in self.evidence:
            elsewhere = self.unseen[self._at(count) > 1]
            self.evidence[key] = len(elsewhere) and self.solver.lacking(present, elsewhere)
        return self.evidence[key]

    def _solve_reach(self, block: int, form: Form) -> None:
        numbers = self.numbers[id(form)]
        if None not in form.reach:
            return
        moving = self._moving(block, form)
        shares = (numbers.reach != UNKNOWN).mean(axis=0)
        # Levels are alike that differ in loops which do not move the form.
        known: dict[frozenset[int], Expression] = {}
        for level in reversed(range(len(form.reach))):
            running = self.running[block][level] & moving
            if form.reach[level] is None:
                form.reach[level] = known.get(running)
            if form.reach[level] is not None or shares[level] < LEGIBLE:
                continue
            legible = numbers.reach[:, level] != UNKNOWN
            values = np.minimum(numbers.reach[:, level], numbers.bound)
            found = self.solver.solve(values, legible, self._recipes(block, form, level))
            if found is not None:
                found = self._within(found, form.bound)
                rivals = self._recipes(block, form, level)
                disputed = self._dispute(found, form.bound, values, legible, rivals, numbers)
                if disputed and self.scrutiny.drop:
                    found, self.undecided = None, True
            if found is not None:
                known[running] = found
            form.reach[level] = found

    def _moving(self, block: int, form: Form) -> set[int]:
        """The loops that move a form, or an iterator that it reads."""
        local = self.numbers[id(form)].local
        read = () if local is None else local.loops()  # whose variables are iterators
        forms = [form, *(self.iters[block][v] for v in read)]
        return {part.loop for one in forms for part in one.components}.union(
            *(one.tangled for one in forms)
        )

    def _at(self, expression: Expression) -> IntArray:
        """Values of an expression at the unseen configs."""
        if expression not in self.elsewhere:
            self.elsewhere[expression] = expression(self.unseen)
        return self.elsewhere[expression]

    def _within(self, found: Expression, bound: Expression | None) -> Expression:
        """Clip what exceeds its bound at configs that no program was seen of."""
        if bound is None or not len(self.unseen) or (self._at(found) <= self._at(bound)).all():
            return found
        return minimum(found, bound)

    def _dispute(
        self,
        found: Expression,
        bound: Expression | None,
        values: IntArray,
        legible: NDArray[np.bool_],
        recipes: Iterator[Recipe],
        numbers: Numbers,
    ) -> bool:
        """Note where the first rival that agrees with the programs differs from ``found``.

        With quotients, what is touched is a product of factors for most tiles and something else
        for rare ones; the composed expression is the rival that knows of these.
        """
        form = numbers.local
        divides = form and any(isinstance(atom, Division) for atom, _ in form.terms)
        if not (divides or self.scrutiny.every) or not len(self.unseen):
            return False
        for recipe in recipes:
            rival = recipe()
            if rival is None or rival == found:
                continue
            if bound is not None and rival == minimum(found, bound):
                return False  # see `_within`
            if not self.solver.agrees(rival, values, legible):
                continue
            apart = np.flatnonzero(self._at(rival) != self._at(found))
            for position in {*apart[:1], *apart[-1:]}:
                config = self.unseen[position]
                self.disputed.setdefault(config.tobytes(), config)
            return len(apart) > 0
        return False

    def _recipes(self, block: int, form: Form, level: int) -> Iterator[Recipe]:
        """Ways to compose the reach of a form at a level, clipped to its bound or not."""
        numbers = self.numbers[id(form)]
        if numbers.local is not None:
            for anywhere in (True, False):
                reach = self._local_reach(block, numbers.local, level, anywhere)
                whole = _longer(reach, numbers.length)
                yield lambda whole=whole: whole
                yield lambda whole=whole: whole and form.bound and minimum(whole, form.bound)
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

    def _local_reach(
        self, block: int, form: Affine, level: int, anywhere: bool = False
    ) -> Expression | None:
        """``1 + Σ |c|·(reach − 1)`` over the block's iterators.

        With ``anywhere`` quotients count for tiles that need not be aligned to the divisor.
        """
        terms: list[Expression | int] = [1]
        for atom, coefficient in form.terms:
            if isinstance(atom, Division):
                inner = self._local_reach(block, atom.inner, level, anywhere)
                reach = inner and _divided(inner, atom)
                if reach and anywhere and not atom.remainder:
                    reach = self._unaligned(block, atom, add(inner or 1, -1), level)
            else:
                reach = self.iters[block][atom].reach[level]
            if reach is None:
                return None
            terms.append(multiply(abs(coefficient), add(reach, constant(-1))))
        return expand(add(*terms))

    def _unaligned(
        self, block: int, atom: Division, width: Expression, level: int
    ) -> Expression | None:
        """The most values a quotient takes, wherever the loops that do not run stand.

        These move its argument on a grid of ``g``; at worst it starts ``g`` below a multiple of
        the divisor ``d``, so that it takes ``1 + ⌊(d − g + width) / d⌋`` values.
        """
        divisor = constant(atom.divisor)
        grids: list[Expression] = [divisor]
        for v, coefficient in atom.inner.terms:
            if isinstance(v, Division) or atom.inner.constant:
                return None
            for part in self.iters[block][v].components:
                if part.loop not in self.running[block][level]:
                    stride = multiply(abs(coefficient), part.stride)
                    finer = where_divides(stride, divisor, stride, 1)
                    grid = where_divides(divisor, stride, divisor, finer)
                    grids.append(where_at_most(part.count, 1, divisor, grid))
        start = add(divisor, multiply(-1, minimum(*grids)))
        return add(1, floor_div(add(start, width), divisor))

    def _problems(self) -> dict[str, str]:
        problems = {
            loop.name: f"{NOT_FOUND} these extents"
            for loop, expression in zip(self.template.loops, self.extents)
            if expression is None
        }
        for block, accesses in zip(self.template.blocks, self.regions):
            for access, dims in zip(block.accesses, accesses):
                for d, form in enumerate(dims):
                    if None in form.reach:
                        reason = access.problem or f"{NOT_FOUND} these sizes"
                        problems[access_name(block.name, access, d)] = reason
        if self.scrutiny.every and self.gaps:
            problems["strides"] = "too few programs show them"
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
