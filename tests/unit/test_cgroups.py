"""Quotas and limits of control groups, from files as Linux writes them."""

import math

import pytest

from mschedx import cgroups, compat
from mschedx.measure.pool import total_memory_bytes


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Control groups of one's own: a folder to write to; this process is in one of them."""
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(cgroups, "OWN", tmp_path / "own")
    (tmp_path / "own").write_text("1:cpu:/x\n0::/service/job\n")
    (tmp_path / "fs/service/job").mkdir(parents=True)
    return tmp_path / "fs"


def test_without_control_groups_or_limits_there_is_none(groups):
    assert cgroups.quota() is None
    (groups / "service/job/cpu.max").write_text("max 100000\n")
    (groups / "service/cpu.max").write_text("\n")
    assert cgroups.quota() is None
    assert compat.available_cores() >= 1


def test_the_narrowest_of_a_group_and_those_around_it_counts(groups):
    (groups / "service/job/cpu.max").write_text("400000 100000\n")
    assert cgroups.quota() == 4
    (groups / "service/cpu.max").write_text("150000 100000\n")
    assert cgroups.quota() == 1.5
    (groups / "cpu.max").write_text("50000 100000\n")
    assert cgroups.quota() == 0.5
    assert compat.available_cores() == 1


def test_the_first_version_is_read_too(groups):
    (groups / "cpu").mkdir()
    (groups / "cpu/cpu.cfs_period_us").write_text("100000")
    (groups / "cpu/cpu.cfs_quota_us").write_text("-1")
    assert cgroups.quota() is None
    (groups / "cpu/cpu.cfs_quota_us").write_text("130000")
    assert cgroups.quota() == 1.3
    assert compat.available_cores() <= math.ceil(1.3)


def test_memory_is_what_the_narrowest_group_leaves(groups):
    physical = total_memory_bytes()
    assert cgroups.memory_bytes() is None
    (groups / "service/job/memory.max").write_text("max\n")
    assert cgroups.memory_bytes() is None
    (groups / "service/memory.max").write_text(f"{1 << 30}\n")
    assert cgroups.memory_bytes() == total_memory_bytes() == 1 << 30
    (groups / "memory").mkdir()
    (groups / "memory/memory.limit_in_bytes").write_text("9223372036854771712")
    assert cgroups.memory_bytes() == 1 << 30
    (groups / "service/memory.max").unlink()
    assert total_memory_bytes() == physical
