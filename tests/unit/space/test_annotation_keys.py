"""Annotation keys are spelt once, and say who writes and who reads them."""

import ast
import re
from itertools import pairwise

import pytest
from house import working_tree

from mschedx.space import annotation_keys

MODULES = [module for module in working_tree() if module.name.startswith("mschedx.space.")]
KEYS = {name: value for name, value in vars(annotation_keys).items() if name.isupper()}
ROOMS = r"`((?:rules|postprocs|trace|read|mirror|derive)\.\w+)`"


def _says():
    """What stands below each key."""
    (module,) = (one for one in MODULES if one.name == "mschedx.space.annotation_keys")
    body = module.tree.body
    return {
        one.targets[0].id: text.value.value
        for one, text in pairwise(body)
        if isinstance(one, ast.Assign)
    }


def _users(name):
    """The modules that import a key, by room and name."""
    return {
        module.name.removeprefix("mschedx.space.").removeprefix("analysis.")
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.module == "annotation_keys"
        if any(alias.name == name for alias in node.names)
    }


@pytest.mark.parametrize("name", KEYS)
def test_who_uses_a_key_is_what_it_says(name):
    users = _users(name)
    assert users
    assert users == set(re.findall(ROOMS, _says()[name]))


def test_no_key_is_spelt_elsewhere():
    spelt = [
        f"{module.name}:{node.lineno} {node.value}"
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and node.value in KEYS.values()
    ]
    assert len(spelt) == len(KEYS), spelt
