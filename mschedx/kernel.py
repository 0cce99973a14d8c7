"""A compiled winner that can be called with anybody's arrays.

What LLVM makes of a schedule takes its buffers to lie on boundaries of 64 bytes, and TVM's wrapper
around it checks number, dtype and shape of the arguments but not that: a NumPy array, which lies
on 16, ends the process. :class:`Kernel` looks first. Arrays that can be used where they lie are
used there, others are copied, and what the function writes is copied back. So are inputs that share
memory with an output: tiles of it are written while others are still read. TVM by itself would use
half of the cores; a kernel gets all of them, or what was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import tvm_ffi
from tvm.runtime import DataType, Executable, cpu, device_from_target, empty

from mschedx.compat import PERFORMED_AHEAD, Caller
from mschedx.error_text import first_line

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target

_BYTES = 64  # kAllocAlignment: what TVM allocates with, and its code generators rely on

CopyBack = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A buffer that a function takes: what is expected of the array in its place."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    written: bool
    alignment: int = _BYTES

    @property
    def nbytes(self) -> int:
        """Of the array, compact."""
        element = DataType(self.dtype)
        return (math.prod(self.shape) * element.bits * element.lanes + 7) // 8

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} {list(self.shape)}"


def packed_ahead(mod: IRModule) -> tuple[str, ...]:
    """Name the buffers that a scheduled module packs in blocks TVM takes out and performs ahead.

    Candidates are measured without those blocks; :class:`Compiled` performs them at every call.
    """
    from tvm.s_tir import SBlock

    names: list[str] = []

    def visit(block: Any) -> None:
        if PERFORMED_AHEAD in block.annotations:
            names.extend(str(region.source.name) for region in block.reads)

    for function in mod.functions.values():
        tvm_ffi.structural_walk(function.body, (SBlock, visit))
    return tuple(names)


class OfOneProcess:
    """A function whose code and threads are this process's: copies are itself, none is pickled."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled, since its code and threads belong to this "
            "process: export a library and load that in the other process, or fork"
        )


class Compiled(OfOneProcess, Executable):
    """What ``tvm.compile`` gives, whose functions check their arguments and use all cores.

    Everything else is TVM's: ``mod``, ``export_library``. A library exported from it and loaded
    with TVM does not check: its arrays must be C-contiguous, on the target's device, and begin on
    a boundary of 64 bytes, as ``tvm.runtime.tensor`` and torch allocate them and NumPy does not. It
    uses half of the cores unless its process has ``TVM_NUM_THREADS=<cores> TVM_BIND_THREADS=0``.

    Parameters
    ----------
    executable : Executable
        What ``tvm.compile`` made of the scheduled module.
    mod : IRModule
        The unscheduled module, for its parameters.
    target : Target
    cores : int, optional
        That kernels of a CPU use; when None what `mschedx.compat.Caller` takes then.
    """

    def __init__(
        self, executable: Executable, mod: IRModule, target: Target, cores: int | None = None
    ) -> None:
        super().__init__(executable.mod)
        self._device = device_from_target(target)
        self._caller = Caller(cores) if _is_host(self._device) else None
        self._parameters = {
            str(func.attrs["global_symbol"]): parameters_of(func) for func in mod.functions.values()
        }

    # Called as TVM's Function is, which is all that who asks for one by name does with it.
    def __getitem__(self, name: str) -> Kernel:  # pyright: ignore[reportIncompatibleMethodOverride]
        if name not in self._parameters:
            raise KeyError(f"there is no function {name!r}, only {', '.join(self._parameters)}")
        function, parameters = super().__getitem__(name), self._parameters[name]
        return Kernel(function, name, parameters, self._device, self._caller)

    def __call__(self, *args: Any) -> None:
        """Call the only function."""
        (name,) = self._parameters
        self[name](*args)


