"""What TVM's scheduler tells after each round of measurements, as one object for a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms


@dataclass(frozen=True, slots=True)
class Round:
    """A measured batch: the scheduler, the task's number, candidates, and their results."""

    scheduler: Any
    task: int
    candidates: Sequence[Any]
    built: Sequence[Any]
    ran: Sequence[Any]

    @property
    def first_record(self) -> int:
        """Line of the first candidate's record, once TVM's own callbacks have written them."""
        return len(self.scheduler.database_) - len(self.candidates)


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
