"""What a call is asked for, as its session hands it on."""

import pytest

from mschedx.plan import Parts
from mschedx.session import filled


def test_a_journal_says_parts_by_their_class_or_their_name():
    assert Parts(strategy="evolutionary", builder=object()).names() == {
        "space": None,
        "strategy": "evolutionary",
        "cost_model": None,
        "builder": "object",
        "runner": None,
    }


@pytest.mark.parametrize("given", [{}, {"runner": "rpc"}, {"strategy": "replay-trace"}])
def test_what_is_given_is_kept_and_what_is_missing_is_made(given):
    named = {"space": "union", "cost_model": "none", "builder": "local"}
    own = {"runner": "our runner", "strategy": "our strategy"}
    found = filled(Parts(**named, **given), None, lambda: own["runner"], lambda: own["strategy"])
    assert found == Parts(**named, **(own | given))
