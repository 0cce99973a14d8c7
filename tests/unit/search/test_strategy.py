from dataclasses import replace

from mschedx.search.constrained_random import RandomSearch
from mschedx.search.given import Given
from mschedx.search.strategy import Strategy


def test_what_is_made_of_a_strategy_keeps_its_other_options():
    made = Strategy(RandomSearch, batch=3, pool=5, drafts=True, gradients=True)
    sketch, program = object(), object()
    found = made.restricted(sketches=[sketch]).alone().restricted(start=[program])
    given = Given((sketch,), (program,))
    assert (found.make_search, found.batch, found.gradients) == (RandomSearch, 3, True)
    assert found.given == given
    assert found._form == replace(made._form, given=given, alone=True)
