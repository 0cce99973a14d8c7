"""Tensor-core instructions against NumPy, operands laid out by the PTX ISA's tables."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from cuda_kernels import execute_kernel, kernel, poisoned
from ptx_isa import isa_a, isa_b, isa_c

PTX = {"float16": "f16", "bfloat16": "bf16", "float32": "tf32", "int8": "s8", "uint8": "u8"}
OUT = {"float32": "f32", "float16": "f16", "int32": "s32"}
CASES = [
    (16, "float16", "float32"),
    (8, "float16", "float32"),
    (16, "float16", "float16"),
    (8, "float16", "float16"),
    (16, "bfloat16", "float32"),
    (8, "bfloat16", "float32"),
    (8, "float32", "float32"),
    (32, "int8", "int32"),
    (16, "int8", "int32"),
    (32, "uint8", "int32"),
    (16, "uint8", "int32"),
]


def numpy_type(dtype):
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def matrices(k, dtype, out, rng):
    integers = dtype in ("int8", "uint8")
    low, high = (-100, 100) if dtype == "int8" else (0, 200) if dtype == "uint8" else (-4, 5)
    a, b = (rng.integers(low, high, shape).astype(numpy_type(dtype)) for shape in ((16, k), (k, 8)))
    c = rng.integers(-1000 if integers else -4, 1000 if integers else 5, (16, 8)).astype(out)
    return a, b, c


def fragments(matrix, count, place):
    return np.array([[matrix[place(lane, i)] for i in range(count)] for lane in range(32)])


def mma_name(k, dtype, out):
    return f"mma_{k}_{dtype}_{out}"


def mma_source(k, dtype, out):
    """One mma; every lane reads its registers, one after the other, from global memory."""
    width = 4 // numpy_type(dtype).itemsize
    a, c = k // (2 * width), 4 if out != "float16" else 2
    letter = "f" if out == "float32" else "r"
    holder = "float" if out == "float32" else "unsigned"
    counters = itertools.count()
    groups = ", ".join(
        "{" + ", ".join(f"%{next(counters)}" for _ in range(n)) + "}" for n in (c, a, a // 2, c)
    )
    operand = PTX[dtype]
    name = f"mma.sync.aligned.m16n8k{k}.row.col.{OUT[out]}.{operand}.{operand}.{OUT[out]}"
    outs = ", ".join(f'"={letter}"((({holder}*)(d))[{i}])' for i in range(c))
    ins = [f'"r"(((unsigned*)(A + lane * {a}))[{i}])' for i in range(a)]
    ins += [f'"r"(((unsigned*)(B + lane * {a // 2}))[{i}])' for i in range(a // 2)]
    ins += [f'"{letter}"((({holder}*)(C + lane * {c}))[{i}])' for i in range(c)]
    body = f"""
  int lane = threadIdx.x;
  unsigned* d = D + lane * {c};
  __asm__ __volatile__(
    "{name}"
    "{groups};\\n"
    : {outs}
    : {", ".join(ins)});
