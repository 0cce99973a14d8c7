"""The runtime's C interface, as ``runtime/launch.cc`` and its neighbours declare it."""

from __future__ import annotations

import _ctypes
import ctypes
import enum
import re
import shutil
import subprocess
from collections.abc import Iterable
from ctypes import (
    POINTER,
    byref,
    c_char_p,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any

import numpy as np

from .build import Library
from .report import Counts, Fault, Kind, Line, Requests
from .source import Launch


class LaunchOutcome(enum.IntEnum):
    """How a launch ended."""

    FINISHED = 0
    GIVEN_UP = 1
    FINER_GRANULES = 2
    TOO_LARGE = 3


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", c_uint32 * 3),
        ("block", c_uint32 * 3),
        ("dynamic_bytes", c_uint64),
        ("shared_limit", c_uint64),
        ("seed", c_uint64),
        ("preempt_mean", c_uint64),
        ("counting", c_uint32),
        ("granule_log2", c_uint32),
        ("arrays", c_uint64),
        ("data", POINTER(c_void_p)),
        ("bytes", POINTER(c_size_t)),
    )


class _Fault(ctypes.Structure):
    _fields_ = (
        ("kind", c_int32),
        ("array", c_int32),
        ("offset", c_int64),
        ("bytes", c_int32),
        ("write", c_int32),
        ("other_write", c_int32),
        ("asynchronous", c_int32),
        ("thread", c_int32),
        ("other_thread", c_int32),
        ("block", c_int32),
        ("reserved", c_int32),
        ("pc", c_uint64),
        ("other_pc", c_uint64),
        ("count", c_uint64),
    )


class _Site(ctypes.Structure):
    _fields_ = (
        ("pc", c_uint64),
        ("write", c_uint32),
        ("shared", c_uint32),
        ("requests", c_uint64),
        ("bytes", c_uint64),
        ("transfers", c_uint64),
        ("least", c_uint64),
    )


class _Instruction(ctypes.Structure):
    _fields_ = (("name", c_char_p), ("count", c_uint64))


def declare(machine: ctypes.CDLL) -> ctypes.CDLL:
    """Give the runtime's functions their types."""
    machine.emulator_launch.argtypes = [c_void_p, POINTER(_Launch)]
    machine.emulator_launch.restype = c_int32
    for name, kind in (("faults", _Fault), ("sites", _Site), ("instructions", _Instruction)):
        function = getattr(machine, f"emulator_{name}")
        function.argtypes = [POINTER(POINTER(kind))]
        function.restype = c_uint64
    machine.emulator_more_faults.argtypes = []
    machine.emulator_more_faults.restype = c_uint64
    machine.emulator_code_start.argtypes = [c_uint64]
    machine.emulator_code_start.restype = c_uint64
    return machine


def close(library: ctypes.CDLL) -> None:
    """Unload a library."""
    _ctypes.dlclose(library._handle)


def request(
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    shared: tuple[int, int],
    options: tuple[int, int, bool, int],
    arrays: list[np.ndarray],
) -> _Launch:
    """Describe a launch; the arrays must outlive it.

    Parameters
    ----------
    grid, block : tuple[int, int, int]
    shared : tuple[int, int]
        Dynamic bytes, and most bytes together with static ones.
    options : tuple[int, int, bool, int]
        Seed, accesses between pre-emptions, whether to count, log2 of a granule's bytes.
    arrays : list[numpy.ndarray]
        The kernel's arguments.
    """
    seed, preempt, count, granule = options
    n = len(arrays)
    return _Launch(
        (c_uint32 * 3)(*grid),
        (c_uint32 * 3)(*block),
        *shared,
        seed,
        preempt,
        count,
        granule,
        n,
        (c_void_p * n)(*(array.ctypes.data for array in arrays)),
        (c_size_t * n)(*(array.nbytes for array in arrays)),
    )


def launch(machine: ctypes.CDLL, kernel: Any, described: _Launch) -> LaunchOutcome:
    """Run a kernel.

    Raises
    ------
    MemoryError
        If its arrays are larger than the emulator's memory.
    """
    outcome = LaunchOutcome(
        machine.emulator_launch(ctypes.cast(kernel, c_void_p), byref(described))
    )
    if outcome is LaunchOutcome.TOO_LARGE:
        total = sum(described.bytes[i] for i in range(described.arrays))
        raise MemoryError(
            "expected at most 64 arrays, 2 GiB together, "
            f"got {described.arrays} of {total} bytes: emulate smaller shapes"
        )
    return outcome


def faults(machine: ctypes.CDLL, library: Library, described: Launch) -> list[Fault]:
    """Read what the last launch found, with lines of the source."""
    found = _all(machine.emulator_faults, _Fault)
    lines = _lines(machine, library, {pc for one in found for pc in (one.pc, one.other_pc)})
    names = [library.program.arrays[place].name for place in described.arguments]
    return [
        Fault(
            kind=Kind(one.kind),
            line=lines[one.pc],
            other_line=lines[one.other_pc] if one.other_pc else None,
            array="shared" if one.array == -1 else names[one.array] if one.array >= 0 else "",
            offset_bytes=one.offset,
            size_bytes=one.bytes,
            write=bool(one.write),
            other_write=bool(one.other_write),
            asynchronous=bool(one.asynchronous),
            thread=one.thread,
            other_thread=one.other_thread,
            block=one.block,
            count=one.count,
        )
        for one in found
    ]


def more_faults(machine: ctypes.CDLL) -> int:
    """How many accesses of the last launch were at fault beyond the places that are kept."""
    return int(machine.emulator_more_faults())


def counts(machine: ctypes.CDLL, library: Library) -> Counts:
    """Read what the last launch counted."""
    sites = _all(machine.emulator_sites, _Site)
    lines = _lines(machine, library, {one.pc for one in sites})
    requests = (
        Requests(
            lines[one.pc],
            bool(one.write),
            bool(one.shared),
            one.requests,
            one.bytes,
            one.transfers,
            one.least,
        )
        for one in sites
    )
    instructions = _all(machine.emulator_instructions, _Instruction)
    return Counts({one.name.decode(): one.count for one in instructions}, tuple(requests))


def _all(function: Any, kind: type) -> list[Any]:
    found = POINTER(kind)()
    count = function(byref(found))
    return [kind.from_buffer_copy(found[i]) for i in range(count)]


def _statement(text: list[str], number: int) -> str:
    """Give a line, and of an asm statement the next, where the instruction stands."""
    one = text[number - 1 : number + 1]
    return (one[-1] if "asm" in one[0] else one[0]).strip()


def _lines(machine: ctypes.CDLL, library: Library, addresses: set[int]) -> dict[int, Line]:
    """Find the lines of return addresses, in the kernel rather than in what was inlined there."""
    lines = dict.fromkeys(addresses, Line(0, ""))
    wanted = sorted(addresses - {0})
    tool = shutil.which("addr2line")
    if not wanted or tool is None:
        return lines
    start = machine.emulator_code_start(wanted[0])
    offsets = [hex(address - start - 1) for address in wanted]
    command = [tool, "-a", "-i", "-e", str(library.path), *offsets]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = library.program.source.splitlines()
    blocks: Iterable[str] = re.split(r"^0x[0-9a-f]+\n", said, flags=re.MULTILINE)[1:]
    for address, block in zip(wanted, blocks, strict=True):
        numbers = re.findall(r"\.cc:(\d+)", block)
        if numbers:
            number = int(numbers[-1])
            lines[address] = Line(number, _statement(text, number))
    return lines
