"""The analysis of each sketch, made once for the many runs that open it."""

import pytest
import tvm_ffi

import mschedx.space.analysis


@pytest.fixture(scope="session")
def _analyses():
    return {}


@pytest.fixture
def analysed_once(_analyses, monkeypatch):
    """Share analyses among runs that differ in strategy and model.

    They depend on the design and its postprocs, and designs of spaces with other postprocs have
    other traces here.
    """
    analyse = mschedx.space.analysis.analyse

    def shared(design, policy=None, loops=None):
        assert policy is None
        key = (
            tvm_ffi.structural_hash(design.mod),
            str(design.target),
            design.signature,
            tuple(sorted(design.fixed_locations.items())),
        )
        if key not in _analyses:
            _analyses[key] = analyse(design, policy, loops)
        return _analyses[key]

    monkeypatch.setattr(mschedx.space.analysis, "analyse", shared)
