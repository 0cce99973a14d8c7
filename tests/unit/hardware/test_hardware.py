import os
from dataclasses import replace

import psutil
import pytest
from tvm.target import Target, codegen

from mschedx import compat, hardware
from mschedx.hardware import KIB, MIB, Hardware, cores, host, host_cores, host_target, tables
from mschedx.hardware.here import lacking, notes_on_machine
from mschedx.inputs import normalize_target


def cpu(mcpu: str, **more) -> Hardware:
    return Hardware.from_target({"kind": "llvm", "mcpu": mcpu, "num-cores": 4, **more})


@pytest.mark.parametrize(
    ("mcpu", "vector_bytes", "registers", "has", "lacks"),
    [
        ("cascadelake", 64, 32, ["avx512f", "avx512_vnni", "avx2"], ["avxvnni", "avx512bf16"]),
        ("alderlake", 32, 16, ["avx2", "avxvnni", "fma"], ["avx512f"]),
        ("haswell", 32, 16, ["avx2"], ["avx512f", "avxvnni"]),
        ("sapphirerapids", 64, 32, ["avx512_bf16", "amx-int8"], []),
        ("x86-64", 16, 16, [], ["avx"]),
    ],
)
def test_instruction_set_comes_from_mcpu(mcpu, vector_bytes, registers, has, lacks):
    hardware = cpu(mcpu)
    assert (hardware.vector_bytes, hardware.vector_registers) == (vector_bytes, registers)
    assert all(hardware.has(f) for f in has)
    assert not any(hardware.has(f) for f in lacks)
    assert hardware.cores == 4


@pytest.mark.parametrize(
    ("here", "wanted", "lacks"),
    [
        ("haswell", {"mcpu": "skylake-avx512"}, "avx512f"),
        ("znver4", {"mcpu": "sapphirerapids"}, "amx-tile"),
        ("x86-64", {"mcpu": "haswell"}, None),
        ("znver4", {"mcpu": "haswell"}, None),
        ("haswell", {"mcpu": "x86-64-v2"}, None),
        ("haswell", {"mcpu": "haswell", "mattr": ["+avx512f"]}, "avx512f"),
        ("haswell", {"mcpu": "cortex-a72", "mtriple": "aarch64-linux-gnu"}, None),
    ],
)
def test_what_a_target_has_that_this_cpu_has_not(here, wanted, lacks, monkeypatch):
    monkeypatch.setattr(host, "system_cpu", lambda: here)
    target = Target({"kind": "llvm", "num-cores": 1, **wanted})
    missing = lacking(target)
    assert (missing == ()) if lacks is None else (lacks in missing)
    assert len(notes_on_machine(target)) == (lacks is not None)


def test_cores_that_this_process_has_not_are_said(monkeypatch):
    monkeypatch.setattr(compat, "available_cores", lambda: 2)
    notes = [
        notes_on_machine(Target({"kind": "llvm", "mcpu": host.system_cpu(), "num-cores": cores}))
        for cores in (1, 2, 64)
    ]
    (said,) = notes.pop()
    assert said == "the target has 64 cores and this process may use 2: trials are measured on 2"
    assert notes == [(), ()]
    assert notes_on_machine(Target("nvidia/nvidia-a100")) == ()


def test_mattr_adds_features():
    assert cpu("x86-64", mattr=["+avx2"]).vector_bytes == 32


def test_foreign_cpu_takes_the_table_not_this_machine():
    hardware = cpu("znver1")
    if str(codegen.llvm_get_system_cpu()) != "znver1":
        assert (hardware.l1d_bytes, hardware.l2_bytes) == (32 * KIB, 512 * KIB)
        assert hardware.l3_bytes == 8 * MIB


def test_lanes_by_dtype():
    hardware = cpu("cascadelake")
    assert [hardware.lanes(d) for d in ("float32", "float64", "int8", "uint8", "bfloat16")] == [
        16, 8, 64, 64, 32,
    ]  # fmt: skip


