"""Exact integer expressions of a sketch's decisions.

Notation
--------
n : number of configs evaluated at once.
D : number of decisions (columns of a config matrix).
x : config matrix ``[n, D]``; column ``d`` holds the *value* of decision ``d``: the factor of a
    tile decision, the candidate (not its index) of a categorical one.

An expression is a small immutable tree. Called, it evaluates itself exactly; a `tape.Tape` does so
for many at once: exactly, between bounds, or relaxed to real numbers. Monomials are the leaves, for
nearly everything a schedule computes is a product of tile factors; sums of them are the windows of
convolutions, and ``CeilDiv``, ``FloorDiv``, ``Min``, ``Max`` are what bounds and predicates add.
What each of these does is said in `operations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import operations
from .operations import Operation

IntArray = NDArray[np.int64]


class Expression:
    """An integer function of a config; see the module header for the notation."""

    def __call__(self, configs: IntArray) -> IntArray:
        """Evaluate exactly.

        Parameters
        ----------
        configs : int array [n, D]

        Returns
        -------
        int64 array [n]
        """
        return self.operation.exact(*(part(configs) for part in self.parts))

    @property
    def operation(self) -> Operation:
        """What is done to the values of the parts; a monomial is a leaf and has none."""
        raise NotImplementedError

    @property
    def columns(self) -> frozenset[int]:
        """The decisions this expression reads."""
        return frozenset().union(*(part.columns for part in self.parts))

    @property
    def parts(self) -> tuple[Expression, ...]:
        """The direct sub-expressions."""
        return ()

    def format(self, names: Sequence[str] | None = None) -> str:
        """Write as a formula; ``names[d]`` stands for column ``d``."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.format()

    def __add__(self, other: Expression | int) -> Expression:
        return add(self, other)

    def __radd__(self, other: int) -> Expression:
        return add(other, self)

    def __sub__(self, other: Expression | int) -> Expression:
        return add(self, multiply(-1, other))

    def __mul__(self, other: Expression | int) -> Expression:
        return multiply(self, other)

    def __rmul__(self, other: int) -> Expression:
        return multiply(other, self)


@dataclass(frozen=True, slots=True)
class Monomial(Expression):
    """``coefficient · Π x[d] ** exponent``; exponents are positive and sorted by column."""

    coefficient: int
    exponents: tuple[tuple[int, int], ...] = ()

    def __call__(self, configs: IntArray) -> IntArray:
        value = np.full(len(configs), self.coefficient, dtype=np.int64)
        for column, exponent in self.exponents:
            for _ in range(exponent):
                value *= configs[:, column]
        return value

    @property
    def columns(self) -> frozenset[int]:
        return frozenset(column for column, _ in self.exponents)

    def format(self, names: Sequence[str] | None = None) -> str:
        def name(column: int) -> str:
            return names[column] if names else f"x{column}"

        powers = [name(c) if e == 1 else f"{name(c)}^{e}" for c, e in self.exponents]
        if self.coefficient != 1 or not powers:
            powers.insert(0, str(self.coefficient))
        return "·".join(powers)


@dataclass(frozen=True, slots=True)
class Sum(Expression):
    """The sum of its terms; a convolution's window is ``Σ c·(m − 1) + 1``."""

    terms: tuple[Expression, ...]

    @property
    def operation(self) -> Operation:
        return operations.ADD

    @property
    def parts(self) -> tuple[Expression, ...]:
        return self.terms

    def format(self, names: Sequence[str] | None = None) -> str:
        text = " + ".join(term.format(names) for term in self.terms).replace("+ -", "- ")
        return f"({text})"


@dataclass(frozen=True, slots=True)
class Product(Expression):
    """The product of factors that are not all monomials."""

    factors: tuple[Expression, ...]

    @property
    def operation(self) -> Operation:
        return operations.MULTIPLY

    @property
    def parts(self) -> tuple[Expression, ...]:
        return self.factors

    def format(self, names: Sequence[str] | None = None) -> str:
        return "·".join(factor.format(names) for factor in self.factors)


@dataclass(frozen=True, slots=True)
class _Division(Expression):
    numerator: Expression
    denominator: Expression

    @property
    def parts(self) -> tuple[Expression, ...]:
        return (self.numerator, self.denominator)


@dataclass(frozen=True, slots=True)
class CeilDiv(_Division):
    """``⌈numerator / denominator⌉``, denominator > 0."""

    @property
    def operation(self) -> Operation:
        return operations.CEIL_DIV

    def format(self, names: Sequence[str] | None = None) -> str:
        return f"⌈{self.numerator.format(names)} / {self.denominator.format(names)}⌉"


