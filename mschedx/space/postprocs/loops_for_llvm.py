"""Vector stores that TVM cannot lower, made scalar loops.

Of one bfloat16 or float8 for all lanes: ``BF16StorageLegalize`` makes the buffer one of uint16 and
looks for bfloat16 in what is computed; a vector that repeats one number is not computed, and stays
bfloat16. Float8 is lost likewise.

To a buffer of booleans that the function allocates: where all accesses are whole vectors of n,
``StorageRewrite`` makes n int8 an element, and what is loaded stays int8. ``not`` then makes
255 of 0 and 254 of 1; ``and``, a selection or a copy does not compile. With one scalar store the
buffer stays as it is, whatever vectors read it.

LLVM makes vectors of such loops itself, which is what their statements say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import tvm
from tvm import tirx
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.postproc import PyPostproc
from tvm.s_tir.stmt import SBlockRealize
from tvm.sym import Analyzer
from tvm.tirx.analysis import undefined_vars

from ..annotation_keys import LEFT_TO_LLVM
from .places import Place, block_at

_STORED_AS_INTEGERS = ("bfloat16", "float8")


@derived_object
class LoopsForLLVM(PyPostproc):
    """Leave vectors of one bfloat16 or float8, and of booleans kept in between, to LLVM.

    Rewrite
    -------
    Before::

        for i in T.vectorized(8):
            with block("init"): C[i] = bfloat16(0)

    after::

        for i in T.serial(8, annotations={"mschedx.left_to_llvm": 1}):
            with block("init"): C[i] = bfloat16(0)
    """

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule) -> bool:
        made: Any = sch
        for variable, function in sch.mod.functions.items():
            for block, position in sorted(_left(function)):
                loop = made.get_loops(block_at(made, variable.name_hint, block))[position]
                # What a split makes is serial.
                (serial,) = made.split(loop, [made.get(loop).extent], preserve_unit_iters=True)
                made.annotate(serial, LEFT_TO_LLVM, 1)
        return True

    def clone(self) -> Any:
        return LoopsForLLVM()


@dataclass(frozen=True, eq=False, slots=True)
class _Path:
    """What surrounds a statement.

    ``known`` are variables with their ranges or values, ``loops`` counts those of the scope so far.
    ``waiting`` are its vector loops that no block was found below yet, with their positions;
    ``vectors`` all others, with the place of such a block. ``threads``: whether any runs it.
    """

    known: tuple[tuple[Any, Any], ...] = ()
    loops: int = 0
    waiting: tuple[tuple[Any, int], ...] = ()
    vectors: tuple[tuple[Any, tuple[Place, int]], ...] = ()
    place: Place = ()
    threads: bool = False

    def below(self, loop: Any) -> _Path:
        """Below a loop."""
        vector = loop.kind == tirx.ForKind.VECTORIZED
        extent = tvm.ir.Range(loop.min, loop.min + loop.extent)
        return replace(
            self,
            known=(*self.known, (loop.loop_var, extent)),
            loops=self.loops + 1,
            waiting=(*self.waiting, *([(loop.loop_var, self.loops)] if vector else [])),
            threads=self.threads or loop.thread_binding is not None,
        )

    def inside(self, realize: Any, number: int) -> _Path:
        """Inside a block, where loops are counted anew."""
        place = (*self.place, number)
        placed = ((loop, (place, at)) for loop, at in self.waiting)
        values = zip((axis.var for axis in realize.block.iter_vars), realize.iter_values)
        return _Path(
            (*self.known, *values),
            vectors=(*self.vectors, *placed),
            place=place,
            threads=self.threads,
        )


def _left(function: Any) -> Iterator[tuple[Place, int]]:
    """Vector loops to leave to LLVM: a block below, and which of its loops it is."""
    found: list[Any] = []
    for store, path in _stores(function.body, _Path(), count()):
        if path.threads or not path.vectors:
            continue
        varying = _varying(function, store, path)
        for loop, place in path.vectors:
            if not any(loop.same_as(variable) for variable in (*varying, *found)):
                found.append(loop)
                yield place


def _varying(function: Any, store: Any, path: _Path) -> Sequence[Any]:
    """Variables over which TVM can lower vectors of the store."""
    dtype = str(store.buffer.dtype)
    if dtype == "bool" and not any(store.buffer.same_as(given) for given in function.params):
        return ()
    if not dtype.startswith(_STORED_AS_INTEGERS):
        return [loop for loop, _ in path.vectors]
    analyzer = Analyzer()
    for variable, known in path.known:
        analyzer.bind(variable, known)
    # As TVM does before it makes vectors: x[i // 8] is one number for 4 lanes.
    return undefined_vars(analyzer.simplify(store.value))


def _stores(body: Any, path: _Path, blocks: Iterator[int]) -> Iterator[tuple[Any, _Path]]:
    """Every store with what surrounds it; ``blocks`` numbers those of the scope."""
    if isinstance(body, SBlockRealize):
        inside, within = path.inside(body, next(blocks)), count()
        for part in (body.block.init, body.block.body):
            yield from _stores(part, inside, within)
    elif isinstance(body, tirx.For):
        yield from _stores(body.body, path.below(body), blocks)
    elif isinstance(body, tirx.SeqStmt):
        for part in body.seq:
            yield from _stores(part, path, blocks)
    elif isinstance(body, tirx.BufferStore):
        yield body, path
    elif body is not None:
        for name in ("body", "then_case", "else_case"):
            yield from _stores(getattr(body, name, None), path, blocks)