"""
    parameters = "unsigned* A, unsigned* B, unsigned* C, unsigned* D"
    return kernel(body, parameters, name=mma_name(k, dtype, out))


MMA = "".join(mma_source(*case) for case in CASES)


@pytest.mark.parametrize(("k", "dtype", "out"), CASES)
def test_mma_is_the_product_of_the_tables_fragments(k, dtype, out):
    a, b, c = matrices(k, dtype, out, np.random.default_rng(0))
    table = "int8" if dtype == "uint8" else dtype
    registers = [
        fragments(a, 16 * k // 32, lambda lane, i: isa_a(k, table, lane, i)),
        fragments(b, 8 * k // 32, lambda lane, i: isa_b(k, table, lane, i)),
        fragments(c, 4, isa_c),
    ]
    words = [one.view(np.uint32) for one in registers]
    arrays = [*words, poisoned(words[2].shape, "uint32")]
    done = execute_kernel(MMA, arrays, name=mma_name(k, dtype, out))
    assert done.faults == ()
    result = done.arrays[3].view(out)
    expected = (c.astype("float64") + a.astype("float64") @ b.astype("float64")).astype(out)
    for lane, i in itertools.product(range(32), range(4)):
        assert result[lane, i] == expected[isa_c(lane, i)], (lane, i)


def test_tf32_does_not_look_at_the_last_13_bits():
    a = np.full((16, 8), 1 + 2.0**-11, "float32")
    b = np.eye(8, dtype="float32")
    words = [
        fragments(a, 4, lambda lane, i: isa_a(8, "float32", lane, i)).view(np.uint32),
        fragments(b, 2, lambda lane, i: isa_b(8, "float32", lane, i)).view(np.uint32),
        np.zeros((32, 4), np.uint32),
        poisoned((32, 4), "uint32"),
    ]
    done = execute_kernel(MMA, words, name=mma_name(8, "float32", "float32"))
    assert (done.arrays[3].view("float32") == 1).all()


LOADS = [(count, transposed) for count in (1, 2, 4) for transposed in (False, True)]


def load_source(count, transposed):
    trans = ".trans" if transposed else ""
    registers = ", ".join(f"%{i}" for i in range(count))
    outs = ", ".join(f'"=r"(to[{i}])' for i in range(count))
    body = f"""
  ((uint2*)rows)[threadIdx.x] = ((uint2*)(M))[threadIdx.x];
  ((uint2*)rows)[threadIdx.x + 32] = ((uint2*)(M))[threadIdx.x + 32];
  __syncthreads();
  unsigned* to = D + threadIdx.x * {count};
  unsigned addr = __cvta_generic_to_shared(rows + threadIdx.x * 8);
  __asm__ __volatile__(
    "ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16"
    "{{{registers}}}, [%{count}];\\n"
    : {outs} : "r"(addr));
"""
    shared = "__shared__ alignas(64) unsigned short rows[256];"
    parameters = "unsigned short* M, unsigned* D"
    return kernel(body, parameters, shared, name=f"ldmatrix_{count}_{transposed}")


LDMATRIX = "".join(load_source(*load) for load in LOADS)


@pytest.mark.parametrize(("count", "transposed"), LOADS)
def test_ldmatrix(count, transposed):
    # 8 rows of 8 halves a matrix; lane 8m + r has the address of row r of matrix m.
    memory = np.arange(256, dtype="uint16")
    arrays = [memory, poisoned((32, count), "uint32")]
    done = execute_kernel(LDMATRIX, arrays, name=f"ldmatrix_{count}_{transposed}")
    assert done.faults == ()
    found = done.arrays[1].view("uint16").reshape(32, count, 2)
    for lane, m, e in itertools.product(range(32), range(count), range(2)):
        row, column = lane // 4, lane % 4 * 2 + e
        matrix = memory.reshape(4, 8, 8)[m]
        assert found[lane, m, e] == (matrix.T if transposed else matrix)[row, column]


WMMA = [
    (shape, *types)
    for shape in ((16, 16, 16), (32, 8, 16), (8, 32, 16))
    for types in (
        ("half", "float", "float16", "float32"),
        ("half", "half", "float16", "float16"),
        ("nv_bfloat16", "float", "bfloat16", "float32"),
        ("signed char", "int", "int8", "int32"),
        ("unsigned char", "int", "uint8", "int32"),
    )
] + [((16, 16, 8), "nvcuda::wmma::precision::tf32", "float", "float32", "float32")]


WMMA_CASES = [(*case, columns) for case in WMMA for columns in (False, True)]


def wmma_name(shape, element, sum_type, dtype, out, b_columns):
    return f"wmma_{'x'.join(map(str, shape))}_{dtype}_{out}_{b_columns:d}"


def b_pitch(shape, dtype, b_columns):
    """Elements between lines of B: 16 bytes at least."""
    return max(shape[2] if b_columns else shape[1], 16 // numpy_type(dtype).itemsize)


def wmma_source(shape, element, sum_type, dtype, out, b_columns):
    m, n, k = shape
    stored = "float" if "tf32" in element else element
    layout = "col_major" if b_columns else "row_major"
    body = f"""
  using namespace nvcuda::wmma;
  fragment<matrix_a, {m}, {n}, {k}, {element}, row_major> a[1];
  fragment<matrix_b, {m}, {n}, {k}, {element}, {layout}> b[1];
  fragment<accumulator, {m}, {n}, {k}, {sum_type}> c[1];
  load_matrix_sync(a[0], A, {k});
  load_matrix_sync(b[0], B, {b_pitch(shape, dtype, b_columns)});
  load_matrix_sync(c[0], C, {n}, mem_row_major);
  mma_sync(c[0], a[0], b[0], c[0]);
  store_matrix_sync(D, c[0], {n}, mem_row_major);