def test_gpu_limits_come_from_the_target_and_rates_from_the_table():
    hardware = Hardware.from_target(Target("nvidia/nvidia-a100"))
    assert hardware.name == "a100"
    assert hardware.cores == 108
    assert hardware.warp_size == 32
    assert hardware.max_shared_bytes_per_block == 49152
    assert hardware.peak_flops == pytest.approx(19.49e12)
    # Source: the shared table of the draft model's published code (fp32 GFLOP/s, GB/s, SMs).
    t4 = Hardware.from_device("t4")
    assert (t4.peak_flops, t4.dram_bytes_per_s, t4.cores) == (8141e9, 320e9, 40)


def test_architecture_picks_the_table_entry_without_a_tag():
    assert Hardware.from_target({"kind": "cuda", "arch": "sm_75"}).name == "t4"
    assert Hardware.from_target({"kind": "cuda", "arch": "sm_90a"}).arch == "sm_90a"


def test_host_target_is_ready_to_tune():
    target = host_target()
    hardware = Hardware.from_target(target)
    assert int(target.attrs["num-cores"]) == host_cores() == hardware.cores >= 1
    assert hardware.l1d_bytes >= 8 * KIB


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (range(64), 32),
        ((0, 1, 2, 3), 4),  # one thread of each
        ((0, 32, 1, 33, 2, 34, 3, 35), 4),  # both threads of each
        ((0, 32, 1), 2),
        ((7,), 1),
    ],
)
def test_hardware_threads_of_one_core_count_once(tmp_path, monkeypatch, allowed, expected):
    for thread in range(64):
        place = tmp_path / f"cpu{thread}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(f"{thread % 32},{thread % 32 + 32}\n")
    monkeypatch.setattr(cores, "_CPUS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(allowed))
    monkeypatch.setattr("mschedx.compat.threads.quota", lambda: None)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 64 if logical else 32)
    assert host_cores() == expected


def test_where_linux_has_no_topology_the_machines_cores_bound_them(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "_CPUS", tmp_path)
    monkeypatch.setattr("mschedx.compat.available_cores", lambda: 8)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 8 if logical else 4)
    assert host_cores() == 4


def test_fewer_cores_than_the_machine_has_are_what_kernels_run_on(monkeypatch):
    monkeypatch.setattr(host, "host_cores", lambda: 4)
    monkeypatch.setattr("mschedx.compat.available_cores", lambda: 8)  # two threads a core
    asked = {"kind": "llvm", "mcpu": "haswell"}
    assert hardware.kernel_cores(Target({**asked, "num-cores": 1})) == 1
    assert hardware.kernel_cores(Target({**asked, "num-cores": 4})) is None
    assert hardware.kernel_cores(Target({**asked, "num-cores": 6})) == 6
    assert hardware.kernel_cores(Target({**asked, "num-cores": 8})) is None
    assert hardware.kernel_cores(Target({**asked, "num-cores": 64})) is None
    assert hardware.kernel_cores(Target("nvidia/nvidia-a100")) is None


def test_errors_name_what_is_known():
    with pytest.raises(ValueError, match="a100"):
        Hardware.from_device("gtx")
    with pytest.raises(ValueError, match='"llvm" or "cuda"'):
        Hardware.from_target({"kind": "c"})


def test_a_cache_without_a_size_is_the_tables(tmp_path, monkeypatch):
    for index, (level, size) in enumerate((("1", None), ("2", "2048K"), ("3", "?"))):
        place = tmp_path / f"index{index}"
        place.mkdir()
        (place / "level").write_text(level + "\n")
        (place / "type").write_text("Data\n")
        if size is not None:
            (place / "size").write_text(size + "\n")
    monkeypatch.setattr(host, "_CACHES", tmp_path)
    known = tables.GENERIC_CPU
    found = host.host_caches.__wrapped__(known)
    assert (found.l1d, found.l2, found.l3) == (known.l1d, 2 * MIB, known.l3)


