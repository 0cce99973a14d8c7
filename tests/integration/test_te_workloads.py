"""TVM's own test workloads open in our space."""

import pytest
from te_workloads import configurations, opened

SLICE = [("C1D", 1), ("GMM", 0), ("GRP", 1), ("DEP", 3), ("SFM", 0), ("NRM", 0)]


@pytest.mark.parametrize(("name", "number"), SLICE)
def test_every_sketch_has_a_schedule(name, number):
    mod = next(mod for _, n, mod in configurations(name) if n == number)
    row = opened(mod, "ours", configs=1, most=3)
    assert row["error"] is None
    assert row["empty"] == []
    assert row["materialised"] == row["sampled"] > 0
