import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tvm

from mschedx.hardware import Hardware, host_target, peak
from mschedx.hardware.peak import _fma_kernel, _read_kernel, measure_peak_flops, peak_kernel


def test_kernel_is_nothing_but_fused_multiply_adds():
    target = tvm.target.Target({"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2})
    module = tvm.compile(tvm.IRModule({"main": _fma_kernel(2, 16, 24, 1000)}), target=target)
    text = module.mod.inspect_source("asm")
    assert len(re.findall(r"vfmadd\w+.*%zmm", text)) >= 24
    assert not re.search(r"v(mul|add)ps.*%zmm", text)


def test_kernel_computes_its_recurrence():
    kernel = peak_kernel(steps=3)
    tensors = [tvm.runtime.tensor(a) for a in kernel.arrays]
    kernel.function(*tensors)
    hardware = Hardware.from_target(host_target())
    lanes = hardware.lanes("float32")
    found = tensors[1].numpy().reshape(hardware.cores, -1, lanes)
    chain = np.arange(found.shape[1], dtype="float32")
    for _ in range(3):
        chain = chain * np.float32(0.5) + np.float32(1.0)
    np.testing.assert_allclose(found, np.broadcast_to(chain[None, :, None], found.shape))
    assert kernel.flops == 2 * 3 * found.size


def test_read_kernel_reads_every_element():
    rng = np.random.default_rng(0)
    source = rng.integers(0, 8, 2 * 512).astype("float32")
    sums = tvm.runtime.tensor(np.zeros(2 * 8 * 16, "float32"))
    kernel = tvm.compile(tvm.IRModule({"main": _read_kernel(2, 512, 16)}), target="llvm")["main"]
    kernel(tvm.runtime.tensor(source), sums)
    assert sums.numpy().sum() == source.sum()


def test_peak_lies_between_a_slow_core_and_what_no_machine_has():
    peak = measure_peak_flops(seconds=0.1)
    cores = Hardware.from_target(host_target()).cores
    assert 1e8 * cores < peak < 1e12 * cores


class TestRemembered:
    """Rates are measured once a machine."""

    @pytest.fixture(autouse=True)
    def measured(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        rates = [(3e11, 2e10), (4e11, 1e10)]
        monkeypatch.setattr(peak, "measure_peak_flops", lambda target: rates[0][0])
        monkeypatch.setattr(peak, "measure_dram_bytes_per_s", lambda target: rates.pop(0)[1])
        return rates

    def test_once_and_the_greatest_of_several(self, measured):
        first = peak.calibrate()
        assert (first.peak_flops, first.dram_bytes_per_s) == (3e11, 2e10)
        assert peak.calibrate() == first
        assert len(measured) == 1
        again = peak.calibrate(again=True)
        assert (again.peak_flops, again.dram_bytes_per_s) == (4e11, 2e10)
        assert peak.calibrate() == again

    @pytest.mark.parametrize(
        "content",
        ["", "[1]", '{"a": 1}', '{"a": ["x", 2]}', '{"a": [-1, 2]}', f'{{"a": [{10**400}, 2]}}'],
    )
    def test_a_file_that_is_not_ours_is_measured_over(self, content):
        path = peak.remembered_in()
        path.parent.mkdir(parents=True)
        path.write_text(content)
        assert peak.calibrate().peak_flops == 3e11
        assert list(json.loads(path.read_text()).values()) == [[3e11, 2e10]]

    def test_a_disk_that_is_full_is_left_as_it_is(self, monkeypatch):
        def full(path, text, *_, **__):
            path.open("w").close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "write_text", full)
        assert peak.calibrate().peak_flops == 3e11
        assert list(peak.remembered_in().parent.iterdir()) == []

    def test_where_nothing_can_be_written_it_is_measured_each_time(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert peak.calibrate().peak_flops == 3e11
        assert peak.calibrate().dram_bytes_per_s == 1e10


def test_targets_with_other_instructions_have_rates_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    flops = iter((4e9, 2e9))
    monkeypatch.setattr(peak, "measure_peak_flops", lambda target: next(flops))
    monkeypatch.setattr(peak, "measure_dram_bytes_per_s", lambda target: 1e9)
    whole = {"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2}
    narrow = {**whole, "mattr": ["-avx512f"]}
    for _ in range(2):
        rates = [peak.calibrate(tvm.target.Target(one)).peak_flops for one in (whole, narrow)]
        assert rates == [4e9, 2e9]


def test_the_class_has_it_too(monkeypatch):
    asked = []
    monkeypatch.setattr(peak, "calibrate", lambda *args, **options: asked.append((args, options)))
    Hardware.calibrate()
    target = host_target()
    Hardware.calibrate(target, again=True)
    assert asked == [((None,), {"again": False}), ((target,), {"again": True})]
