"""Loop-affine forms of TIR index expressions, and the ranges they sweep.

An index is read as ``constant + Σ coefficient · atom``. An atom is a loop variable (its index in
the program) or a quotient or remainder of another form by a constant: what fused loops leave.
Everything TVM's tiling and fusing produces has this shape; anything else raises `NotAffine`, and
the quantity that needed it is reported rather than guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Any

import numpy as np


class NotAffine(ValueError):
    """The expression is not affine in the loop variables (a data-dependent index, say)."""


@dataclass(frozen=True, slots=True)
class Division:
    """``inner // divisor`` or, when ``remainder``, ``inner % divisor``; divisor > 0."""

    inner: Affine
    divisor: int
    remainder: bool

    def loops(self) -> frozenset[int]:
        """The loop variables it reads."""
        return self.inner.loops()


Atom = int | Division


@dataclass(frozen=True)
class Affine:
    """``constant + Σ coefficient · atom``; coefficients are not zero.

    Forms are nested and looked up over and over: each remembers its hash.
    """

    constant: int
    terms: tuple[tuple[Atom, int], ...] = ()

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.constant, self.terms))

    @cached_property
    def is_plain(self) -> bool:
        """Whether no term is a quotient or a remainder."""
        return all(type(atom) is int for atom, _ in self.terms)

    def loops(self) -> frozenset[int]:
        """The loop variables the form reads."""
        found: set[int] = set()
        for atom, _ in self.terms:
            if isinstance(atom, int):
                found.add(atom)
            else:
                found |= atom.loops()
        return frozenset(found)

    def scaled(self, factor: int) -> Affine:
        """``factor · self``."""
        if factor == 1:
            return self
        if factor == 0:
            return Affine(0)
        return Affine(self.constant * factor, tuple((a, c * factor) for a, c in self.terms))

    def plus(self, other: Affine) -> Affine:
        """``self + other`` with like atoms collected."""
        if not other.terms:
            return self if not other.constant else self._moved(other.constant)
        if not self.terms:
            return other if not self.constant else other._moved(self.constant)
        collected = dict(self.terms)
        for atom, coefficient in other.terms:
            collected[atom] = collected.get(atom, 0) + coefficient
        terms = tuple((a, c) for a, c in collected.items() if c)
        return Affine(self.constant + other.constant, terms)

    def _moved(self, by: int) -> Affine:
        return Affine(self.constant + by, self.terms)


def atom_loops(atom: Atom) -> frozenset[int]:
    """Return the loop variables an atom reads."""
    return frozenset({atom}) if isinstance(atom, int) else atom.loops()


def parse(expr: Any, environment: Mapping[int, Affine]) -> Affine:
    """Read a TIR index expression.

    Parameters
    ----------
    expr : tvm PrimExpr
    environment : mapping
        The form of every variable in scope, keyed by ``hash(var)``, which is its identity.

    Raises
    ------
    NotAffine
        When a variable is unknown or an operator is not one of + - * // % with constants.
    """
    kind = type(expr).__name__
    if kind == "IntImm":
        return Affine(int(expr.value))
    if kind == "Var":
        form = environment.get(hash(expr))
        if form is None:
            raise NotAffine(f"variable {expr.name} is bound by no loop")
        return form
    if kind == "Cast":
        return parse(expr.value, environment)
    if kind not in _OPERATORS:
        raise NotAffine(f"{kind} in an index")
    return _OPERATORS[kind](parse(expr.a, environment), parse(expr.b, environment))


def substituted(form: Affine, values: Sequence[Affine | None]) -> Affine:
    """Put ``values[v]`` in the place of every variable v.

    Raises
    ------
    NotAffine
        When a variable that the form reads has no value.
    """
    result = Affine(form.constant)
    for atom, coefficient in form.terms:
        if isinstance(atom, int):
            value = values[atom]
            if value is None:
                raise NotAffine("a block iterator that is not affine in the loops")
        else:
            value = _divide(
                substituted(atom.inner, values), Affine(atom.divisor), remainder=atom.remainder
            )
        result = result.plus(value.scaled(coefficient))
    return result


