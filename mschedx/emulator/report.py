"""What an execution found and counted."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Kind(enum.IntEnum):
    """Kinds of faults, under the numbers of ``runtime/machine.h``."""

    RACE = 0
    OUT_OF_BOUNDS = 1
    UNINITIALISED = 2
    MISALIGNED = 3
    DIVERGENCE = 4
    SHARED_SIZE = 5


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the CUDA source; 0 where the compiler kept none."""

    number: int
    text: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.text}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that no correct kernel does, at one place of the source.

    Attributes
    ----------
    kind : Kind
    line, other_line : Line or None
        Where; of a race, also where the other access was; of a divergence, where a thread waits
        that will not be joined.
    array : str
        ``shared``, an argument of the kernel, or empty.
    offset_bytes : int
        From the array's start, of the first such access. Of SHARED_SIZE, the bytes asked for.
    size_bytes : int
        Of the access. Of SHARED_SIZE, the limit.
    write, other_write : bool
    asynchronous : bool
        Whether the other access is a copy that was not waited for.
    thread, other_thread, block : int
        Linear indices.
    count : int
        How often, at this place.
    """

    kind: Kind
    line: Line
    other_line: Line | None
    array: str
    offset_bytes: int
    size_bytes: int
    write: bool
    other_write: bool
    asynchronous: bool
    thread: int
    other_thread: int
    block: int
    count: int

    def __str__(self) -> str:
        if self.kind is Kind.SHARED_SIZE:
            return (
                f"{self.offset_bytes} bytes of shared memory, more than the {self.size_bytes} "
                "that the target has"
            )
        if self.kind is Kind.DIVERGENCE:
            return (
                f"thread {self.thread} waits at {self.line}, "
                f"thread {self.other_thread} at {self.other_line}: they never meet"
            )
        did = "writes" if self.write else "reads"
        text = (
            f"{self.kind.name.lower().replace('_', ' ')}: thread {self.thread} of block "
            f"{self.block} {did} {self.size_bytes} bytes of {self.array} at byte "
            f"{self.offset_bytes}, {self.line}"
        )
        if self.kind is not Kind.RACE:
            return text
        other = "a write" if self.other_write else "a read"
        if self.asynchronous:
            other = "a copy not yet waited for"
        return f"{text}; unordered with {other} by thread {self.other_thread}, {self.other_line}"


@dataclass(frozen=True, slots=True)
class Requests:
    """Accesses of one line, by whole warps.

    Attributes
    ----------
    line : Line
    write, shared : bool
    requests : int
        Executions by a warp.
    size_bytes : int
        Summed over lanes.
    transfers : int
        Passes through shared memory's 32 banks; of global memory, sectors of 32 bytes.
    least : int
        Transfers of as many distinct bytes, laid out at best.
    """

    line: Line
    write: bool
    shared: bool
    requests: int
    size_bytes: int
    transfers: int
    least: int

    @property
    def conflicts(self) -> int:
        """Transfers beyond the least."""
        return self.transfers - self.least


@dataclass(frozen=True, slots=True)
class Counts:
    """What a program executed.

    Attributes
    ----------
    instructions : dict[str, int]
        Warp-wide instructions by warp (``mma.m16n8k16``, ``ldmatrix``, ``wmma.load``,
        ``wmma.mma.k16`` …); ``barrier``, ``cp.async``, ``cp.async.wait``, ``dp4a`` by thread.
    requests : tuple[Requests, ...]
    """

    instructions: dict[str, int]
    requests: tuple[Requests, ...]

    def total(self, what: str, *, shared: bool, write: bool | None = None) -> int:
        """Sum one number of :class:`Requests` over one memory, reads or writes or both."""
        return sum(
            getattr(one, what)
            for one in self.requests
            if one.shared == shared and write in (None, one.write)
        )


def merged(parts: Iterable[Counts]) -> Counts:
    """Counts of several launches together."""
    instructions: dict[str, int] = {}
    requests: list[Requests] = []
    for part in parts:
        for name, count in part.instructions.items():
            instructions[name] = instructions.get(name, 0) + count
        requests += part.requests
    return Counts(instructions, tuple(requests))