@dataclass(frozen=True, slots=True)
class Kernel(OfOneProcess):
    """A function that takes NumPy arrays, torch or TVM tensors, or any that DLPack knows.

    Any thread may call it, also in a process that was forked after it ran.

    Attributes
    ----------
    function : tvm_ffi.Function
        The function itself, which takes TVM tensors as :class:`Compiled` says, checks less, and
        uses the cores that the calling thread's pool has.
    parameters : tuple of Parameter
        Outputs come last and are passed by the caller.
    caller : Caller, optional
        What runs it with its cores; the calling thread, with those that it has, when None.
    """

    function: Any
    name: str
    parameters: tuple[Parameter, ...]
    device: Any
    caller: Caller | None = None

    def __call__(self, *args: Any) -> None:
        """Run it; outputs are written into the arrays given for them.

        Raises
        ------
        TypeError
            For another number of arguments, another dtype, or no array.
        ValueError
            For another shape, an array on another device, an output that cannot be written, or two
            outputs that share memory.
        """
        if len(args) != len(self.parameters):
            raise TypeError(
                f"{self.name} takes {len(self.parameters)} arrays "
                f"({', '.join(map(str, self.parameters))}), outputs included; got {len(args)}"
            )
        prepared = [self.prepare(arg, p) for arg, p in zip(args, self.parameters)]
        tensors = self._apart(args, [tensor for tensor, _ in prepared])
        if self.caller is None:
            self.function(*tensors)
        else:
            self.caller.call(self.function, *tensors)
        for (_, copy_back), parameter in zip(prepared, self.parameters):
            if copy_back is not None and parameter.written:
                copy_back()

    def prepare(self, arg: Any, parameter: Parameter) -> tuple[Any, CopyBack | None]:
        """Give a tensor that the function may use; where that is a copy, also the way back."""
        wrong = f"{self.name} expects {parameter}; got "
        if not isinstance(arg, np.ndarray) and not hasattr(arg, "__dlpack__"):
            raise TypeError(f"{wrong}{type(arg).__name__}, which is no array")
        if not (hasattr(arg, "dtype") and hasattr(arg, "shape")):  # it has the protocol alone
            arg = _shared(arg, wrong)
        if _dtype_of(arg) != parameter.dtype:
            raise TypeError(f"{wrong}dtype {_dtype_of(arg)}; convert it first")
        shape = tuple(int(extent) for extent in arg.shape)
        if shape != parameter.shape:
            raise ValueError(f"{wrong}shape {list(shape)}")
        if isinstance(arg, np.ndarray):
            if parameter.written and not arg.flags.writeable:
                raise ValueError(f"{wrong}an array that is read-only, for an output")
            return self._from_numpy(arg, parameter)
        tensor = _shared(_plain(arg), wrong)
        if not self._is_here(tensor.device):
            raise ValueError(
                f"{wrong}a tensor on {tensor.device}, but it runs on {self.device}: move it there"
            )
        if tensor.is_contiguous() and tensor.data_ptr() % parameter.alignment == 0:
            return tensor, None
        if is_torch(arg):
            return _from_torch(_plain(arg))
        if tensor.is_contiguous():
            copy = empty(parameter.shape, parameter.dtype, tensor.device)
            tensor.copyto(copy)
            return copy, lambda: copy.copyto(tensor)
        raise ValueError(f"{wrong}one that is not contiguous: copy it first")

    def _apart(self, args: Sequence[Any], tensors: list[Any]) -> list[Any]:
        """Copy the inputs that share memory with an output, as NumPy's functions do."""
        spans = [_span(tensor, p) for tensor, p in zip(tensors, self.parameters)]
        for output, written in enumerate(self.parameters):
            if not written.written:
                continue
            for other, parameter in enumerate(self.parameters):
                if other == output:
                    continue
                meet = _meet(spans[output], spans[other])
                if parameter.written and (meet or _share(args[output], args[other])):
                    raise ValueError(
                        f"{self.name} expects outputs in memory of their own; got one memory for "
                        f"{written.name} and {parameter.name}: pass an array for each"
                    )
                if meet:
                    copy = empty(parameter.shape, parameter.dtype, tensors[other].device)
                    tensors[other].copyto(copy)
                    tensors[other], spans[other] = copy, _span(copy, parameter)
        return tensors

    def _is_here(self, device: Any) -> bool:
        kind = device.dlpack_device_type()
        if kind != self.device.dlpack_device_type():
            return False
        # Of GPUs there may be several; the host is one, whatever number its memory has.
        return _is_host(self.device) or device.index == self.device.index

    def _from_numpy(self, arg: np.ndarray, parameter: Parameter) -> tuple[Any, CopyBack | None]:
        host = _is_host(self.device)
        known = arg.dtype.kind in "biuf" and arg.flags.writeable  # what NumPy hands on by DLPack
        aligned = arg.flags.c_contiguous and arg.ctypes.data % parameter.alignment == 0
        if host and known and aligned:
            return tvm_ffi.from_dlpack(arg), None
        copy = empty(parameter.shape, parameter.dtype, self.device)
        copy.copyfrom(np.ascontiguousarray(arg).reshape(parameter.shape))

        def copy_back() -> None:
            arg[...] = copy.numpy()

        return copy, copy_back