def test_a_gpu_that_is_in_no_table_is_said_to_be_none_of_them():
    assert hardware.is_known_gpu(Target("nvidia/nvidia-a100"))
    assert not hardware.is_known_gpu(Target({"kind": "cuda", "arch": "sm_86"})), "many cards"
    assert hardware.is_known_gpu(normalize_target("nvidia/geforce-rtx-3090"))
    assert hardware.is_known_gpu(Target({"tag": "nvidia/nvidia-t4"}))
    assert not hardware.is_known_gpu(Target({"kind": "cuda", "arch": "sm_120"}))


def _caches(folder, monkeypatch, **shared):
    """A core whose caches are said to be shared by these hardware threads."""
    sizes = {"1": "32K", "2": "1024K", "3": "32768K"}
    for index, (level, size) in enumerate(sizes.items()):
        place = folder / f"index{index}"
        place.mkdir(parents=True)
        for name, text in (("level", level), ("type", "Unified"), ("size", size)):
            (place / name).write_text(text + "\n")
        (place / "shared_cpu_list").write_text(shared[f"l{level}"] + "\n")
    monkeypatch.setattr(host, "_CACHES", folder)
    monkeypatch.setattr(host, "host_caches", host.host_caches.__wrapped__)


@pytest.mark.parametrize(
    ("cores", "l3", "sharing"), [(1, 32, 1), (2, 32, 2), (8, 32, 8), (9, 64, 8), (64, 256, 8)]
)
@pytest.mark.parametrize("threads", [("0", "0", "0-7"), ("0,64", "0,64", "0-7,64-71")])
def test_a_machine_has_an_l3_for_every_group_of_cores_that_share_one(
    tmp_path, monkeypatch, threads, cores, l3, sharing
):
    _caches(tmp_path / "cache", monkeypatch, **dict(zip(("l1", "l2", "l3"), threads)))
    own = {"kind": "llvm", "mcpu": hardware.system_cpu(), "num-cores": cores}
    found = Hardware.from_target(own)
    assert (found.l3_bytes, found.l3_cores) == (l3 * MIB, sharing)
    assert found.l2_bytes == 1 * MIB


def test_a_core_has_its_share_of_a_clusters_l2(tmp_path, monkeypatch):
    _caches(tmp_path / "cache", monkeypatch, l1="0", l2="0-3", l3="0-3")
    own = {"kind": "llvm", "mcpu": hardware.system_cpu()}
    l2 = [Hardware.from_target({**own, "num-cores": n}).l2_bytes for n in (1, 2, 4, 8)]
    assert l2 == [1024 * KIB, 512 * KIB, 256 * KIB, 256 * KIB]
    if hardware.system_cpu() != "apple-m1":
        assert cpu("apple-m1").l2_bytes == 3 * MIB, "12 MiB for four cores"


def test_the_table_knows_which_cores_share_an_l3():
    if hardware.system_cpu() != "znver2":
        many = Hardware.from_target({"kind": "llvm", "mcpu": "znver2", "num-cores": 64})
        assert many.l3_bytes == 16 * 16 * MIB
        assert Hardware.from_target({"kind": "llvm", "mcpu": "znver2", "num-cores": 2}) == replace(
            many, cores=2, l3_bytes=16 * MIB, l3_cores=2
        )


def test_thread_blocks_of_a_multiprocessor_by_compute_capability():
    held = {name: Hardware.from_device(name).max_blocks_per_sm for name in hardware.GPUS}
    assert {name for name, blocks in held.items() if blocks == 16} == {
        "k80", "t4", "rtx3090", "orin",
    }  # fmt: skip
    assert held["rtx4090"] == 24
    assert {held[name] for name in ("v100", "a100", "h100", "h200", "b200")} == {32}


