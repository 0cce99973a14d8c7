"""The garbage collector is held off inside, and afterwards as it was before."""

import gc

import pytest

from mschedx.collector import without_collections


def fail():
    with without_collections():
        assert not gc.isenabled()
        raise ZeroDivisionError


@pytest.mark.parametrize("before", [True, False])
def test_the_collector_is_off_inside_and_as_before_outside(before):
    was = gc.isenabled()
    (gc.enable if before else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            fail()
        assert gc.isenabled() == before
    finally:
        (gc.enable if was else gc.disable)()
