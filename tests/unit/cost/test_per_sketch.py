"""What is made of a sketch once."""

import gc
import weakref

import pytest
from toy import ToySketch

from mschedx.cost.per_sketch import PerSketch


class Made:
    """Of one sketch, whose key it notes."""

    def __init__(self, sketch):
        self.key = sketch.key


def test_it_is_made_once_for_each_sketch_though_keys_are_alike():
    made = PerSketch(Made)
    one, other = ToySketch(), ToySketch()
    other.key = one.key
    assert made(one) is made(one)
    assert made(one) is not made(other)
    assert PerSketch(Made)(one) is not made(one)


def test_it_goes_with_its_sketch():
    made, sketch = PerSketch(Made), ToySketch()
    alive = weakref.ref(made(sketch))
    assert alive() is not None
    del sketch
    gc.collect()
    assert alive() is None


def test_what_is_raised_is_not_kept():
    sketch, tries = ToySketch(), []

    def make(found):
        tries.append(found.key)
        if len(tries) == 1:
            raise ValueError("not yet")
        return len(tries)

    made = PerSketch(make)
    with pytest.raises(ValueError, match="not yet"):
        made(sketch)
    assert made(sketch) == made(sketch) == 2
