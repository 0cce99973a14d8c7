"""Loop-affine forms of TIR index expressions, and the ranges they sweep.

An index is read as ``constant + Σ coefficient · atom``. An atom is a loop variable (its index in
the program) or a quotient or remainder of another form by a constant: what fused loops leave.
Everything TVM's tiling and fusing produces has this shape; anything else raises `NotAffine`, and
the quantity that needed it is reported rather than guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import Any


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


@dataclass(frozen=True, slots=True)
class Affine:
    """``constant + Σ coefficient · atom``; coefficients are not zero."""

    constant: int
    terms: tuple[tuple[Atom, int], ...] = ()

    def loops(self) -> frozenset[int]:
        """The loop variables the form reads."""
        return frozenset().union(*(atom_loops(atom) for atom, _ in self.terms))

    def scaled(self, factor: int) -> Affine:
        """``factor · self``."""
        if factor == 0:
            return Affine(0)
        return Affine(self.constant * factor, tuple((a, c * factor) for a, c in self.terms))

    def plus(self, other: Affine) -> Affine:
        """``self + other`` with like atoms collected."""
        if not other.terms:
            return Affine(self.constant + other.constant, self.terms)
        collected = dict(self.terms)
        for atom, coefficient in other.terms:
            collected[atom] = collected.get(atom, 0) + coefficient
        terms = tuple((a, c) for a, c in collected.items() if c)
        return Affine(self.constant + other.constant, terms)


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


def evaluate(form: Affine, values: Mapping[int, int]) -> int:
    """Return the form's value where its variables have these values, 0 where none is given."""
    total = form.constant
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

    Parameters
    ----------
    form : Affine
    extents : mapping
        Trip count of every loop the form reads; loops start at 0.
    free : frozenset of int

    Raises
    ------
    NotAffine
        When the range depends on where the fixed loops stand (a tile that is not aligned).
    """
    return sum(abs(c) * _atom_sweep(atom, extents, free) for atom, c in form.terms)


def _atom_sweep(atom: Atom, extents: Mapping[int, int], free: frozenset[int]) -> int:
    if isinstance(atom, int):
        return extents[atom] - 1 if atom in free else 0
    inner, divisor = atom.inner, atom.divisor
    moving = [(a, c, _atom_sweep(a, extents, free)) for a, c in inner.terms]
    width = sum(abs(c) * w for _, c, w in moving)
    if width == 0:
        return 0
    standing = [(a, c) for a, c, w in moving if w == 0 and not _is_still(a, extents)]
    start = inner.constant % divisor
    grid = gcd(divisor, *(c for _, c in standing))
    reach = width + sum(abs(c) * _atom_sweep(a, extents, atom_loops(a)) for a, c in standing)
    positive = all(c > 0 for _, c, _ in moving)
    if start + width < grid or (positive and inner.constant >= 0 and start + reach < divisor):
        # Never leaves one cell of the grid on which the fixed part moves.
        return width if atom.remainder else 0
    if grid < divisor or not positive:
        raise NotAffine("a tile that is not aligned to its divisor")
    if not atom.remainder:
        return (start + width) // divisor
    if start + width < divisor:
        return width
    step = divisor
    for _, c, w in moving:
        if w:
            step = gcd(step, c)
    if start % step:
        raise NotAffine("a remainder that wraps off its grid")
    return divisor - step


def _is_still(atom: Atom, extents: Mapping[int, int]) -> bool:
    """Tell whether the atom is the same at every iteration of all its loops."""
    return all(extents[loop] == 1 for loop in atom_loops(atom))