def _span(tensor: Any, parameter: Parameter) -> tuple[int, int]:
    """Where a compact tensor begins and ends in memory."""
    begin = tensor.data_ptr()
    return begin, begin + parameter.nbytes


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def _share(one: Any, other: Any) -> bool:
    """Whether NumPy arrays share memory, which their copies do not."""
    both = isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    return both and np.may_share_memory(one, other) and np.shares_memory(one, other)


def _is_host(device: Any) -> bool:
    return device.dlpack_device_type() == cpu().dlpack_device_type()


def _from_torch(arg: Any) -> tuple[Any, CopyBack]:
    import torch

    copy = torch.empty(arg.shape, dtype=arg.dtype, device=arg.device)
    copy.copy_(arg)
    return tvm_ffi.from_dlpack(copy), lambda: arg.copy_(copy)


def parameters_of(func: Any) -> tuple[Parameter, ...]:
    """Describe the buffers that an unscheduled PrimFunc takes.

    Of a block that does not say what it writes, such as a running sum, what it stores counts; where
    nothing is seen to be written, the last buffer is.
    """
    from tvm.s_tir import SBlock
    from tvm.tirx import BufferStore

    written: list[Any] = []

    def visit(block: Any) -> None:
        written.extend(region.source for region in block.writes)

    stores = (BufferStore, lambda store: written.append(store.buffer))
    tvm_ffi.structural_walk(func.body, ((SBlock, visit), stores))
    if not any(param.same_as(buffer) for param in func.params for buffer in written):
        written.extend(func.params[-1:])
    return tuple(
        Parameter(
            name=str(param.name),
            dtype=str(param.dtype),
            shape=tuple(int(extent) for extent in param.shape),
            written=any(param.same_as(buffer) for buffer in written),
            alignment=max(_BYTES, int(param.data_alignment)),
        )
        for param in func.params
    )


def _shared(array: Any, wrong: str) -> Any:
    """A tensor of TVM in the memory of another framework's."""
    try:
        return tvm_ffi.from_dlpack(array)
    except (RuntimeError, BufferError, TypeError) as error:
        reason = first_line(error)
        raise ValueError(f"{wrong}a tensor that cannot be shared ({reason})") from error


def _dtype_of(array: Any) -> str:
    name = str(array.dtype)
    if isinstance(array, np.ndarray) and not array.dtype.isnative:
        return f"{name} of the other byte order"
    return name.removeprefix("torch.")


def is_torch(array: Any) -> bool:
    """Whether it is a tensor of torch, of whatever class; torch is not imported to find out."""
    return any(c.__name__ == "Tensor" and c.__module__ == "torch" for c in type(array).__mro__)


def _plain(array: Any) -> Any:
    """Leave out what torch knows about gradients, and what a class of tensors does besides."""
    if not is_torch(array):
        return array
    import torch

    return array.detach().as_subclass(torch.Tensor)
