"""Materialise: from configs to schedules with the target's postprocs applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import tvm
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from mschedx import compat
from mschedx.error_text import last_line

from ..errors import InvalidSchedule
from ..postprocs.together import with_ours

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Postprocs:
    """Postprocessors ready to be applied, from several threads at once if need be.

    Parameters
    ----------
    postprocs : sequence of ms.Postproc
        Already initialised with a tuning context.
    context : object, optional
        Whatever must stay alive as long as they are used.
    """

    def __init__(self, postprocs: Sequence[ms.Postproc], context: object = None) -> None:
        self._postprocs = list(postprocs)
        self._context = context
        self._reasons = [_reason(postproc) for postproc in self._postprocs]

    @classmethod
    def of_target(
        cls,
        mod: tvm.IRModule,
        target: tvm.target.Target,
    ) -> Postprocs:
        """Return TVM's default postprocs for ``target``, with ours among them."""
        with compat.only_intrinsics(target):
            context = ms.TuneContext(
                mod, target=target, space_generator="post-order-apply", num_threads=1
            )
        generator = context.space_generator
        assert generator is not None
        return cls(with_ours(generator.postprocs or []), context)

    def apply(self, schedule: Schedule) -> None:
        """Apply all of them in order, in place, marked as the trace's postproc part.

        Raises
        ------
        InvalidSchedule
            Named after the first postproc that rejects the program.
        """
        schedule.enter_postproc()
        for postproc, reason in zip(self._postprocs, self._reasons):
            try:
                accepted = postproc.apply(schedule)
            except Exception as error:  # Postprocs may raise any of TVM's error classes.
                raise InvalidSchedule(reason, last_line(error)) from error
            if not accepted:
                raise InvalidSchedule(reason, "the program was rejected")


def _reason(postproc: ms.Postproc) -> str:
    """Name a postproc: TVM's by what they print, Python ones by their class."""
    name = str(postproc).rsplit(".", 1)[-1]
    python = name == "PyPostproc" or not name.isidentifier()
    return type(postproc).__name__ if python else name


def useful_threads() -> int:
    """How many threads of TVM's own work are worth while: as many as cores, up to 8.

    One in a process that shares the cores with others and was told so (``TVM_NUM_THREADS``), which
    a network compiled for one core does not say.
    """
    return 1 if compat.stated_cores() == 1 else min(compat.available_cores(), 8)


def in_threads(
    function: Callable[[_In], _Out], items: Sequence[_In], threads: int
) -> Iterator[_Out]:
    """Map ``function`` over ``items`` in order; TVM's calls run outside the interpreter lock.

    Results come as soon as they are there, so that the caller works beside the threads.
    """
    if threads < 2 or len(items) < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, items)
