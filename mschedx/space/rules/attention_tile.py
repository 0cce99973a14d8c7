"""Products around a softmax in one loop: the scores of some rows stay in a core's caches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule

from mschedx.hardware import Hardware

from .blocks import is_parameter, is_tiled, own_loops, positions, reads_in_place
from .contraction import Contraction, match_contraction
from .fused_rows import in_lanes
from .inner_loops import vectorise_inside
from .register_tile import vector_length
from .stages import Stage, common_rows, stages_of
from .typical import sample_tile


@dataclass(frozen=True, slots=True)
class Product:
    """One of the two products.

    Attributes
    ----------
    stage : Stage
    roles : Contraction
        Its vector axis is the last one of what it writes.
    row : int
        The axis of queries.
    lanes : int
        Elements of a vector.
    """

    stage: Stage
    roles: Contraction
    row: int
    lanes: int


@dataclass(frozen=True, slots=True)
class Attention:
    """A function that is scores, a softmax of them, and a product with it.

    Attributes
    ----------
    scores, mixed : Product
        First and last.
    finish : Stage or None
        What is made of the last product, element by element: its division by sums.
    between : tuple of (Stage, frozenset of int)
        What is made of the scores, row by row, and the dimensions of what each of these writes that
        say which row it is.
    """

    scores: Product
    mixed: Product
    finish: Stage | None
    between: tuple[tuple[Stage, frozenset[int]], ...]


def find_attention(sch: Any, block: Any, hw: Hardware) -> Attention | None:
    """Read a function whose last product is ``block``; None where it is something else.

    Both products read their second operand along its rows, in whole vectors; the first has one
    axis of queries of its own, and all that lies between goes along it. Something between them
    takes all scores of a query together: where nothing does (a network of two layers), the products
    are better tiled each for itself. So they are where a second operand has no room in a core's
    cache, or products are of other types than float32.
    """
    body = sch.get(block)
    stages = stages_of(sch) if match_contraction(body) is not None else None
    places = [n for n, one in enumerate(stages or ()) if sch.get(one.block).same_as(body)]
    if stages is None or len(places) != 1:
        return None
    first, last = stages[0], stages[places[0]]
    finish = None if stages[-1] is last else stages[-1]
    between = [n for n, one in enumerate(stages) if one not in (first, last, finish)]
    rows = common_rows(stages)
    scores, mixed = _product(sch, first, hw), _product(sch, last, hw)
    if rows is None or scores is None or mixed is None or first is last:
        return None
    if (scores.row, mixed.row) not in zip(rows[0], rows[places[0]]):
        return None
    if finish is not None and not _in_place(sch, finish, last):
        return None
    if not _is_softmax(sch, [stages[n] for n in between], mixed):
        return None
    inner = [first, *(stages[n] for n in between), *([last] if finish else [])]
    if any(is_parameter(sch, one.writes[0]) for one in inner):
        return None
    return Attention(
        scores, mixed, finish, tuple((stages[n], _row_dims(stages[n], rows[n])) for n in between)
    )


def _product(sch: Any, stage: Stage, hw: Hardware) -> Product | None:
    """A stage as a product that can be read in place."""
    column = stage.output[-1]
    roles = match_contraction(sch.get(stage.block), hw.vector_bytes, vector=column)
    if column is None or roles is None or len(roles.reductions) != 1:
        return None
    dtypes = {roles.dtype, roles.panel.dtype, roles.broadcast.dtype}
    rows = [axis for axis in roles.rows if roles.extents[axis] > 1]
    elements = roles.extents[roles.reductions[0]] * roles.extents[column]
    lanes = vector_length(roles.extents[column], hw.lanes(roles.dtype))
    fits = dtypes == {"float32"} and 4 * elements <= hw.l2_bytes
    if not fits or len(rows) != 1 or roles.panel.plain[-1] != column or lanes is None:
        return None
    return Product(stage, roles, rows[0], lanes)


def _is_softmax(sch: Any, between: Sequence[Stage], mixed: Product) -> bool:
    """Whether stages take scores together, are no products, and one is what the last one reads."""
    read = sch.get(mixed.stage.block).reads[mixed.roles.broadcast.index].source
    made = any(read.same_as(one.writes[0]) for one in between)
    together = any(one.reductions for one in between)
    return made and together and not any(match_contraction(sch.get(one.block)) for one in between)


def _in_place(sch: Any, finish: Stage, mixed: Stage) -> bool:
    """Whether a stage makes each of its elements of the same element of a product."""
    same = finish.output == mixed.output and not finish.reductions
    return same and reads_in_place(sch, finish.block, mixed.writes[0])


def _row_dims(stage: Stage, rows: Sequence[int]) -> frozenset[int]:
    return frozenset(d for d, axis in enumerate(stage.output) if axis is None or axis in rows)


def tile_attention(sch: Any, found: Attention, hw: Hardware) -> None:
    """Bring the blocks of attention into the order that :class:`AttentionTile` documents."""
    blocks = [
        (block, length, dims)
        for stage, dims in found.between
        for block, length in in_lanes(sch, stage, hw.lanes(stage.dtype))
    ]
    mixed, most = found.mixed, hw.vector_registers // 8
    scores = sch.cache_write(found.scores.stage.block, 0, "global")
    result = (
        sch.cache_write(mixed.stage.block, 0, "global")
        if found.finish is None
        else found.finish.block
    )

    loops = mixed.stage.by_dimension(sch.get_loops(result))
    row, column = loops.pop(mixed.row), loops.pop(mixed.roles.vector)
    # Two registers hold what is multiplied.
    factors = sample_tile(sch, row, 3, hw.vector_registers - 2)
    chunks, some, rows = sch.split(row, factors)
    outer, vectors, lane = _split_vectors(sch, column, mixed.lanes, most)
    sch.reorder(*loops.values(), chunks, some, outer, rows, vectors, lane)
    chunk = sch.fuse(*loops.values(), chunks)
    sch.parallel(chunk)
    _tile_product(sch, mixed, outer)
    _write_vectors(sch, rows, vectors, lane)

    for block, *_ in reversed(blocks):
        sch.compute_at(block, chunk, preserve_unit_loops=True)
    sch.compute_at(scores, chunk, preserve_unit_loops=True)
    own = found.scores.stage.by_dimension(list(own_loops(sch, scores).values()))
    row, column = own.pop(found.scores.row), own.pop(found.scores.roles.vector)
    # As many rows as the second product takes.
    some, rows = sch.split(row, [None, factors[2]])
    outer, vectors, lane = _split_vectors(sch, column, found.scores.lanes, most)
    sch.reorder(*own.values(), outer, some, rows, vectors, lane)
    _tile_product(sch, found.scores, some)
    _write_vectors(sch, rows, vectors, lane)
    for block, length, dims in blocks:
        _vectorise_rows(sch, block, dims, length)


def _vectorise_rows(sch: Any, block: Any, dims: frozenset[int], lanes: int) -> None:
    """Go through the rows of a chunk one by one, each in vectors."""
    body: Any = sch.get(block)
    axes = positions(body)
    indices = [body.writes[0].region[dim].min for dim in dims]
    loops = own_loops(sch, block)
    rows = [loops.pop(axes[index]) for index in indices if index in axes]
    sch.reorder(*rows, *loops.values())
    vectorise_inside(sch, block, loops, lanes)


def _split_vectors(sch: Any, loop: Any, lanes: int, most: int) -> tuple[Any, Any, Any]:
    vector, lane = sch.split(loop, [None, lanes])
    outer, vectors = sch.split(vector, sample_tile(sch, vector, 2, most))
    return outer, vectors, lane


def _tile_product(sch: Any, product: Product, loop: Any) -> None:
    """Compute a register tile of a product inside ``loop``, as a sum of outer products."""
    block, roles = product.stage.block, product.roles
    sch.compute_at(block, loop, preserve_unit_loops=True)
    loops = own_loops(sch, block)
    row, column = loops.pop(product.row), loops.pop(roles.vector)
    terms = loops.pop(roles.reductions[0])
    vectors, lane = sch.split(column, [None, product.lanes])
    sch.reorder(*loops.values(), terms, row, vectors, lane)
    _write_vectors(sch, row, vectors, lane)
    sch.decompose_reduction(block, terms)


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