"""
    name = wmma_name(shape, element, sum_type, dtype, out, b_columns)
    return kernel(body, f"{stored}* A, {stored}* B, {sum_type}* C, {sum_type}* D", name=name)


WMMA_SOURCE = "".join(wmma_source(*case) for case in WMMA_CASES)


@pytest.mark.parametrize("case", WMMA_CASES, ids=lambda case: wmma_name(*case))
def test_wmma(case):
    shape, _, _, dtype, out, b_columns = case
    m, n, k = shape
    rng = np.random.default_rng(1)
    low, high = (-100, 100) if dtype == "int8" else (0, 200) if dtype == "uint8" else (-4, 5)
    a = rng.integers(low, high, (m, k)).astype(numpy_type(dtype))
    b = rng.integers(low, high, (k, n)).astype(numpy_type(dtype))
    c = rng.integers(-4, 5, (m, n)).astype(out)
    lines = b.T if b_columns else b
    stored = np.zeros((lines.shape[0], b_pitch(shape, dtype, b_columns)), b.dtype)
    stored[:, : lines.shape[1]] = lines
    arrays = [a, stored, c, poisoned((m, n), out)]
    done = execute_kernel(WMMA_SOURCE, arrays, name=wmma_name(*case))
    assert done.faults == ()
    expected = (c.astype("float64") + a.astype("float64") @ b.astype("float64")).astype(out)
    np.testing.assert_array_equal(done.arrays[3], expected)


ALIGNMENTS = {  # bytes of a lane's registers: PTX manual, "Matrix Fragments for WMMA"
    ("signed char", (16, 16, 16), "matrix_a"): 8,
    ("signed char", (32, 8, 16), "matrix_a"): 16,
    ("signed char", (32, 8, 16), "matrix_b"): 4,
    ("half", (16, 16, 16), "matrix_a"): 32,
    ("half", (32, 8, 16), "matrix_b"): 32,
    ("nv_bfloat16", (16, 16, 16), "matrix_b"): 16,
    ("int", (16, 16, 16), "accumulator"): 32,
    ("half", (16, 16, 16), "accumulator"): 16,
}


@pytest.mark.parametrize("case", ALIGNMENTS, ids=lambda case: "-".join(map(str, case)))
def test_fragments_are_loaded_from_where_their_registers_fit(case):
    element, shape, use = case
    tile = ", ".join(map(str, shape))
    layout = "" if use == "accumulator" else ", row_major"
    order = ", mem_row_major" if use == "accumulator" else ""
    for bytes_off in (ALIGNMENTS[case], ALIGNMENTS[case] // 2):
        body = f"""
  using namespace nvcuda::wmma;
  fragment<{use}, {tile}, {element}{layout}> a[1];
  load_matrix_sync(a[0], ({element}*)(A + {bytes_off}), 32{order});
"""
        memory = np.zeros(4096, "uint8")
        faults = execute_kernel(kernel(body, "unsigned char* A"), [memory]).faults
        kinds = {fault.kind.name for fault in faults}
        assert kinds == (set() if bytes_off == ALIGNMENTS[case] else {"MISALIGNED"})


@pytest.mark.parametrize(("pitch", "fits"), [(8, True), (12, False), (16, True), (20, False)])
def test_lines_of_a_fragment_are_apart_by_a_multiple_of_its_registers(pitch, fits):
    body = f"""
  using namespace nvcuda::wmma;
  fragment<matrix_a, 16, 16, 16, signed char, row_major> a[1];
  load_matrix_sync(a[0], (signed char*)A, {pitch + 16});
"""
    faults = execute_kernel(kernel(body, "unsigned char* A"), [np.zeros(1024, "uint8")]).faults
    assert {fault.kind.name for fault in faults} == (set() if fits else {"MISALIGNED"})


def test_a_warp_that_is_not_whole_cannot_multiply():
    body = """
  using namespace nvcuda::wmma;
  fragment<accumulator, 16, 16, 16, float> c[1];
  fill_fragment(c[0], 1.0f);
  store_matrix_sync(D, c[0], 16, mem_row_major);
"""
    (fault,) = execute_kernel(
        kernel(body, "float* D"), [poisoned((16, 16), "float32")], block=(16, 1, 1)
    ).faults
    assert fault.kind.name == "DIVERGENCE"
    assert "store_matrix_sync" in fault.line.text
