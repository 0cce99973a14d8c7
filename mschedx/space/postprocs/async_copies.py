"""Asynchronous copies to shared memory, where a trace decides for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.postproc import Postproc, PyPostproc

from mschedx.intrinsics.cuda_copy import async_copy

from ..annotation_keys import (
    ASYNC_COPIES,
    PIPELINE_ASYNC_STAGES,
    PIPELINE_DEPTH,
    UNROLL_BY_TVM,
    VECTOR_COPY,
)


def cuda_postprocs() -> list[Any]:
    """List the postprocs for CUDA: TVM's, with asynchronous copies before the final check."""
    *rewrite, verify = Postproc.create("cuda")
    return [*rewrite, AsyncCopies(), verify]


@derived_object
class AsyncCopies(PyPostproc):
    """Copy vectors by ``cp.async`` in pipelines whose trace decides for it.

    A loop's ``mschedx.async`` is a number, so that it can be a decision; the list of asynchronous
    stages and the names of intrinsics cannot. The pipeline commits a group an iteration and awaits
    the one that is used.

    Rewrite
    -------
    Before::

        for k0 (pipelined, "mschedx.async": 1):
            ... for v (vectorized): T[i, j + v] = S[i, j + v]
            ...

    after::

        for k0 (pipelined, "software_pipeline_async_stages": [0]):
            ... cp_async(T[i, j : j + lanes], S[i, j : j + lanes])
            ...
    """

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule) -> bool:
        for block, lanes in list(_vector_copies(sch)):
            _copy_asynchronously(sch, block, lanes)
        return True

    def clone(self) -> Any:
        return AsyncCopies()


def _copy_asynchronously(sch: Any, block: Any, lanes: int) -> None:
    pipeline = _pipeline(sch, block)
    target = sch.get(block).writes[0].source
    name = async_copy(str(target.dtype), lanes, str(target.scope()))
    if pipeline is None or name is None:
        return
    # The loop, as a block that is guarded against surplus threads matches nothing.
    (copy,) = sch.get_child_blocks(block)
    sch.tensorize(sch.get_loops(copy)[-1], name)
    if PIPELINE_ASYNC_STAGES not in sch.get(pipeline).annotations:
        sch.annotate(pipeline, PIPELINE_ASYNC_STAGES, [0])
        _unroll_explicitly(sch, sch.get_loops(block))


def _unroll_explicitly(sch: Any, loops: Sequence[Any]) -> None:
    """Let TVM do the unrolling: left to the compiler, the last waits are for no constant number."""
    for loop in loops:
        if UNROLL_BY_TVM in sch.get(loop).annotations:
            sch.unannotate(loop, UNROLL_BY_TVM)
            sch.annotate(loop, UNROLL_BY_TVM, 1)


def _vector_copies(sch: Any) -> Iterator[tuple[Any, int]]:
    """Every block that copies vectors, with their length."""
    for inst in sch.trace.insts:
        if inst.kind.name == "Annotate" and str(inst.attrs[0]) == VECTOR_COPY:
            block = inst.inputs[0]
            yield block, int(sch.get(block).annotations[VECTOR_COPY])


def _pipeline(sch: Any, block: Any) -> Any:
    """The loop around a block that asks for asynchronous copies; None where there is none.

    Where nothing is copied ahead, copies and uses are one stage and would be committed together,
    after the wait that is to cover them.
    """
    for loop in sch.get_loops(block):
        notes = sch.get(loop).annotations
        if notes.get(ASYNC_COPIES, 0) and notes.get(PIPELINE_DEPTH, 0):
            return loop
    return None
