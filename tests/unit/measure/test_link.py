"""Linking finds a tool, and says what is wrong when it cannot."""

import fnmatch
import platform
import sysconfig

import pytest

from mschedx.measure import link


@pytest.fixture
def fresh_linker():
    link._linker.cache_clear()
    yield
    link._linker.cache_clear()


def test_the_runtime_of_another_machines_compiler_is_not_linked(monkeypatch):
    machine = (sysconfig.get_config_var("MULTIARCH") or platform.machine()).partition("-")[0]
    own = f"/usr/lib/gcc/{machine}-linux-gnu/13/libgcc.a"
    there = [own, f"/usr/lib/gcc/{machine}-linux-gnu/9/libgcc.a"]
    there.append("/usr/lib/gcc/mips-none-eabi/13.2.1/libgcc.a")
    monkeypatch.setattr(link.glob, "glob", lambda pattern: fnmatch.filter(there, pattern))
    assert link._compiler_runtime.__wrapped__() == own


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
