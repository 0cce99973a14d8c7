"""A data set that tests of collecting and training read."""

import pytest
from data_sets import written


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data") / "set.jsonl")
