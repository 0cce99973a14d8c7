"""Linking finds a tool, and says what is wrong when it cannot."""

import pytest

from mschedx.measure import link


@pytest.fixture
def fresh_linker():
    link._linker.cache_clear()
    yield
    link._linker.cache_clear()


@pytest.mark.usefixtures("fresh_linker")
def test_no_linker_is_an_error_that_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="binutils"):
        link.link_shared(str(tmp_path / "a.so"), [])


@pytest.mark.usefixtures("fresh_linker")
def test_a_linker_asked_for_is_named_if_it_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("MSCHEDX_LD", "no-such-linker")
    with pytest.raises(RuntimeError, match="no-such-linker"):
        link.link_shared(str(tmp_path / "a.so"), [])


def test_the_linkers_own_words_are_passed_on(tmp_path):
    with pytest.raises(RuntimeError, match="missing"):
        link.link_shared(str(tmp_path / "a.so"), [str(tmp_path / "missing.o")])