@dataclass(frozen=True, slots=True)
class FloorDiv(_Division):
    """``⌊numerator / denominator⌋``, denominator > 0."""

    @property
    def operation(self) -> Operation:
        return operations.FLOOR_DIV

    def format(self, names: Sequence[str] | None = None) -> str:
        return f"⌊{self.numerator.format(names)} / {self.denominator.format(names)}⌋"


@dataclass(frozen=True, slots=True)
class Min(Expression):
    """The least of its arguments."""

    arguments: tuple[Expression, ...]

    @property
    def operation(self) -> Operation:
        return operations.MIN

    @property
    def parts(self) -> tuple[Expression, ...]:
        return self.arguments

    def format(self, names: Sequence[str] | None = None) -> str:
        return f"min({', '.join(a.format(names) for a in self.arguments)})"


@dataclass(frozen=True, slots=True)
class Max(Expression):
    """The greatest of its arguments."""

    arguments: tuple[Expression, ...]

    @property
    def operation(self) -> Operation:
        return operations.MAX

    @property
    def parts(self) -> tuple[Expression, ...]:
        return self.arguments

    def format(self, names: Sequence[str] | None = None) -> str:
        return f"max({', '.join(a.format(names) for a in self.arguments)})"


@dataclass(frozen=True, slots=True)
class Lookup(Expression):
    """``table[x[column]]``: a quantity that a categorical decision selects."""

    column: int
    table: tuple[tuple[int, int], ...]

    @property
    def operation(self) -> Operation:
        return operations.lookup(self.table)

    @property
    def parts(self) -> tuple[Expression, ...]:
        return (Monomial(1, ((self.column, 1),)),)

    def format(self, names: Sequence[str] | None = None) -> str:
        name = names[self.column] if names else f"x{self.column}"
        return f"{{{', '.join(f'{k}: {v}' for k, v in self.table)}}}[{name}]"


@dataclass(frozen=True, slots=True)
class Where(Expression):
    """``then`` where the test holds, ``otherwise`` elsewhere.

    The test is ``left <= right`` or, with ``divides``, ``left % right == 0`` (right > 0).
    """

    left: Expression
    right: Expression
    divides: bool
    then: Expression
    otherwise: Expression

    @property
    def operation(self) -> Operation:
        return operations.WHERE_DIVIDES if self.divides else operations.WHERE_AT_MOST

    @property
    def parts(self) -> tuple[Expression, ...]:
        return (self.left, self.right, self.then, self.otherwise)

    def format(self, names: Sequence[str] | None = None) -> str:
        left, right, then, otherwise = (part.format(names) for part in self.parts)
        test = f"{left} % {right} == 0" if self.divides else f"{left} <= {right}"
        return f"({then} if {test} else {otherwise})"


@lru_cache(maxsize=1 << 12)
def constant(value: int) -> Monomial:
    """Return the expression that is ``value`` for every config."""
    return Monomial(int(value))


def constant_value(expression: Expression) -> int:
    """The value of an expression that reads no decision."""
    return int(expression(np.zeros((1, 0), dtype=np.int64))[0])


def column(index: int) -> Monomial:
    """Return the expression that reads decision ``index``."""
    return Monomial(1, ((index, 1),))


def monomial(coefficient: int, exponents: Mapping[int, int]) -> Monomial:
    """Return ``coefficient · Π x[d] ** exponents[d]``; zero exponents are dropped."""
    if any(e < 0 for e in exponents.values()):
        raise ValueError(f"expected exponents >= 0, got {dict(exponents)}")
    return Monomial(int(coefficient), tuple(sorted((c, e) for c, e in exponents.items() if e)))


def _lift(value: Expression | int) -> Expression:
    return value if isinstance(value, Expression) else constant(value)


def add(*terms: Expression | int) -> Expression:
    """Sum with like monomials collected."""
    collected: dict[tuple[tuple[int, int], ...], int] = {}
    others: list[Expression] = []
    stack = list(reversed(terms))
    while stack:
        term = stack.pop()
        if isinstance(term, Monomial):
            collected[term.exponents] = collected.get(term.exponents, 0) + term.coefficient
        elif isinstance(term, Sum):
            stack.extend(reversed(term.terms))
        elif isinstance(term, Expression):
            others.append(term)
        else:
            collected[()] = collected.get((), 0) + int(term)
    monomials = [Monomial(c, e) for e, c in collected.items() if c]
    if len(monomials) > 1:
        # The constant reads best last: (2·h.1 + kh.0 - 2).
        monomials.sort(key=lambda m: not m.exponents)
    parts: list[Expression] = [*others, *monomials]
    if not parts:
        return constant(0)
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))


