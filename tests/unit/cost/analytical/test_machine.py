"""What a core of machines with more cores than two has: no fewer bytes for there being more."""

from dataclasses import replace

import pytest

from mschedx.cost.analytical.machine import CpuMachine
from mschedx.hardware import KIB, MIB, Hardware

TWO_CORES = Hardware(
    kind="cpu", name="znver4", cores=2, vector_bytes=64, l2_bytes=1 * MIB, l3_bytes=32 * MIB
)


def machine(cores: int, **fields) -> CpuMachine:
    return CpuMachine.of(replace(TWO_CORES, cores=cores, **fields))


def test_a_cores_memory_rate_stays_until_a_socket_gives_no_more():
    rates = {n: machine(n).dram_bytes_per_cycle for n in (1, 2, 8, 32, 50, 100)}
    assert rates[2] == pytest.approx(2.0), "as fitted"
    assert rates[8] == rates[32] == rates[50] == pytest.approx(rates[2])
    assert rates[1] == pytest.approx(4.0)
    assert rates[100] == pytest.approx(1.0), "300 GB/s"


def test_what_was_measured_comes_before_what_is_typical():
    known = TWO_CORES.with_rates(peak_flops=4e11, dram_bytes_per_s=5e10)
    one = CpuMachine.of(known)
    assert one.dram_bytes_per_cycle * one.hz * 2 == pytest.approx(5e10)


@pytest.mark.parametrize(
    ("cores", "l3", "sharing", "share"),
    [(2, 32, 2, 16), (2, 32, 0, 16), (8, 32, 8, 4), (64, 256, 8, 4), (9, 64, 8, 4)],
)
def test_a_core_shares_an_l3_with_the_cores_of_its_group_only(cores, l3, sharing, share):
    one = machine(cores, l3_bytes=l3 * MIB, l3_cores=sharing)
    assert one.l3_bytes == share * MIB


def test_the_last_cache_of_a_core_is_no_smaller_than_its_own():
    assert machine(64, l3_bytes=8 * MIB).l3_bytes == 1 * MIB
    assert machine(4, l2_bytes=512 * KIB, l3_bytes=0).l3_bytes == 512 * KIB


def test_a_dot_product_of_bytes_is_one_instruction_with_vnni_and_on_arm():
    one, products = machine(2), {"int.mul": 64, "int.add": 64}
    names = ("dot_16x4_vnni", "dot_4x4_i8i8s32_sdot", "dot_4x4_u8u8u32_udot")
    cycles = {name: one.intrinsic_cycles(name, products) for name in names}
    assert len(set(cycles.values())) == 1
    assert one.intrinsic_cycles("dot_4x4_i8i8s32_neon", products) == 3 * cycles[names[0]]


def test_a_second_unit_wants_more_sums_and_leaves_no_load_to_spare():
    one, two = machine(2), machine(2, fma_ports=2)
    assert one.loads_per_cycle > two.loads_per_cycle == two.wide_loads_per_cycle == 2.0
    assert two.fma_latency > one.fma_latency == 4.0
