"""Products around a softmax in one loop: the scores of some rows stay in a core's caches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule

from mschedx.hardware import Hardware

from .blocks import is_parameter, is_tiled, own_loops, reads_in_place
from .contraction import Contraction, match_contraction
from .fused_rows import in_lanes
from .inner_loops import vectorise_inside
from .register_tile import vector_length
from .stages import Stage, common_rows, stages_of
from .typical import sample_tile


@dataclass(frozen=True, slots=True)
class Attention:
    """A function that is scores, a softmax of them, and a product with it.

    Attributes
    ----------
    scores, mixed : Stage
        The products, first and last.
    finish : Stage or None
        What is made of the last product, element by element: its division by sums.
    between : tuple of Stage
        What is made of the scores, row by row.
    rows : tuple of frozenset of int
        Dimensions of what each of these writes that say which row it is.
    keys, columns : Contraction
        Roles of the axes of `scores` and of `mixed`.
    row : (int, int)
        The axis of queries, of `scores` and of `mixed`.
    lanes : (int, int)
        Elements of a vector along keys and along columns.
    """

    scores: Stage
    mixed: Stage
    finish: Stage | None
    between: tuple[Stage, ...]
    rows: tuple[frozenset[int], ...]
    keys: Contraction
    columns: Contraction
    row: tuple[int, int]
    lanes: tuple[int, int]


def find_attention(sch: Any, block: Any, hw: Hardware) -> Attention | None:
    """Read a function whose last product is ``block``; None where it is something else.

    Both products read their second operand along its rows, in whole vectors; the first has one
    axis of queries of its own, and all that lies between goes along it. Something between them
    takes all scores of a query together: where nothing does (a network of two layers), the products
    are better tiled each for itself. So they are where a second operand has no room in a core's
    cache, or products are of other types than float32.
    """
    body = sch.get(block)
    roles = match_contraction(body)
    stages = stages_of(sch) if roles is not None else None
    if stages is None or len(stages) < 3:
        return None
    places = [n for n, stage in enumerate(stages) if sch.get(stage.block).same_as(body)]
    if not places:
        return None
    (place,) = places
    scores, mixed = stages[0], stages[place]
    finish = stages[-1] if stages[-1] is not mixed else None
    others = [n for n, stage in enumerate(stages) if stage not in (scores, mixed, finish)]
    between = [stages[n] for n in others]
    if mixed is scores or not any(stage.reductions for stage in between):
        return None
    if finish is not None and not _in_place(sch, finish, mixed):
        return None
    rows = common_rows(stages)
    found = [_product(sch, stage, hw) for stage in (scores, mixed)]
    if rows is None or found[0] is None or found[1] is None:
        return None
    (keys, first, query), (columns, second, output) = found[0], found[1]
    read = sch.get(mixed.block).reads[columns.broadcast.index].source
    if not any(read.same_as(stage.writes[0]) for stage in between):
        return None
    if (query, output) not in zip(rows[0], rows[place]):
        return None
    # Nothing between the products is one itself, and nothing of it is a result.
    inner = [stage.writes[0] for stage in (scores, *between, *([mixed] if finish else []))]
    if any(is_parameter(sch, buffer) for buffer in inner):
        return None
    if any(match_contraction(sch.get(stage.block)) for stage in between):
        return None
    row, lanes = (query, output), (first, second)
    dims = tuple(
        frozenset(d for d, axis in enumerate(stage.output) if axis is None or axis in own)
        for stage, own in zip(between, (rows[n] for n in others))
    )
    return Attention(scores, mixed, finish, tuple(between), dims, keys, columns, row, lanes)


def _in_place(sch: Any, finish: Stage, mixed: Stage) -> bool:
    """Whether a stage makes each of its elements of the same element of a product."""
    same = finish.output == mixed.output and not finish.reductions
    return same and reads_in_place(sch, finish.block, mixed.writes[0])


def _product(sch: Any, stage: Stage, hw: Hardware) -> tuple[Contraction, int, int] | None:
    """A product that can be read in place: its roles, the length of its vectors, and its row."""
    column = stage.output[-1]
    roles = match_contraction(sch.get(stage.block), hw.vector_bytes, vector=column)
    if column is None or roles is None or len(roles.reductions) != 1:
        return None
    dtypes = {roles.dtype, roles.panel.dtype, roles.broadcast.dtype}
    rows = [axis for axis in roles.rows if roles.extents[axis] > 1]
    terms = roles.extents[roles.reductions[0]]
    if dtypes != {"float32"} or 4 * terms * roles.extents[roles.vector] > hw.l2_bytes:
        return None
    along = roles.panel.plain[-1] == column
    length = vector_length(roles.extents[roles.vector], hw.lanes(roles.dtype))
    return (roles, length, rows[0]) if len(rows) == 1 and along and length is not None else None


def tile_attention(sch: Any, found: Attention, hw: Hardware) -> None:
    """Bring the blocks of attention into the order that :class:`AttentionTile` documents."""
    blocks = [
        (block, length, dims)
        for stage, dims in zip(found.between, found.rows)
        for block, length in in_lanes(sch, stage, hw.lanes(stage.dtype))
    ]
    scores = sch.cache_write(found.scores.block, 0, "global")
    result = (
        sch.cache_write(found.mixed.block, 0, "global")
        if found.finish is None
        else found.finish.block
    )
    most = hw.vector_registers // 8

    loops = dict(zip(found.mixed.output, sch.get_loops(result)))
    row, column = loops.pop(found.row[1]), loops.pop(found.columns.vector)
    factors = sample_tile(sch, row, 3, hw.vector_registers - 2)
    chunks, some, rows = sch.split(row, factors)
    outer, vectors, lane = _split_vectors(sch, column, found.lanes[1], most)
    sch.reorder(*loops.values(), chunks, some, outer, rows, vectors, lane)
    chunk = sch.fuse(*loops.values(), chunks)
    sch.parallel(chunk)
    _tile_product(sch, found.mixed, found.columns, found.row[1], found.lanes[1], outer)
    _write_vectors(sch, rows, vectors, lane)

    for block, *_ in reversed(blocks):
        sch.compute_at(block, chunk, preserve_unit_loops=True)
    sch.compute_at(scores, chunk, preserve_unit_loops=True)
    own = dict(zip(found.scores.output, own_loops(sch, scores).values()))
    row, column = own.pop(found.row[0]), own.pop(found.keys.vector)
    # As many rows as the second product takes.
    some, rows = sch.split(row, [None, factors[2]])
    outer, vectors, lane = _split_vectors(sch, column, found.lanes[0], most)
    sch.reorder(*own.values(), outer, some, rows, vectors, lane)
    _tile_product(sch, found.scores, found.keys, found.row[0], found.lanes[0], some)
    _write_vectors(sch, rows, vectors, lane)
    # No primitive moves a block once one that reads it is an intrinsic.
    for block, length, dims in blocks:
        _vectorise_rows(sch, block, dims, length)


def _vectorise_rows(sch: Any, block: Any, dims: frozenset[int], lanes: int) -> None:
    """Go through the rows of a chunk one by one, each in vectors."""
    body: Any = sch.get(block)
    axes = {iv.var: axis for axis, iv in enumerate(body.iter_vars)}
    indices = [body.writes[0].region[dim].min for dim in dims]
    loops = own_loops(sch, block)
    rows = [loops.pop(axes[index]) for index in indices if index in axes]
    sch.reorder(*rows, *loops.values())
    vectorise_inside(sch, block, loops, lanes)


def _split_vectors(sch: Any, loop: Any, lanes: int, most: int) -> tuple[Any, Any, Any]:
    vector, lane = sch.split(loop, [None, lanes])
    outer, vectors = sch.split(vector, sample_tile(sch, vector, 2, most))
    return outer, vectors, lane


def _tile_product(
    sch: Any, stage: Stage, roles: Contraction, axis: int, lanes: int, loop: Any
) -> None:
    """Compute a register tile of a product inside ``loop``, as a sum of outer products."""
    sch.compute_at(stage.block, loop, preserve_unit_loops=True)
    loops = own_loops(sch, stage.block)
    row, column = loops.pop(axis), loops.pop(roles.vector)
    terms = loops.pop(roles.reductions[0])
    vectors, lane = sch.split(column, [None, lanes])
    sch.reorder(*loops.values(), terms, row, vectors, lane)
    _write_vectors(sch, row, vectors, lane)
    sch.decompose_reduction(stage.block, terms)


def _write_vectors(sch: Any, rows: Any, vectors: Any, lane: Any) -> None:
    # Constant indices let the tile live in registers.
    sch.unroll(rows)
    sch.unroll(vectors)
    sch.vectorize(lane)


def tiled_attention(sch: Schedule, block: Any, hw: Hardware) -> Schedule | None:
    """Return the design space of :class:`AttentionTile` for a block; None where it has none."""
    found = None if is_tiled(sch) else find_attention(sch, block, hw)
    if found is None:
        return None
    made = sch.copy()
    try:
        tile_attention(made, found, hw)
    except ScheduleError:
        return None
    return made


@derived_object
class AttentionTile(PyScheduleRule):
    """Compute attention in chunks of queries: one design space, in place of a nest for every block.

    Rewrite
    -------
    ::

        for h, i, j, k: S[h, i, j] += Q[h, i, k] * K[h, k, j]
        for h, i, j: P[h, i, j] = softmax of S[h, i, :]             # four blocks
        for i, h, d, j: O[i, h, d] += P[h, i, j] * V[h, j, d]

    becomes, with sampled ``i = (i0, i1, i2)``, ``j = (j0, j1, lanes)``, ``d = (d0, d1, lanes)``::

        parallel for h·i0:
            for j0, i1:
                T[i2, j1·lanes] = 0
                for k: unroll i2, j1, vectorise: T += Q * K
                S'[i1·i2, j1·lanes] = T
            P = softmax of S', in lanes
            for i1, d0:
                U[i2, d1·lanes] = 0
                for j: unroll i2, d1, vectorise: U += P * V
                O[i2, d1·lanes] = U

    Keys are to come transposed, ``[k, j]``, so that both products read vectors along the rows of
    their second operand, which stays in a core's caches over the rows of a chunk.

    Parameters
    ----------
    hardware : Hardware
        Lanes and registers bound the tiles.

    References
    ----------
    Dao et al., "FlashAttention" (NeurIPS 2022), for the round trip of the scores that is saved.
    Here a chunk's scores are kept whole, so that the softmax is the function's own.
    """

    def __init__(self, hardware: Hardware) -> None:
        super().__init__()
        self.hardware = hardware

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        return [tiled_attention(sch, block, self.hardware) or sch]

    def clone(self) -> Any:
        return AttentionTile(self.hardware)