def multiply(*factors: Expression | int) -> Expression:
    """Multiply; monomials merge into one, and a constant distributes over a sum."""
    coefficient, exponents, others = 1, {}, []
    stack = list(reversed(factors))
    while stack:
        factor = stack.pop()
        if isinstance(factor, Monomial):
            coefficient *= factor.coefficient
            for c, e in factor.exponents:
                exponents[c] = exponents.get(c, 0) + e
        elif isinstance(factor, Product):
            stack.extend(reversed(factor.factors))
        elif isinstance(factor, Expression):
            others.append(factor)
        else:
            coefficient *= int(factor)
    if coefficient == 0:
        return constant(0)
    head = Monomial(coefficient, tuple(sorted(exponents.items())))
    if not others:
        return head
    if len(others) == 1 and isinstance(others[0], Sum) and not exponents:
        terms = others[0].terms
        return others[0] if coefficient == 1 else add(*(multiply(coefficient, t) for t in terms))
    if coefficient == 1 and not exponents:
        return others[0] if len(others) == 1 else Product(tuple(others))
    return Product((head, *others))


def _fold(kind: type, pick: Any, arguments: Sequence[Expression | int]) -> Expression:
    lifted = dict.fromkeys(map(_lift, arguments))
    known = [a.coefficient for a in lifted if isinstance(a, Monomial) and not a.exponents]
    rest = [a for a in lifted if not (isinstance(a, Monomial) and not a.exponents)]
    if known:
        rest.append(constant(pick(known)))
    return rest[0] if len(rest) == 1 else kind(tuple(rest))


def minimum(*arguments: Expression | int) -> Expression:
    """Return the least argument; constants fold."""
    return _fold(Min, min, arguments)


def maximum(*arguments: Expression | int) -> Expression:
    """Return the greatest argument; constants fold."""
    return _fold(Max, max, arguments)


def _divide(kind: type, rounding: Any, a: Expression | int, b: Expression | int) -> Expression:
    a, b = _lift(a), _lift(b)
    if b == constant(1):
        return a
    if isinstance(a, Monomial) and isinstance(b, Monomial):
        left, right = dict(a.exponents), dict(b.exponents)
        if a.coefficient % b.coefficient == 0 and all(
            left.get(c, 0) >= e for c, e in right.items()
        ):
            quotient = {c: e - right.get(c, 0) for c, e in left.items()}
            return monomial(a.coefficient // b.coefficient, quotient)
        if not left and not right:
            return constant(rounding(a.coefficient, b.coefficient))
    return kind(a, b)


def ceil_div(a: Expression | int, b: Expression | int) -> Expression:
    """``⌈a / b⌉``; cancels when ``b`` is known to divide ``a``."""
    return _divide(CeilDiv, lambda p, q: -(-p // q), a, b)


def floor_div(a: Expression | int, b: Expression | int) -> Expression:
    """``⌊a / b⌋``; cancels when ``b`` is known to divide ``a``."""
    return _divide(FloorDiv, lambda p, q: p // q, a, b)


def _literal(expression: Expression) -> int | None:
    """The value of a constant expression."""
    if isinstance(expression, Monomial) and not expression.exponents:
        return expression.coefficient
    return None


def fold(operation: Operation, parts: Sequence[Expression]) -> Expression:
    """Apply an associative operation, folding what is known."""
    return _FOLDS[operation](*parts)


_FOLDS: dict[Operation, Callable[..., Expression]] = {
    operations.ADD: add,
    operations.MULTIPLY: multiply,
    operations.MIN: minimum,
    operations.MAX: maximum,
}


def where_at_most(
    left: Expression | int,
    right: Expression | int,
    then: Expression | int,
    otherwise: Expression | int,
) -> Expression:
    """``then`` where ``left <= right``, else ``otherwise``; a test between constants folds."""
    left, right, then, otherwise = map(_lift, (left, right, then, otherwise))
    a, b = _literal(left), _literal(right)
    if then == otherwise:
        return then
    if a is not None and b is not None:
        return then if a <= b else otherwise
    return Where(left, right, False, then, otherwise)


def where_divides(
    divisor: Expression | int,
    left: Expression | int,
    then: Expression | int,
    otherwise: Expression | int,
) -> Expression:
    """``then`` where ``left % divisor == 0``, else ``otherwise``; what is known folds."""
    left, divisor, then, otherwise = map(_lift, (left, divisor, then, otherwise))
    a, b = _literal(left), _literal(divisor)
    if then == otherwise or b == 1:
        return then
    if a is not None and b is not None:
        return then if a % b == 0 else otherwise
    return Where(left, divisor, True, then, otherwise)


def indicator(left: Expression | int, right: Expression | int) -> Expression:
    """1 where ``left <= right``, else 0."""
    return where_at_most(left, right, 1, 0)


def if_one(
    condition: Expression, then: Expression | int, otherwise: Expression | int
) -> Expression:
    """``then`` where a condition, 0 or 1, is 1, else ``otherwise``."""
    return where_at_most(1, condition, then, otherwise)
