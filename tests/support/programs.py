"""Made-up programs for networks: rows of numbers, latencies that depend on them."""

import numpy as np

from mschedx.cost.learned.examples import Part
from mschedx.cost.learned.features import ACCESS_NAMES, STATEMENT_NAMES, ProgramArrays


def programs(n, statements=3, accesses=5, seed=0):
    rng = np.random.default_rng(seed)
    return ProgramArrays(
        (8 * rng.random((n, statements, len(STATEMENT_NAMES)))).astype(np.float32),
        (8 * rng.random((n, accesses, len(ACCESS_NAMES)))).astype(np.float32),
    )


def latency(arrays, scale=1e-3):
    """Longer where the first columns of statements and of the first access are greater."""
    work = arrays.statements[:, :, :4].sum(axis=(1, 2)) / 8 + arrays.accesses[:, 0, 0]
    return scale * np.exp2(work.astype(np.float64) / 4)


def part(task, n=64, seed=0, **shape):
    arrays = programs(n, seed=seed, **shape)
    return Part(task, arrays, latency(arrays))
