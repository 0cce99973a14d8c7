"""What verification needs to know of the unscheduled program, and how to run it fast enough."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from .tolerance import Precision, epsilon

_REDUCE = 2  # tirx.IterVar.CommReduce
_UNBOUNDED = (1 << 31) - 1  # what is known of an integer that was loaded
_LONG = 1 / 32  # from this product of terms and epsilon on, errors of one sign are to be expected


def precision(mod: Any) -> Precision:
    """Reductions and written dtypes of a module of unscheduled PrimFuncs.

    Of a reduction whose length varies, as over the windows of a pooling that does not divide its
    image, the longest counts; where that depends on what is in an array, the longest dimension that
    the block reads. A block whose loops are its own, as of a running sum, counts as one reduction
    over the longest dimension of what it reads and writes.
    """
    import tvm_ffi
    from tvm.ir import Range
    from tvm.s_tir import SBlock
    from tvm.sym import Analyzer
    from tvm.tirx import For

    reductions: list[tuple[str, int]] = []
    dtypes: list[str] = []
    products: list[Any] = []
    analyzer = Analyzer()

    def bind(loop: Any) -> None:
        analyzer.bind(loop.loop_var, Range.from_min_extent(loop.min, loop.extent), True)

    def visit(block: Any) -> None:
        written = [str(region.source.dtype) for region in block.writes]
        dtypes.extend(written)
        reduced = [v for v in block.iter_vars if int(v.iter_type) == _REDUCE]
        if reduced:
            terms = math.prod(_most_terms(v.dom.extent, block, analyzer) for v in reduced)
            reductions.extend((dtype, terms) for dtype in written)
            products.extend([block] if _multiplies(block) else [])
        elif not block.iter_vars:
            stored, loaded = _in_own_loops(block)
            terms = _longest_dimension([*stored, *loaded])
            reductions.extend((str(buffer.dtype), terms) for buffer in stored)
            dtypes.extend(str(buffer.dtype) for buffer in stored)
        for axis in block.iter_vars:  # blocks inside have windows that depend on them
            analyzer.bind(axis.var, axis.dom, True)

    for function in mod.functions.values():
        tvm_ffi.structural_walk(function.body, ((For, bind), (SBlock, visit)), order="pre")
    return Precision(tuple(reductions), tuple(dtypes), bool(products))


def _most_terms(extent: Any, block: Any, analyzer: Any) -> int:
    """The largest that the extent of a reduced axis can be, with the axes around it bound."""
    constant = _constant(extent)
    if constant is not None:
        return constant
    most = int(analyzer.const_int_bound(extent).max_value)
    if most < _UNBOUNDED:
        return max(1, most)
    return _longest_dimension([region.source for region in block.reads])


def _multiplies(block: Any) -> bool:
    """Whether a reduction multiplies what it has by each term."""
    from tvm.tirx import BufferStore, Mul

    store = block.body
    if not isinstance(store, BufferStore) or not isinstance(store.value, Mul):
        return False
    sources = (getattr(side, "source", None) for side in (store.value.a, store.value.b))
    return any(source is not None and source.same_as(store.buffer) for source in sources)


def _in_own_loops(block: Any) -> tuple[list[Any], list[Any]]:
    """What a block stores and loads that loops by itself, and not to go through other blocks."""
    import tvm_ffi
    from tvm.ir import TensorLoad
    from tvm.s_tir import SBlock
    from tvm.tirx import BufferStore, For

    loops: list[Any] = []
    blocks: list[Any] = []
    stores: dict[str, Any] = {}
    loads: dict[str, Any] = {}
    tvm_ffi.structural_walk(
        block.body,
        (
            (For, loops.append),
            (SBlock, blocks.append),
            (BufferStore, lambda store: stores.update({str(store.buffer.name): store.buffer})),
            (TensorLoad, lambda load: loads.update({str(load.source.name): load.source})),
        ),
    )
    own = loops and not blocks  # TVM says of some neither what they read nor what they write
    return (list(stores.values()), list(loads.values())) if own else ([], [])


def _longest_dimension(buffers: Any) -> int:
    sizes = [_constant(size) or 1 for buffer in buffers for size in buffer.shape]
    return max(sizes, default=1)


def _constant(extent: Any) -> int | None:
    from tvm.tirx import IntImm

    return int(extent) if isinstance(extent, IntImm) else None


def blocked(mod: Any) -> Any | None:
    """Return the same program with its long sums added up in blocks; None if it has none.

    A float sum of K terms one after the other may be off by K rounding errors of one sign, as that
    of equal terms is as soon as they fall below the last place of the sum. In blocks of about the
    root of K it is off by twice that root at most, which is less than what
    :mod:`mschedx.measure.tolerance` allows (Higham, section 4.2).

    Rewrite
    -------
    ``for k < K: C += A[k]``  →
    ``for p < P: for q < K/P: B[p] += A[p·K/P + q]``; ``for p < P: C += B[p]``
    """
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ScheduleError

    sch, changed = Schedule(mod, error_render_level="none"), False
    for global_var in mod.get_global_vars():
        sch.work_on(global_var.name_hint)
        for block in _root_blocks(sch, global_var):
            parts = _parts_of_sum(sch, block)
            if parts is None:
                continue
            attempt = sch.copy()
            _give_loops(attempt, global_var)
            with contextlib.suppress(ScheduleError):  # a reduction of another kind
                _, reduce = _loops(attempt, block)
                loop = attempt.fuse(*reduce) if len(reduce) > 1 else reduce[0]
                outer, _ = attempt.split(loop, [parts, None])
                attempt.rfactor(outer, 0)
                sch, changed = attempt, True
    return sch.mod if changed else None


def _root_blocks(sch: Any, global_var: Any) -> Any:
    """The blocks of a function that no other but its outermost, whatever its name, holds."""
    outermost = sch.mod[global_var].body.block.name_hint
    return sch.get_child_blocks(sch.get_sblock(outermost, global_var.name_hint))


def _give_loops(sch: Any, global_var: Any) -> None:
    """Put a loop around every block that has none: ``rfactor`` cannot pass one on its way."""
    for block in _root_blocks(sch, global_var):
        if not sch.get_loops(block):
            sch.add_unit_loop(block)


def _parts_of_sum(sch: Any, block: Any) -> int | None:
    """In how many parts to sum, the divisor of K next to its root; None of a short or varying K."""
    body = sch.get(block)
    if len(sch.get_loops(block)) != len(body.iter_vars):
        return None
    extents = [_constant(v.dom.extent) for v in body.iter_vars if int(v.iter_type) == _REDUCE]
    if None in extents:
        return None
    terms = math.prod(extent for extent in extents if extent is not None)
    unit = max((epsilon(str(region.source.dtype)) for region in body.writes), default=0.0)
    if terms * unit < _LONG:
        return None
    root = math.isqrt(terms)
    parts = next(d for d in range(root, 0, -1) if terms % d == 0)
    return parts if parts > 1 else None


def _loops(sch: Any, block: Any) -> tuple[list[Any], list[Any]]:
    """The spatial and the reduction loops of a block that has one loop for each of its axes."""
    pairs = list(zip(sch.get_loops(block), sch.get(block).iter_vars, strict=True))
    spatial = [loop for loop, axis in pairs if int(axis.iter_type) != _REDUCE]
    return spatial, [loop for loop, axis in pairs if int(axis.iter_type) == _REDUCE]


def quick(mod: Any) -> Any:
    """Return the same program with its outermost loops parallel and its reductions cache-friendly.

    Only loops over independent elements are moved or made parallel, each step checked by TVM, so
    every element is computed by the same operations in the same order. A step that does not apply
    is left out; at worst this is the program as it was given.
    """
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ScheduleError

    sch = Schedule(mod, error_render_level="none")
    for global_var in mod.get_global_vars():
        sch.work_on(global_var.name_hint)
        for block in _root_blocks(sch, global_var):
            with contextlib.suppress(ScheduleError):
                _hurry(sch, block)
    return sch.mod


def _hurry(sch: Any, block: Any) -> None:
    loops = sch.get_loops(block)
    if not loops or len(loops) != len(sch.get(block).iter_vars):
        return
    spatial, reduce = _loops(sch, block)
    if spatial:
        sch.parallel(spatial[0])
    if reduce and len(spatial) > 1:
        sch.reorder(*spatial[:-1], *reduce, spatial[-1])
        sch.decompose_reduction(block, reduce[0])
