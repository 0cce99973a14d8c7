"""Heron's published GEMM spaces as tables and constraints (specs/heron.md, sections 1, 2 and 9)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mschedx.space.algebra.constraints import Constraint, at_most, equal
from mschedx.space.algebra.expression import Lookup, column, monomial, multiply
from mschedx.space.sampling.sampler import Sampler
from mschedx.space.trace.factors import factorizations


@dataclass
class SampleTable:
    columns: tuple[int, ...]
    rows: np.ndarray


class Builder:
    """Collects tables and remembers which columns are whose."""

    def __init__(self) -> None:
        self.tables: list[SampleTable] = []
        self.constraints: list[Constraint] = []
        self.width = 0

    def table(self, rows) -> tuple[int, ...]:
        rows = np.asarray(rows, dtype=np.int64)
        rows = rows[:, None] if rows.ndim == 1 else rows
        columns = tuple(range(self.width, self.width + rows.shape[1]))
        self.width += rows.shape[1]
        self.tables.append(SampleTable(columns, rows))
        return columns

    def sampler(self) -> Sampler:
        return Sampler(self.tables, self.constraints, self.width)


def product(*columns: int, times: int = 1):
    exponents: dict[int, int] = {}
    for c in columns:
        exponents[c] = exponents.get(c, 0) + 1
    return monomial(times, exponents)


def parts_of_divisors(extent: int, parts: int) -> np.ndarray:
    """Ordered factorisations of every divisor of ``extent``."""
    divisors = [d for d in range(1, extent + 1) if extent % d == 0]
    return np.concatenate([factorizations(d, parts) for d in divisors])


def vnni_gemm(m: int, n: int, k: int) -> Builder:
    """u8×s8 GEMM on VNNI: copy stage in 3 tiles, compute stage attached at one of 4 positions.

    Columns: unroll, vectorize, position, 3 of i and of j (copy stage), 4 of i and of j (compute
    stage, where j is in units of 16), 4 of k (in units of 4).
    """
    b = Builder()
    b.table(np.arange(6))
    b.table(np.arange(2))
    (position,) = b.table(np.arange(4))
    copy = [b.table(factorizations(m, 3)), b.table(factorizations(n, 3))]
    compute = [b.table(parts_of_divisors(m, 4)), b.table(parts_of_divisors(n, 4))]
    b.table(factorizations(k // 4, 4))

    def at(p: int):
        return Lookup(position, tuple((q, int(q == p)) for q in range(4)))

    for extent, outer, inner, unit in zip((m, n), copy, compute, (1, 16)):
        attached = (
            multiply(at(0), extent)
            + multiply(at(1), product(outer[1], outer[2]))
            + multiply(at(2), column(outer[2]))
            + at(3)
        )
        b.constraints.append(equal(attached, product(*inner, times=unit), "attach position"))
    return b


def tensor_core_gemm(extent: int) -> Builder:
    """fp16 GEMM with wmma on a cube; unlinked B-fragment variables are left out.

    Columns: shape (m, n), then of the output stage block, y, x, outer, vector for i and for j, of
    the accumulator's shared stage y and 4 tiles for i and for j, 4 of k, and what is free.
    """
    b = Builder()
    wm, wn = b.table([(16, 16), (8, 32), (32, 8)])
    out = [b.table(factorizations(extent, 5)) for _ in range(2)]
    acc = [b.table(parts_of_divisors(extent, 5)) for _ in range(2)]
    b.table(factorizations(extent // 16, 4))
    b.table([(p, q) for p in range(4) for q in range(p, 4)])
    for domain in (6, 6, 6, 4, 6, 4):
        b.table(np.arange(domain))
    for stage, inner, unit in zip(out, acc, (wm, wn)):
        b.constraints.append(equal(product(stage[0], unit, *inner), extent, "attach at blockIdx"))
    (_, yi, xi, _, vi), (_, yj, xj, _, vj) = out
    b.constraints += [
        equal(product(xi, xj), 32, "threadIdx.x is a warp"),
        equal(product(yi, yj), product(acc[0][0], acc[1][0]), "both threadIdx.y bands"),
        at_most(product(yi, yj, times=32), 1024, "threads per block"),
        at_most(product(vi, vj), 8, "vector length"),
    ]
    return b
