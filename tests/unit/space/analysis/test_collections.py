"""An analysis holds the garbage collector off and leaves it as it was."""

import gc
import importlib

import pytest

# The package's name `analyse` is the function.
analysis = importlib.import_module("mschedx.space.analysis.analyse")


def fail():
    with analysis.without_collections():
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
