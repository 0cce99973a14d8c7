"""What happens to each round of measurements, around TVM's own callbacks.

TVM's scheduler calls back once per round; ``AddToDatabase`` is one of these callbacks. Entries of
the journal are written before it, and after it is checked that the records have really arrived,
since TVM does not look whether it could write.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from mschedx.latency import latency_s, seconds_to_record
from mschedx.measure.failures import reason

from .lines import parse
from .programs import program_hash
from .trials import Trial

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target

_LONGEST_ERROR = 2000


@dataclass(frozen=True, slots=True)
class Round:
    """A measured batch: the scheduler, the task's number, candidates, and their results."""

    scheduler: Any
    task: int
    candidates: Sequence[Any]
    built: Sequence[Any]
    ran: Sequence[Any]

    def trials(self, like: Trial, scores: Sequence[float] = ()) -> list[Trial]:
        """Give the measurements.

        Parameters
        ----------
        like : Trial
            What they have in common, and the index and record of the first.
        scores : sequence of float
            What the cost model foretold, one for each candidate; empty if it was not asked. What
            is not finite foretells nothing.
        """
        found = []
        measured = zip(self.candidates, self.built, self.ran)
        for offset, (candidate, built, ran) in enumerate(measured):
            error = built.error_msg or ran.error_msg
            latency = latency_s(ran) if not error else math.inf
            score = scores[offset] if scores else math.nan
            found.append(
                replace(
                    like,
                    index=like.index + offset,
                    record=like.record + offset,
                    latency_s=latency if math.isfinite(latency) else None,
                    reason=reason(str(error)) if error else None,
                    error=str(error)[:_LONGEST_ERROR] if error else None,
                    predicted=score if math.isfinite(score) else None,
                    program=program_hash(candidate.sch.mod),
                )
            )
        return found

    def commit(self, database: ms.Database, mod: IRModule, target: Target) -> None:
        """Add the records to a database, as TVM's own callback does."""
        workload = database.commit_workload(mod)
        for candidate, ran in zip(self.candidates, self.ran):
            database.commit_tuning_record(
                ms.database.TuningRecord(
                    candidate.sch.trace,
                    workload,
                    seconds_to_record(ran),
                    target,
                    candidate.args_info,
                )
            )


@derived_object
class AfterRound(ms.measure_callback.PyMeasureCallback):
    """Call a function after each round.

    Parameters
    ----------
    function : Callable[[Round], None]
        What it raises ends the tuning.
    """

    def __init__(self, function: Callable[[Round], None]) -> None:
        super().__init__()
        self._function = function

    def apply(
        self,
        task_scheduler: Any,
        task_id: int,
        measure_candidates: Any,
        builder_results: Any,
        runner_results: Any,
    ) -> None:
        self._function(
            Round(task_scheduler, task_id, measure_candidates, builder_results, runner_results)
        )


def after_round(function: Callable[[Round], None]) -> ms.MeasureCallback:
    """Give :class:`AfterRound` as what ``derived_object`` makes of it: one of TVM's callbacks."""
    return cast("ms.MeasureCallback", AfterRound(function))


class Appended:
    """Watches the file to which TVM appends a line for each record.

    Parameters
    ----------
    path : Path
        As it is now, whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size if path.exists() else 0

    def check(self, lines: int) -> list[Any]:
        """Make sure that so many lines have been added since the last call; return what they hold.

        Raises
        ------
        OSError
            If not all have arrived; those that have are kept, a broken one is cut off.
        """
        with self._path.open("rb") as file:
            file.seek(self._size)
            added = file.read()
        whole, rest = 0, added.split(b"\n")
        for text in rest[:-1]:
            if parse(text) is None:
                break
            whole += len(text) + 1
        arrived = added[:whole].count(b"\n")
        if whole < len(added) or arrived != lines:
            os.truncate(self._path, self._size + whole)
            raise self._why(arrived, lines)
        self._size += whole
        return [parse(text) for text in rest[:-1]]

    def _why(self, arrived: int, lines: int) -> OSError:
        free = shutil.disk_usage(self._path).free
        number = errno.ENOSPC if free < 1 << 20 else errno.EIO
        return OSError(
            number,
            f"{os.strerror(number)} ({arrived} of {lines} records were written, {free} bytes are "
            "free)",
            str(self._path),
        )
