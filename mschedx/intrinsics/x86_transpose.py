"""Transposing copies in registers: panel[run, window..., lanes] = matrix[lanes, run, window...].

A panel of an operand whose rows are contiguous (``B[N, K]``, convolution weights ``[O, I, H, W]``)
is a transposed copy. Written as loops, it costs a gather or a scatter a vector; here blocks of
``lanes`` rows by 8 or 16 columns go through shuffles, which cost a third of it. The functions are
LLVM assembly without target intrinsics, so every CPU has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

from tvm.tirx import PrimFunc

from .build import T, prim_func, register_once

_1D = ((1,), (3,), (5,))
_2D = ((1, 1), (3, 3), (5, 5), (7, 7), (1, 3), (3, 1))
_3D = ((1, 1, 1), (3, 3, 3))
WINDOWS: tuple[tuple[int, ...], ...] = ((), *_1D, *_2D, *_3D)
"""Extents that may follow the run in the matrix: the windows of common convolutions."""


@dataclass(frozen=True, slots=True)
class Transpose:
    """A block copy ``panel[run, window..., lanes] = matrix[lanes, run, window...]`` of float32.

    Parameters
    ----------
    lanes : int
        Rows of the matrix that become lanes of a panel: 8 or 16.
    run : int
        Columns of a block, 8 or 16; with the window they are contiguous in each row.
    window : tuple of int
        Extents after the run, one of :data:`WINDOWS`.
    gaps : tuple of int
        Dimensions between lanes and run in the matrix, and between run and lanes in the panel, of
        which a block has one element: ``[C, H, W]`` to ``[H, W, C]`` has one in the matrix.
    """

    lanes: int
    run: int
    window: tuple[int, ...]
    gaps: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """Name to give to ``Schedule.tensorize``."""
        shape = "x".join(str(extent) for extent in (self.lanes, self.run, *self.window))
        apart = "_".join(map(str, ("", *self.gaps))) if any(self.gaps) else ""
        return f"mschedx_transpose_{shape}_f32{apart}"

    def functions(self) -> tuple[PrimFunc, PrimFunc]:
        """Build the description and the implementation."""
        return prim_func(self._describe), prim_func(self._implement)

    def _buffers(self) -> tuple[Any, Any]:
        """Declare matrix and panel with strides that the caller's buffers decide."""
        row, column = T.int32(), T.int32()
        # The window is whole, so that the columns of a row are adjacent in both buffers.
        steps = [prod(self.window[d:]) for d in range(len(self.window) + 1)]
        first, second = ([T.int32() for _ in range(gap)] for gap in self.gaps)
        source = T.Buffer(
            (self.lanes, *(1 for _ in first), self.run, *self.window),
            strides=[row, *first, *steps],
            offset_factor=1,
        )
        target = T.Buffer(
            (self.run, *self.window, *(1 for _ in second), self.lanes),
            strides=[*(column * step for step in steps), *second, 1],
            offset_factor=1,
        )
        return source, target

    @contextmanager
    def _block(self) -> Iterator[tuple[Any, Any]]:
        source, target = self._buffers()
        source, target = T.arg("S", source), T.arg("D", target)
        with T.sblock("root"):
            T.reads(source[tuple(slice(0, n) for n in source.shape)])
            T.writes(target[tuple(slice(0, n) for n in target.shape)])
            yield source, target

    def _describe(self) -> None:
        with self._block() as (source, target):
            # Tensorising leaves loops of extent 1 outside, so the description has none.
            wide = [extent for extent in self.window if extent > 1]
            with T.grid(self.run, *wide, self.lanes) as loops, T.sblock("transpose"):
                # The axes come in the matrix's order, as in a block that cache_read makes.
                order = [loops[-1], *loops[:-1]]
                lane, run, *rest = T.axis.remap("S" * len(order), order)
                inner = iter(rest)
                column = [run, *(next(inner) if extent > 1 else 0 for extent in self.window)]
                between, apart = ([0] * gap for gap in self.gaps)
                T.buffer_store(target, source[(lane, *between, *column)], [*column, *apart, lane])

    def _implement(self) -> None:
        columns = self.run * prod(self.window)
        width = next(w for w in (16, 8) if columns % w == 0)
        imported = transpose_source(self.lanes, width)
        with self._block() as (source, target), T.attr(0, "pragma_import_llvm", imported):
            name, zeros = _function(self.lanes, width), [0] * len(self.window)
            between, apart = ([0] * gap for gap in self.gaps)
            with T.serial(columns // width) as part:
                # Pointers only: integers would be narrowed to the caller's index type. Columns are
                # adjacent, so the innermost index may count all of them.
                first = part * width
                rows = [source[(i, *between, *zeros, first)] for i in (0, 1)]
                ends = [target[(*zeros, first + i, *apart, 0)] for i in (0, 1)]
                pointers = [T.address_of(element) for element in (*rows, *ends)]
                T.evaluate(T.call_extern("int32", name, *pointers))


def _function(lanes: int, width: int) -> str:
    return f"mschedx_transpose_{lanes}x{width}"


@cache
def transpose_source(lanes: int, width: int) -> str:
    """Write, in LLVM's language, a function that transposes ``lanes`` x ``width`` 32-bit values.

    Arguments: the block's first element in the matrix and the one below it, its first element in
    the panel and the one in the panel's next row.
    """
    side = min(lanes, width)
    lines = [
        f"define linkonce_odr i32 @{_function(lanes, width)}"
        "(ptr %s, ptr %below, ptr %d, ptr %next) alwaysinline {",
        *_distance("row", "s", "below"),
        *_distance("step", "d", "next"),
    ]
    tiles = [
        [_tile(lines, top, left, side) for left in range(0, width, side)]
        for top in range(0, lanes, side)
    ]
    for column in range(width):
        # Each tile holds its transpose: row `column` of it is a part of the panel's row.
        parts = [band[column // side][column % side] for band in tiles]
        _store(lines, parts, side, column)
    return "\n".join([*lines, "  ret i32 0", "}", ""])


def _distance(name: str, first: str, second: str) -> list[str]:
    """Bytes from one pointer to another."""
    return [
        f"  %{first}_at = ptrtoint ptr %{first} to i64",
        f"  %{second}_at = ptrtoint ptr %{second} to i64",
        f"  %{name} = sub i64 %{second}_at, %{first}_at",
    ]


def _tile(lines: list[str], top: int, left: int, side: int) -> list[str]:
    """Load a square of the matrix and swap ever smaller off-diagonal squares of it."""
    vector, mark = f"<{side} x float>", f"{top}_{left}"
    rows = []
    for i in range(side):
        lines.append(f"  %o{mark}_{i} = mul i64 %row, {top + i}")
        lines.append(f"  %p{mark}_{i} = getelementptr i8, ptr %s, i64 %o{mark}_{i}")
        lines.append(f"  %q{mark}_{i} = getelementptr float, ptr %p{mark}_{i}, i64 {left}")
        lines.append(f"  %v{mark}_{i} = load {vector}, ptr %q{mark}_{i}, align 4")
        rows.append(f"%v{mark}_{i}")
    step = side // 2
    while step:
        swapped = list(rows)
        for i in (i for i in range(side) if not i & step):
            upper = [j if not j & step else side + j - step for j in range(side)]
            lower = [j + step if not j & step else side + j for j in range(side)]
            for place, mask in ((i, upper), (i + step, lower)):
                name = f"%x{mark}_{step}_{place}"
                pair = f"{vector} {rows[i]}, {vector} {rows[i + step]}"
                lines.append(f"  {name} = shufflevector {pair}, {_mask(mask)}")
                swapped[place] = name
        rows, step = swapped, step // 2
    return rows


def _store(lines: list[str], parts: list[str], side: int, column: int) -> None:
    value, length = parts[0], side
    if len(parts) == 2:
        value, length = f"%w{column}", 2 * side
        pair = f"<{side} x float> {parts[0]}, <{side} x float> {parts[1]}"
        lines.append(f"  {value} = shufflevector {pair}, {_mask(list(range(length)))}")
    lines.append(f"  %e{column} = mul i64 %step, {column}")
    lines.append(f"  %f{column} = getelementptr i8, ptr %d, i64 %e{column}")
    lines.append(f"  store <{length} x float> {value}, ptr %f{column}, align 4")


def _mask(order: list[int]) -> str:
    return f"<{len(order)} x i32> <{', '.join(f'i32 {j}' for j in order)}>"


GAPS = ((0, 1), (1, 0), (0, 2), (2, 0))
"""Of images whose channels go from one end to the other, in two and three dimensions."""

TRANSPOSES = (
    *(Transpose(lanes, run, window) for lanes in (16, 8) for run in (16, 8) for window in WINDOWS),
    *(Transpose(lanes, run, (), gaps) for lanes in (16, 8) for run in (16, 8) for gaps in GAPS),
)


def find_transpose(
    lanes: int, run: int, window: tuple[int, ...], gaps: tuple[int, int] = (0, 0)
) -> Transpose | None:
    """The widest transposing copy whose blocks tile ``run`` columns; None if there is none.

    Parameters
    ----------
    lanes : int
        Length of a panel's vectors.
    run : int
        Extent of the dimension that follows the lanes' in the matrix.
    window : tuple of int
        Extents of the dimensions after it.
    gaps : tuple of int
        Dimensions between the two in the matrix, and in the panel.
    """
    wanted = (lanes, window, gaps)
    fitting = (t for t in TRANSPOSES if (t.lanes, t.window, t.gaps) == wanted and run % t.run == 0)
    return max(fitting, key=lambda t: t.run, default=None)


def register() -> None:
    """Register every transposing copy with TVM; safe to call again."""
    for transpose in TRANSPOSES:
        register_once(transpose.name, transpose.functions)
