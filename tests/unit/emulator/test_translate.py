"""What the translation rewrites, what it leaves, and what it refuses."""

import pytest

from mschedx.emulator.translate import UnsupportedSource, instructions, translate

KERNEL = (
    'extern "C" __global__ void __launch_bounds__(32) k(float* __restrict__ A, int* B) {{\n{}\n}}\n'
)


def body(text):
    return translate(KERNEL.format(text)).splitlines()[1]


def test_instructions_become_calls_with_operands_in_the_instructions_order():
    # Outputs come first in asm, but an instruction may name its operands in any order.
    operands = '"l"(f(a, b)), "r"(c[1])'
    text = f'asm volatile("cp.async.cg.shared.global [%1], [%0], 16;" :: {operands} : "memory");'
    assert body(text) == "emulator::ptx::cp_async_cg_shared_global((c[1]), (f(a, b)), 16);"


def test_constants_stay():
    assert body('asm volatile("cp.async.wait_group 3;" :  :  : "memory");') == (
        "emulator::ptx::cp_async_wait_group(3);"
    )


def test_colons_commas_and_parentheses_inside_of_operands():
    text = 'asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a ? b : c), "r"(x[(1)]), "r"(0));'
    assert body(text) == "emulator::ptx::dp4a_u32_s32((d), (a ? b : c), (x[(1)]), (0));"


def test_lines_stay_where_they_are():
    source = KERNEL.format('asm volatile(\n"cp.async.commit_group;"\n:\n: );\nint here;')
    assert translate(source).splitlines()[5] == source.splitlines()[5] == "int here;"


def test_shared_memory():
    assert body("__shared__ alignas(64) signed char s[100];") == (
        "signed char (&s)[100] = *static_cast<signed char (*)[100]>("
        'emulator::shared_array("s", sizeof(signed char[100]), 64));'
    )
    assert body("extern __shared__ __align__(64) uchar buf[];") == (
        "uchar* const buf = static_cast<uchar*>(emulator::dynamic_shared_memory());"
    )


def test_entries_take_pointers():
    assert translate(KERNEL.format("")).splitlines()[-1] == (
        'extern "C" void emulated_k(void** arguments) '
        "{ k(static_cast<float*>(arguments[0]), static_cast<int*>(arguments[1])); }"
    )


def test_an_unknown_instruction():
    with pytest.raises(
        UnsupportedSource, match=r"line 2: the PTX `mul\.hi %0, %1`.*include/ptx\.h"
    ):
        body('asm("mul.hi %0, %1;" : "=r"(a) : "r"(b));')


def test_several_instructions_in_one_statement():
    with pytest.raises(UnsupportedSource, match=r"line 2: the PTX `cp\.async\.commit_group; cp"):
        body('asm("cp.async.commit_group; cp.async.wait_group 0;" : : );')


def test_shared_memory_declared_in_another_way():
    with pytest.raises(UnsupportedSource, match=r"line 2: expected `\[extern\] __shared__"):
        body("__shared__ float s[2][2];")


def test_a_kernel_that_takes_a_number():
    source = 'extern "C" __global__ void k(float* A, int n) {\n}\n'
    with pytest.raises(UnsupportedSource, match="expected pointers as arguments, got `int n`"):
        translate(source)


def test_the_instructions_of_the_header_are_found():
    assert {
        "mma_sync_aligned_m16n8k16_row_col_f32_f16_f16_f32",
        "ldmatrix_sync_aligned_m8n8_x4_trans_shared_b16",
        "cp_async_wait_group",
    } <= instructions()
