"""Which rows of factors tiles can take."""

from __future__ import annotations

import numpy as np
import pytest

from mschedx.space.errors import UnsupportedTrace
from mschedx.space.trace.factors import (
    count_factorizations,
    factorizations,
    partitioned_tiles,
    perfect_tiles,
)


class TestFactorizations:
    @pytest.mark.parametrize(
        ("extent", "parts"), [(1, 4), (7, 3), (12, 3), (64, 4), (30, 2), (5, 1)]
    )
    def test_equal_brute_force(self, extent, parts):
        grid = np.indices((extent,) * parts).reshape(parts, -1).T + 1 if extent < 31 else None
        rows = factorizations(extent, parts)
        assert len(rows) == count_factorizations(extent, parts)
        assert (rows.prod(axis=1) == extent).all()
        assert (np.unique(rows, axis=0) == rows).all()
        if grid is not None:
            assert np.array_equal(rows, grid[grid.prod(axis=1) == extent])

    def test_sizes_that_are_documented(self):
        assert len(factorizations(4096, 4)) == 455
        assert len(factorizations(2**20, 5)) == 10_626
        assert len(factorizations(720720, 5)) == 656_250

    def test_too_many_rows(self):
        with pytest.raises(UnsupportedTrace, match="pad it"):
            factorizations(720720, 8)

    def test_side_conditions(self):
        assert perfect_tiles(128, 4, 16)[:, -1].max() == 16
        assert len(perfect_tiles(13, 4, 5)) == 3
        inner = partitioned_tiles(64, 4, 2, 16)
        assert (inner[:, 2:].prod(axis=1) % 16 == 0).all()
        assert len(partitioned_tiles(10, 3, 1, 16)) == 0

    def test_bad_extent(self):
        with pytest.raises(ValueError, match="extent >= 1"):
            factorizations(0, 2)
