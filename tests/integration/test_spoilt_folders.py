"""A work_dir of which a file was spoilt goes on with all that can be believed."""

import pytest
from spoilings import FILES, KINDS, make_base, reopened


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("spoilings"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_nothing_is_lost_but_the_spoilt_line_and_nothing_is_made_up(base, tmp_path, name, kind):
    assert reopened(base, tmp_path, name, kind, seed=0) == []
