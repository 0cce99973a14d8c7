"""A compiled winner checks or copies what it is given, and never reads where it must not."""

import copy
import pickle
import threading
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
import torch
import tvm
import tvm_ffi
from tvm import te, topi

from mschedx import compat
from mschedx.hardware import host_target
from mschedx.inputs import normalize_mod
from mschedx.kernel import Compiled, Kernel, Parameter, parameters_of
from mschedx.workloads import make

N = 64


def compiled(func, schedule=lambda sch: None):
    mod = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    sch = tvm.s_tir.Schedule(mod)
    schedule(sch)
    target = host_target()
    return Compiled(tvm.compile(sch.mod, target=target), mod, target)


def vectors(sch):
    """Make accesses that end the process where an array is not aligned."""
    i, j = sch.get_loops(sch.get_sblock("C"))
    sch.vectorize(sch.split(j, [None, 16])[1])
    sch.parallel(i)


def scaled(dtype="float32"):
    a = te.placeholder((N, N), dtype, name="A")
    return te.create_prim_func([a, te.compute((N, N), lambda i, j: a[i, j] + a[i, j], name="C")])


@pytest.fixture(scope="module")
def double():
    return compiled(scaled(), vectors)["main"]


def placed(offset, dtype="float32", shape=(N, N)):
    """An array of ones that begins `offset` bytes after a boundary of 64."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 128, np.uint8)
    begin = -raw.ctypes.data % 64 + offset
    array = raw[begin : begin + size].view(dtype).reshape(shape)
    array[...] = 1
    return array


def test_copies_are_itself_and_none_is_pickled(double):
    whole = compiled(scaled())
    for one in (double, whole):
        assert copy.copy(one) is copy.deepcopy(one) is one
        with pytest.raises(TypeError, match="export a library and load that"):
            pickle.dumps(one)


@pytest.mark.parametrize("a", [0, 4, 16, 32])
@pytest.mark.parametrize("c", [0, 4, 16])
def test_numpy_arrays_may_lie_anywhere(double, a, c):
    out = placed(c)
    double(placed(a), out)
    assert (out == 2).all()


@pytest.fixture(scope="module")
def turned():
    """Its rows are columns of what it reads: whoever writes them too early spoils the rest."""
    a = te.placeholder((N, N), name="A")
    return compiled(te.create_prim_func([a, te.compute((N, N), lambda i, j: a[j, i], name="C")]))[
        "main"
    ]


LIBRARIES = [np.asarray, torch.from_numpy, tvm_ffi.from_dlpack]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("offset", [0, 16])
def test_an_input_may_be_the_output_as_in_numpy(turned, library, offset):
    array = placed(offset)
    array[...] = np.arange(N * N).reshape(N, N)
    expected = array.T.copy()
    turned(library(array), library(array))
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shift", [-16, -1, 1, 16])
def test_an_input_may_lie_across_an_output(turned, library, shift):
    rows = placed(0, shape=(2 * N, N))
    rows[...] = np.arange(rows.size).reshape(rows.shape)
    before = rows.copy()
    turned(library(rows[16 + shift :][:N]), library(rows[16 : 16 + N]))
    expected = before.copy()
    expected[16 : 16 + N] = before[16 + shift :][:N].T
    np.testing.assert_array_equal(rows, expected)


def test_neighbours_in_one_array_are_not_copied(turned, monkeypatch):
    monkeypatch.setattr("mschedx.kernel.empty", lambda *_: pytest.fail("copied"))
    rows = placed(0, shape=(2 * N, N))
    turned(rows[:N], rows[N:])
    turned(rows[N:], rows[:N])


@pytest.mark.parametrize("offset", [0, 16])
def test_two_outputs_in_one_memory_are_refused(offset):
    a = te.placeholder((N, N), name="A")
    more = te.compute((N, N), lambda i, j: a[i, j] + 1, name="more")
    less = te.compute((N, N), lambda i, j: a[i, j] - 1, name="less")
    both = compiled(te.create_prim_func([a, more, less]))["main"]
    out = placed(offset, shape=(N, 2 * N))
    both(placed(0), out[:, ::2], out[:, 1::2])
    assert (out[:, ::2] == 2).all()
    assert (out[:, 1::2] == 0).all()
    same = placed(offset)
    with pytest.raises(ValueError, match="got one memory for more and less: pass an array"):
        both(placed(0), same, same)
    assert (same == 1).all()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("offset", [0, 16])
def test_outputs_are_written_into_the_array_that_was_given(double, library, offset):
    a, c = placed(offset), placed(offset)
    double(library(a), library(c))
    assert (c == 2).all()
    assert (a == 1).all()


def test_arrays_that_can_be_used_are_not_copied(double, monkeypatch):
    monkeypatch.setattr("mschedx.kernel.empty", lambda *_: pytest.fail("copied"))
    out = placed(0)
    double(placed(0), out)
    tensors = torch.ones(N, N, requires_grad=True), torch.empty(N, N)
    double(*tensors)
    assert (out == 2).all()
    assert (tensors[1] == 2).all()


def test_views_are_copied_and_written_back(double):
    wide = np.zeros((N, 2 * N), np.float32)
    double(np.asfortranarray(placed(0)), wide[:, ::2])
    assert (wide[:, ::2] == 2).all()
    assert (wide[:, 1::2] == 0).all()
    tensor = torch.zeros(N, 2 * N)
    double(torch.ones(2 * N, N).t()[:, :N], tensor[:, N:])
    assert (tensor[:, N:] == 2).all()
    assert (tensor[:, :N] == 0).all()


class Image(torch.Tensor):
    """A class of tensors as torchvision's and MONAI's are, of another module than torch."""


@pytest.mark.parametrize(
    "given",
    [
        lambda: torch.ones(N, N),
        lambda: torch.ones(N, 2 * N)[:, ::2],
        lambda: torch.ones(N, N, requires_grad=True),
    ],
)
def test_tensors_of_a_class_of_their_own_are_torchs(double, given):
    out = torch.zeros(N, 2 * N).as_subclass(Image)
    double(given().as_subclass(Image), out[:, N:])
    assert (out[:, N:] == 2).all()
    assert (out[:, :N] == 0).all()


def test_inputs_may_be_read_only_and_outputs_not(double):
    a, c = placed(0), placed(0)
    a.flags.writeable = False
    double(a, c)
    assert (c == 2).all()
    with pytest.raises(ValueError, match=r"C: float32 \[64, 64\]; got an array that is read-only"):
        double(c, a)


@pytest.mark.parametrize(
    ("args", "error", "says"),
    [
        ((placed(0),), TypeError, r"takes 2 arrays \(A: float32 \[64, 64\], C: .*got 1"),
        ((placed(0), placed(0), placed(0)), TypeError, "got 3"),
        ((placed(0, "float64"), placed(0)), TypeError, "A: float32 .*got dtype float64"),
        ((placed(0, ">f4"), placed(0)), TypeError, "other byte order"),
        ((torch.ones(N, N, dtype=torch.int32), placed(0)), TypeError, "got dtype int32"),
        ((placed(0, shape=(N, 32)), placed(0)), ValueError, r"got shape \[64, 32\]"),
        ((placed(0, shape=(N * N,)), placed(0)), ValueError, r"got shape \[4096\]"),
        (([[1.0]], placed(0)), TypeError, "got list, which is no array"),
        ((1.0, placed(0)), TypeError, "got float, which is no array"),
        ((torch.ones(N, N, device="meta"), placed(0)), ValueError, "that cannot be shared.*meta"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(double, args, error, says):
    with pytest.raises(error, match=says):
        double(*args)


def test_a_tensor_that_cannot_be_shared_without_a_reason_is_refused(double):
    class Closed:
        shape, dtype = (N, N), "float32"

        def __dlpack__(self, **_):
            raise BufferError

        def __dlpack_device__(self):
            return 1, 0

    with pytest.raises(ValueError, match=r"cannot be shared \(BufferError\(\)"):
        double(Closed(), placed(0))


def test_an_array_may_have_the_protocol_alone(double):
    class Bare:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    a, c = np.ones((N, N), "float32"), placed(0)
    double(Bare(a), c)
    assert (c == 2).all()
    with pytest.raises(ValueError, match="shape"):
        double(Bare(np.ones((N, N + 1), "float32")), c)


def test_a_tensor_on_another_device_is_refused(double):
    kernel = type(double)(double.function, "main", double.parameters, tvm.cuda())
    with pytest.raises(ValueError, match=r"a tensor on cpu:0, but it runs on cuda:0: move it"):
        kernel(torch.ones(N, N), torch.ones(N, N))


def test_a_tensor_on_another_gpu_is_refused(double, monkeypatch):
    def shared(_):
        return SimpleNamespace(
            device=tvm.cuda(1), is_contiguous=lambda: True, data_ptr=lambda: 1 << 20
        )

    monkeypatch.setattr(tvm_ffi, "from_dlpack", shared)
    first, second = (
        type(double)(double.function, "main", double.parameters, tvm.cuda(index))
        for index in (0, 1)
    )
    with pytest.raises(ValueError, match=r"a tensor on cuda:1, but it runs on cuda:0: move it"):
        first.prepare(torch.ones(N, N), first.parameters[0])
    assert second.prepare(torch.ones(N, N), second.parameters[0])[0].device == tvm.cuda(1)


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float64", "int8", "uint8", "int32", "int64"]
)
@pytest.mark.parametrize("offset", [0, 16])
def test_dtypes(dtype, offset):
    kernel = compiled(scaled(dtype))["main"]
    kind = getattr(ml_dtypes, dtype, dtype)
    a, c = placed(offset, kind), placed(offset, kind)
    kernel(a, c)
    assert (c == 2).all()
    tensors = [torch.ones(N, N).to(getattr(torch, dtype)) for _ in range(2)]
    kernel(*tensors)
    assert (tensors[1] == 2).all()


@pytest.mark.skipif(compat.available_cores() < 2, reason="needs a pool of threads")
def test_a_kernel_uses_all_cores_unless_it_is_told_how_many():
    seen = []

    def count(*tensors):
        seen.append(tvm_ffi.get_global_func("runtime.NumThreads")())

    def called(cores):
        caller = compat.Caller(cores)
        Kernel(count, "count", (), tvm.cpu(), caller)()

    pool = threading.Thread(target=lambda: [called(cores) for cores in (None, 1)])
    pool.start()
    pool.join()
    assert seen == [compat.available_cores(), 1]


def test_a_result_is_compiled_for_so_many_cores():
    mod, target = normalize_mod(make("gemm", (16, 16, 16))), host_target()
    kernel = Compiled(tvm.compile(mod, target=target), mod, target, 1)["main"]
    assert kernel.caller is not None
    assert kernel.caller.call(tvm_ffi.get_global_func("runtime.NumThreads")) == 1


def test_functions_have_their_names(double):
    module = compiled(scaled())
    out = placed(4)
    module(placed(4), out)
    assert (out == 2).all()
    with pytest.raises(KeyError, match="'other', only main"):
        module["other"]
    assert hasattr(module, "export_library")


def test_parameters_say_which_are_written():
    assert parameters_of(make("gemm", (8, 16, 32))) == (
        Parameter("A", "float32", (8, 32), written=False),
        Parameter("B", "float32", (32, 16), written=False),
        Parameter("C", "float32", (8, 16), written=True),
    )


def test_what_a_block_stores_without_saying_so_is_copied_back():
    x = te.placeholder((N, N), name="x")
    function = te.create_prim_func([x, topi.cumsum(x, 1)])
    assert [one.written for one in parameters_of(function)] == [False, True]
    out = placed(16)
    compiled(function)["main"](placed(0), out)
    np.testing.assert_array_equal(out[0], np.arange(1, N + 1))