@pytest.mark.parametrize(
    ("name", "arch", "multiprocessors", "gflops", "gbytes"),
    [("k80", "sm_37", 13, 4113, 240), ("t4", "sm_75", 40, 8141, 320),
     ("v100", "sm_70", 80, 15700, 900), ("titanv", "sm_70", 80, 14900, 651),
     ("orin", "sm_87", 16, 2660, 204), ("a100", "sm_80", 108, 19490, 1935),
     ("a100_40", "sm_80", 108, 19490, 1555), ("h200", "sm_90", 132, 66900, 4800)],
)  # fmt: skip
def test_rows_of_gpus(name, arch, multiprocessors, gflops, gbytes):
    """What a kernel has of them: one die of a K80."""
    row = Hardware.from_device(name)
    assert (row.name, row.arch, row.cores) == (name, arch, multiprocessors)
    assert (row.peak_flops, row.dram_bytes_per_s) == (gflops * 1e9, gbytes * 1e9)
    assert (row.peak_tensor_flops is None) == (name == "k80"), "its cores have none"


def test_an_architecture_of_several_products_says_nothing_of_rates():
    for arch in ("sm_90", "sm_90a"):
        assert not hardware.is_known_gpu(Target({"kind": "cuda", "arch": arch})), "H100 or H200"
    assert hardware.is_known_gpu(normalize_target("nvidia/nvidia-h100"))


@pytest.fixture
def on_a_znver4(monkeypatch):
    monkeypatch.setattr(host, "system_cpu", lambda: "znver4")


def llvm(mcpu: str) -> Target:
    return Target({"kind": "llvm", "mcpu": mcpu, "num-cores": 2})


@pytest.mark.usefixtures("on_a_znver4")
def test_whose_figures_a_cpu_in_no_table_gets_is_said():
    said = hardware.stand_in(llvm("tigerlake"))
    assert "the CPU tigerlake is in no table" in said
    assert "512 KiB of L2, 8 MiB of L3, 1 multiply-add a cycle" in said
    assert "PSA(mschedx.calibrate())" in said
    assert "PSA(mschedx.Hardware(...))" in said


@pytest.mark.usefixtures("on_a_znver4")
@pytest.mark.parametrize("mcpu", ["haswell", "x86-64", "x86-64-v3", "generic", "znver4"])
def test_nothing_is_said_of_a_cpu_that_is_known_or_none_in_particular(mcpu):
    assert hardware.stand_in(llvm(mcpu)) == ""


def test_nothing_is_said_of_this_machine(monkeypatch):
    monkeypatch.setattr(host, "system_cpu", lambda: "tigerlake")
    assert hardware.stand_in(llvm("tigerlake")) == "", "the system tells its caches"
    assert hardware.stand_in(Target({"kind": "llvm", "num-cores": 2})) == "", "no mcpu"
    assert hardware.stand_in(Target("c")) == ""


def test_whose_rates_a_gpu_gets_is_said():
    unknown = hardware.stand_in(Target({"kind": "cuda", "arch": "sm_120"}))
    assert (
        "no GPU of sm_120 is in mschedx's table: what PSA predicts takes the rates of a100"
        in unknown
    )
    assert "Hardware.from_target(target).with_rates(" in unknown
    several = hardware.stand_in(Target({"kind": "cuda", "arch": "sm_90a"}))
    assert "sm_90a is of several GPUs: what PSA predicts takes the rates of h100" in several
    assert "by its tag (nvidia/nvidia-h100), or pass" in several
    assert "Hardware.from_device(...)) (h100, h200)" in several
    untagged = hardware.stand_in(Target({"kind": "cuda", "arch": "sm_37"}))
    assert "For its own pass mschedx.cost.PSA(mschedx.Hardware.from_device(...)) (k80)" in untagged


@pytest.mark.parametrize("tag", ["nvidia/nvidia-a100", "nvidia/geforce-rtx-3090"])
def test_nothing_is_said_of_a_gpu_that_is_known(tag):
    assert hardware.stand_in(normalize_target(tag)) == ""
    assert hardware.stand_in(Target({"kind": "cuda", "arch": "sm_80"})) == ""


def test_rates_that_are_not_known_are_asked_for():
    a100 = Hardware.from_device("a100")
    assert a100.known_rates() == (a100.peak_flops, a100.dram_bytes_per_s)
    for name in ("peak_flops", "dram_bytes_per_s"):
        with pytest.raises(ValueError, match=r"got a100 without: .* with with_rates"):
            replace(a100, **{name: None}).known_rates()