def _multiply(a: Affine, b: Affine) -> Affine:
    if not b.terms:
        return a.scaled(b.constant)
    if not a.terms:
        return b.scaled(a.constant)
    raise NotAffine("a product of loop variables in an index")


def _divide(a: Affine, b: Affine, remainder: bool) -> Affine:
    if b.terms or b.constant <= 0:
        raise NotAffine("a divisor that is not a positive constant in an index")
    if not a.terms:
        return Affine(a.constant % b.constant if remainder else a.constant // b.constant)
    return Affine(0, ((Division(a, b.constant, remainder), 1),))


_OPERATORS = {
    "Add": lambda a, b: a.plus(b),
    "Sub": lambda a, b: a.plus(b.scaled(-1)),
    "Mul": _multiply,
    "FloorDiv": lambda a, b: _divide(a, b, remainder=False),
    "FloorMod": lambda a, b: _divide(a, b, remainder=True),
}


def evaluate(form: Affine, values: Mapping[int, Any]) -> Any:
    """Return the form's value where its variables have these values, 0 where none is given.

    Parameters
    ----------
    form : Affine
    values : mapping of int to int, or to int64 array
        Arrays of one shape give an array of it.
    """
    total: Any = form.constant
    for atom, coefficient in form.terms:
        if isinstance(atom, int):
            value = values.get(atom, 0)
        else:
            inner = evaluate(atom.inner, values)
            value = inner % atom.divisor if atom.remainder else inner // atom.divisor
        total += coefficient * value
    return total


def sweep(form: Affine, extents: Mapping[int, int], free: frozenset[int]) -> int:
    """Return ``max − min`` of the form when the ``free`` loops run and the others stand still.

    Where the range depends on where the fixed loops stand (a tile that is not aligned to its
    divisor), it is the widest one.

    Parameters
    ----------
    form : Affine
    extents : mapping
        Trip count of every loop the form reads; loops start at 0.
    free : frozenset of int

    Raises
    ------
    NotAffine
        When places or values are too many or too tangled to tell.
    """
    return sum(abs(c) * _atom_sweep(atom, extents, free) for atom, c in form.terms)


def _atom_sweep(atom: Atom, extents: Mapping[int, int], free: frozenset[int]) -> int:
    if isinstance(atom, int):
        return extents[atom] - 1 if atom in free else 0
    inner, divisor = atom.inner, atom.divisor
    if free.isdisjoint(inner.loops()):
        return 0
    if any(c % divisor == 0 for _, c in inner.terms):
        whole, rest = _split(inner, divisor)
        left = _atom_sweep(Division(rest, divisor, atom.remainder), extents, free)
        return left if atom.remainder else left + sweep(whole, extents, free)
    moving = [(a, c, w) for a, c in inner.terms if (w := _atom_sweep(a, extents, free))]
    if not moving:
        return 0
    above = sum(c * w for _, c, w in moving if c > 0)
    below = -sum(c * w for _, c, w in moving if c < 0)
    running = {a for a, _, _ in moving}
    standing = [(a, c) for a, c in inner.terms if a not in running and not _is_still(a, extents)]
    if any(atom_loops(a) & free for a, _ in standing):
        raise NotAffine("a quotient of loops of which some stand and some run")
    places = _residues(inner.constant, standing, divisor, extents)
    if not atom.remainder:
        return max((r + above) // divisor - (r - below) // divisor for r in places)
    if all(r - below >= 0 and r + above < divisor for r in places):
        return above + below
    step = _step(moving)
    if step and divisor % step == 0:
        # A range that wraps holds both ends of its grid.
        wraps = (r - below < 0 or r + above >= divisor for r in places)
        return max(divisor - step if wrapping else above + below for wrapping in wraps)
    values = _residues(0, [(a, c) for a, c, _ in moving], divisor, extents)
    if len(values) * len(places) > _MOST_PLACES:
        raise NotAffine("too many values of a remainder")
    return max(
        max((r + v) % divisor for v in values) - min((r + v) % divisor for v in values)
        for r in places
    )


def _split(form: Affine, divisor: int) -> tuple[Affine, Affine]:
    """Write a form as ``divisor · whole + rest``; the rest's coefficients do not divide."""
    whole = tuple((a, c // divisor) for a, c in form.terms if c % divisor == 0)
    rest = tuple((a, c) for a, c in form.terms if c % divisor)
    return Affine(0, whole), Affine(form.constant, rest)


_MOST_PLACES = 1 << 14


def _residues(
    start: int, terms: Sequence[tuple[Atom, int]], divisor: int, extents: Mapping[int, int]
) -> frozenset[int]:
    """Remainders by the divisor of a sum over all iterations of its loops."""
    found = frozenset({start % divisor})
    for atom, c in terms:
        values: Iterable[int]
        if isinstance(atom, int):
            # Beyond divisor / gcd iterations the remainders repeat.
            values = range(min(extents[atom], divisor // gcd(divisor, c)))
        else:
            loop, *others = atom_loops(atom)
            if others or extents[loop] > _MOST_PLACES:
                raise NotAffine("a quotient of a long loop or of several loops")
            places = np.arange(extents[loop])
            values = set(evaluate(Affine(0, ((atom, 1),)), {loop: places}).tolist())
        offsets = {c * value % divisor for value in values}
        if len(found) * len(offsets) > _MOST_PLACES:
            raise NotAffine("too many places for a tile that is not aligned to its divisor")
        found = frozenset((r + o) % divisor for r in found for o in offsets)
    return found


def _step(moving: Sequence[tuple[Atom, int, int]]) -> int:
    """The grid on which a sum lies without gaps; 0 when there are gaps."""
    parts = sorted((abs(c), w) for _, c, w in moving)
    step, reach = parts[0][0], 0
    for coefficient, width in parts:
        if coefficient % step or coefficient > reach + step:
            return 0
        reach += coefficient * width
    return step


def _is_still(atom: Atom, extents: Mapping[int, int]) -> bool:
    """Tell whether the atom is the same at every iteration of all its loops."""
    return all(extents[loop] == 1 for loop in atom_loops(atom))


def simplified(form: Affine, extents: Mapping[int, int]) -> Affine:
    """Take quotients and remainders apart as far as the loops' extents allow.

    ``(8·i + j) // 4`` becomes ``2·i + j // 4``, and ``2·i`` where ``j`` stays below 4.
    """
    if form.is_plain:
        return form
    result = Affine(form.constant)
    for atom, coefficient in form.terms:
        part = Affine(0, ((atom, 1),))
        if isinstance(atom, Division):
            inner = simplified(atom.inner, extents)
            whole, rest = _split(inner, atom.divisor)
            inside = falls_apart(inner, atom.divisor, extents)
            left = Affine(0, ((Division(rest, atom.divisor, atom.remainder), 1),))
            if atom.remainder:
                part = rest if inside else left
            else:
                part = whole if inside else whole.plus(left)
        result = result.plus(part.scaled(coefficient))
    return result


def falls_apart(form: Affine, divisor: int, extents: Mapping[int, int]) -> bool:
    """Whether a form is multiples of the divisor and a rest that stays in ``0 … divisor − 1``."""
    low, high = _bounds(_split(form, divisor)[1], extents)
    return low >= 0 and high < divisor


def _bounds(form: Affine, extents: Mapping[int, int]) -> tuple[int, int]:
    """Least and greatest value of a form, or bounds of them."""
    low = high = form.constant
    for atom, c in form.terms:
        if isinstance(atom, int):
            first, last = 0, extents[atom] - 1
        elif atom.remainder:
            first, last = 0, atom.divisor - 1
        else:
            first, last = (bound // atom.divisor for bound in _bounds(atom.inner, extents))
        low, high = low + min(c * first, c * last), high + max(c * first, c * last)
    return low, high
