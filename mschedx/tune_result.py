"""What a tuning run found: its winner, its trials, and what can be made of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm.s_tir import meta_schedule as ms

from mschedx.hardware import kernel_cores
from mschedx.kernel import Compiled
from mschedx.record.trials import Trial, best_so_far, count_failures, read_run
from mschedx.record.work_dir import best_folder
from mschedx.report.decisions import decision_values
from mschedx.report.progress import describe_failures, format_seconds
from mschedx.report.result_text import result_text

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.s_tir import Schedule
    from tvm.target import Target


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TuneResult:
    """What a tuning run found.

    Attributes
    ----------
    mod : IRModule
        The function that was tuned, as it is.
    target : Target
    work_dir : Path
        Where the records are.
    latency_s : float
        Of the winner, seconds; inf if no candidate ran.
    schedule : Schedule | None
        The winner; None if no candidate ran.
    best : Trial | None
        The winner's trial; None if no candidate ran, or the winner is predicted.
    history : tuple[Trial, ...]
        Every measurement of this function in the work_dir, earlier sessions included.
    flops : float
        Arithmetic operations of one run.
    measured : int
        Trials that this call measured (the rest was in the work_dir).
    wall_s : float
        Seconds that this call took.
    interrupted : bool
        Whether Ctrl-C ended it early.
    timed_out : bool
        Whether ``timeout_s`` ended it early.
    verified : bool
        Whether the winner's output was compared with the unscheduled program's and found right, by
        this call or one before.
    predicted : bool
        Whether ``latency_s`` is a prediction and the winner the best ranked config: nothing was
        measured (``trials=0``).
    why_unscheduled : str
        Why the winner is the function as it is, which is among the notes too; empty where it is
        not.
    notes : tuple[str, ...]
        What else there is to say: repaired files, disqualified records, a draft that was given up,
        why a search ended early.
    """

    mod: IRModule
    target: Target
    work_dir: Path
    latency_s: float
    schedule: Schedule | None
    best: Trial | None
    history: tuple[Trial, ...]
    flops: float
    measured: int
    wall_s: float
    interrupted: bool = False
    timed_out: bool = False
    verified: bool = False
    predicted: bool = False
    why_unscheduled: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def database(self) -> ms.Database:
        """Stock TVM database on the work_dir, read when it is asked for (1 ms a record)."""
        return ms.database.JSONDatabase(work_dir=str(self.work_dir))

    @property
    def gflops(self) -> float:
        """Rate of the winner, GFLOP/s."""
        return self.flops / self.latency_s / 1e9

    @property
    def unscheduled(self) -> bool:
        """Whether the winner is the function as it is, since nothing could be searched."""
        from mschedx.search.as_it_is import is_unscheduled

        if self.best is not None:
            return self.best.unscheduled
        trace = None if self.schedule is None else self.schedule.trace
        return trace is not None and is_unscheduled(trace)

    @property
    def curve(self) -> list[float]:
        """Best latency after each trial, seconds."""
        return best_so_far(self.history)

    @property
    def failures(self) -> dict[str, int]:
        """Failed trials by reason."""
        return count_failures(self.history)

    def trials(self) -> Any:
        """Every measurement as a table.

        Returns
        -------
        pandas.DataFrame or list of dict
            A row a trial: the columns of :class:`~mschedx.record.trials.Trial`, then the decisions
            by name (missing where a trial's design has others). The rows as a list where pandas is
            not installed.
        """
        if not self.history:
            records = {}
        else:
            records = read_run(self.work_dir, self.history[0].workload).records
        decisions = {line: decision_values(content[0]) for line, content in records.items()}
        rows = [asdict(t) | decisions.get(t.record, {}) for t in self.history]
        try:
            import pandas  # pyright: ignore[reportMissingImports]  # optional
        except ImportError:
            return rows
        known = [column.name for column in fields(Trial)]
        more = dict.fromkeys(name for row in rows for name in row if name not in known)
        return pandas.DataFrame(rows, columns=[*known, *more])

    def __repr__(self) -> str:
        facts = {
            "trials": f"{len(self.history)}, {self.measured} of them measured by this call"
            f"{describe_failures(self.failures)}",
            "took": format_seconds(self.wall_s),
            "target": str(self.target.attrs.get("mcpu", None) or self.target.kind.name),
            "work_dir": str(self.work_dir),
        }
        said = "not measured" if self.predicted else "checked" if self.verified else "not checked"
        if self.interrupted or self.timed_out:
            facts["ended"] = "by Ctrl-C" if self.interrupted else "by timeout_s"
        found = f"{format_seconds(self.latency_s)}, {self.gflops:.1f} GFLOP/s, output {said}"
        return result_text("TuneResult", found, facts, self.notes)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<pre>{escape(repr(self))}</pre>"

    def compile(self, cores: int | None = None) -> Compiled:
        """Compile the winner with stock TVM.

        Parameters
        ----------
        cores : int, optional
            That its kernel uses on a CPU, at least 1. When None as many as trials are measured
            with: the target's ``num-cores`` where that is fewer than here; else as many as the
            calling thread asked for by :func:`mschedx.compat.use_cores`, what ``TVM_NUM_THREADS``
            states, or all that the process may use. TVM has one pool of threads for each thread
            that calls: with fewer cores for one kernel, it has fewer for all that are called there.

        Returns
        -------
        Compiled
            A ``tvm.runtime.Executable``. Call its function by the PrimFunc's name, with NumPy
            arrays, torch or TVM tensors, outputs included: ``result.compile()["main"](a, b, c)``.

        Raises
        ------
        RuntimeError
            If no candidate ran; the message says why and where the logs are.
        ValueError
            For cores that are no whole number of at least 1.
        """
        import tvm

        winner, cores = self._winner(), cores if cores is not None else kernel_cores(self.target)
        return Compiled(tvm.compile(winner.mod, target=self.target), self.mod, self.target, cores)

    def save(self, path: str | Path | None = None) -> dict[str, Path]:
        """Write the winner as files that need only TVM to read.

        ``schedule.py`` applies it to the unscheduled module, registering the tensor intrinsics
        that it names; ``trace.json`` is the same for a program; ``scheduled.py`` has the loop nest
        as ``Module``.

        Parameters
        ----------
        path : str | Path, optional
            The folder; one of this function in the work_dir's ``best/`` when None.

        Returns
        -------
        dict[str, Path]
            The files by name, see :func:`mschedx.record.export.save_schedule`.

        Raises
        ------
        RuntimeError
            If no candidate ran.
        OSError
            If the folder cannot be written.
        """
        from mschedx.record.export import save_schedule

        winner = self._winner()
        folder = Path(path) if path is not None else best_folder(self.work_dir, self.mod)
        return save_schedule(folder, winner, self.mod, self.target, self.latency_s)

    def _winner(self) -> Schedule:
        if self.schedule is None:
            failures = ", ".join(f"{n} × {why}" for why, n in self.failures.items()) or "no trials"
            examples = [t.error for t in self.history if t.error]
            notes = "".join(f"; {note}" for note in self.notes)
            raise RuntimeError(
                f"no candidate of this run could be measured ({failures}{notes})"
                + (f"; for instance: {examples[-1][:500]}" if examples else "")
                + f"; the logs are in {self.work_dir / 'logs'}"
            )
        return self.schedule


def estimate_flops(mod: IRModule) -> float:
    """Count the arithmetic operations of one run, as MetaSchedule's own tables do."""
    from tvm.s_tir.analysis import estimate_tir_flops

    return float(estimate_tir_flops(mod))
