"""Fragments of ``mma.m16n8k*`` as the PTX ISA states them, instruction by instruction."""


def isa_a(k, dtype, lane, i):
    """Element (row, column) of A in ``lane``'s a_i, as the PTX ISA states it per instruction."""
    group, thread = lane // 4, lane % 4
    if dtype == "int8" and k == 32:
        row = group if i < 4 or 8 <= i < 12 else group + 8
        return row, thread * 4 + (i & 3) + (0 if i < 8 else 16)
    if dtype == "int8":
        return (group if i < 4 else group + 8), thread * 4 + (i & 3)
    if dtype == "float32":
        return (group if i in (0, 2) else group + 8), thread + (0 if i < 2 else 4)
    if k == 16:
        row = group if i in (0, 1, 4, 5) else group + 8
        return row, thread * 2 + (i & 1) + (0 if i < 4 else 8)
    return (group if i < 2 else group + 8), thread * 2 + (i & 1)


def isa_b(k, dtype, lane, i):
    """Element (row, column) of the k × 8 operand B in ``lane``'s b_i."""
    group, thread = lane // 4, lane % 4
    if dtype == "int8":
        return thread * 4 + (i & 3) + (0 if i < 4 else 16), group
    if dtype == "float32":
        return thread + 4 * i, group
    return thread * 2 + (i & 1) + (0 if i < 2 else 8), group


def isa_c(lane, i):
    """Element (row, column) of the 16 × 8 result in ``lane``'s c_i."""
    return (lane // 4 if i < 2 else lane // 4 + 8), lane % 4 * 2 + (i & 1)
