"""What tuning a network found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm import relax
from tvm.runtime import device_from_target

from mschedx.report.progress import format_seconds
from mschedx.report.result_text import result_text
from mschedx.user_warnings import warn_user

from .choices import Choice, Origin
from .compiled import CompiledNetwork
from .errors import NetworkError
from .linking import library_path, link, require_linker_for
from .signature import Signature

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target

    from .profile import Profile


def said_of_output(result: Any) -> str:
    """What is known of a result's output, in words: ``"checked"``."""
    if result.wrong:
        return f"WRONG ({result.wrong})"
    return "checked" if result.verified else "not checked"


@dataclass(frozen=True, kw_only=True, repr=False)
class NetworkResult:
    """What tuning a network found.

    Attributes
    ----------
    tasks : tuple of Choice
        What every task became; the one that takes most of the network's time first. After Ctrl-C
        those that nothing is known of are unscheduled.
    fixed : tuple of (str, str)
        Functions that are no tasks, and why.
    latency_s : float
        Sum over the tasks of calls times latency, seconds: measured for those that are tuned,
        predicted for those that are ranked.
    measured : int
        Trials that this call measured.
    wall_s : float
        Seconds that this call took.
    verified : bool
        Whether the network's output was compared with that of the framework (of the unscheduled
        network, where it came from none) and found right.
    wrong : str
        How the output differs from what it was compared with; empty where it is right, or was not
        compared.
    max_error, tolerance : float
        Largest difference of an output, and the largest allowed; NaN where nothing was compared.
    notes : tuple of str
        What else there is to say: tasks that are not tuned or have no more programs, time that was
        up, repaired files, disqualified records.
    programs : callable
        Gives the choices that the network is compiled with: `tasks`, and those that are unscheduled
        since Ctrl-C came first as they are ranked, which the first call does.
    """

    name: str
    fused: IRModule
    target: Target
    work_dir: Path
    tasks: tuple[Choice, ...]
    fixed: tuple[tuple[str, str], ...]
    measured: int
    wall_s: float
    interrupted: bool = False
    timed_out: bool = False
    verified: bool = False
    wrong: str = ""
    max_error: float = math.nan
    tolerance: float = math.nan
    notes: tuple[str, ...] = ()
    signature: Signature = field(repr=False)
    programs: Callable[[], tuple[Choice, ...]] = field(repr=False)
    build: Callable[[], relax.VMExecutable] = field(repr=False)
    changed: Callable[[], list[str]] = field(repr=False, default=list)
    predict: Callable[[Sequence[Choice]], list[float]] = field(repr=False)

    @cached_property
    def executable(self) -> relax.VMExecutable:
        """The network compiled with its tasks' programs; after Ctrl-C, once it is asked for."""
        return self.build()

    @property
    def latency_s(self) -> float:
        return sum(choice.task.weight * choice.latency_s for choice in self.tasks)

    @property
    def untuned(self) -> tuple[Choice, ...]:
        """Tasks that have no tuned program: nothing of them ran, or the function as it is won."""
        return tuple(choice for choice in self.tasks if choice.origin is not Origin.TUNED)

    def __repr__(self) -> str:
        tuned = len(self.tasks) - len(self.untuned)
        facts = {
            "tasks": f"{len(self.tasks)}, {tuned} of them tuned; {self.measured} trials measured",
            "took": format_seconds(self.wall_s),
            "slowest": ", ".join(
                f"{one.task.name} {format_seconds(one.task.weight * one.latency_s)}"
                for one in self.tasks[:3]
            ),
            "work_dir": str(self.work_dir),
        }
        said = said_of_output(self)
        found = f"{self.name}, {format_seconds(self.latency_s)} in all tasks, output {said}"
        return result_text("NetworkResult", found, facts, self.notes)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<pre>{escape(repr(self))}</pre>"

    def compile(self, cores: int | None = None) -> CompiledNetwork:
        """Give the network as a function.

        It computes with the weights that it was tuned with. Where the framework's have changed
        since, a warning says so; tuning again then measures nothing that is recorded. Of writes
        that torch does not count, as through ``.data``, those are noticed that reach one of 1024
        elements, evenly spread, of a tensor.

        After Ctrl-C, tasks that were not measured are ranked first, as ``trials_per_task=0`` does:
        some 10 s for ResNet-50 on two cores, and shows it as that call showed its progress. So do
        `export` and `profile`, whichever is called first.

        Parameters
        ----------
        cores : int, optional
            That kernels use. When None as many as ``TVM_NUM_THREADS`` states, and all of this
            process where it states nothing; with other work or other processes beside, say how
            many, for idle threads of TVM spin for 0.2 s after each call. TVM has one pool of
            threads for each thread that calls: with fewer cores for one network, it has fewer for
            all that are called there.

        Warns
        -----
        UserWarning
            Where the output is wrong, so that the function is there to look into it alone, and
            where weights have changed.
        """
        warn_of_wrong(self.wrong)
        warn_of_changes(self.changed(), "tune_model")
        return compiled(self, cores)

    def export(self, path: str | Path) -> Path:
        """Write the network as one shared library that needs TVM alone.

        It holds the code, the weights and the program of TVM's virtual machine; load it with
        ``relax.VirtualMachine(tvm.runtime.load_module(path), tvm.cpu())["main"]``. That takes and
        returns the tensors alone, in their order: what else the network takes or returns is always
        the same, and known to `signature`.

        By itself TVM uses half of the cores: run the library with ``TVM_NUM_THREADS=<cores>
        TVM_BIND_THREADS=0`` in the environment, set before its first kernel.

        Parameters
        ----------
        path : str or Path
            Ends in ``.so`` (``.dll``, ``.dylib``).

        Raises
        ------
        NetworkError
            Where the output is wrong, and for a target of another architecture where no compiler is
            named that links for it.
        ValueError
            For a path with another ending.
        OSError
            If it cannot be written; what lay there is as it was.
        MachineTrouble
            Without a compiler to link with, or where it finds no room.

        Warns
        -----
        UserWarning
            Where weights have changed, as `compile` says.
        """
        refuse_wrong(self.wrong)
        warn_of_changes(self.changed(), "tune_model")
        return written(self, path)

    def profile(self, *args: object, runs: int = 10, **kwargs: object) -> Profile:
        """Measure every operator of the compiled network in its place.

        Beside it what PSA predicts of its program, and what was measured of it alone; then what
        lies between the sum of the operators and the whole. Reading the records for the prediction
        takes as long as ranking: some 8 s for ResNet-50 on two cores. Where weights come from
        memory predictions order the configs of a task, and are 2 to 60 times too long.

        Parameters
        ----------
        args, kwargs
            As the network is called; random inputs when there are none.
        runs : int
            Runs of the network, of which each operator's median is taken.

        Raises
        ------
        NetworkError
            Where this machine does not run the network's code.

        Warns
        -----
        UserWarning
            Where weights have changed, as `compile` says.
        """
        from .profile import profile_network

        warn_of_changes(self.changed(), "tune_model")
        return profile_network(self, args, kwargs, runs)


def compiled(result: NetworkResult, cores: int | None = None) -> CompiledNetwork:
    """A result as a function, as `NetworkResult.compile` gives it; nothing is said about it."""
    device = device_from_target(result.target)
    return CompiledNetwork(result.executable, result.signature, device, cores)


def written(result: NetworkResult, path: str | Path) -> Path:
    """A result as a file, as `NetworkResult.export` writes it; nothing is said about it."""
    place = library_path(path)
    require_linker_for(result.target)
    place.parent.mkdir(parents=True, exist_ok=True)
    link(result.executable, place)
    return place


def refuse_wrong(wrong: str) -> None:
    """Refuse to write what computes something else than the network.

    Parameters
    ----------
    wrong : str
        As of `NetworkResult`.

    Raises
    ------
    NetworkError
        Where it says anything.
    """
    if wrong:
        raise NetworkError(
            f"expected a network whose output is right, got one that is wrong: {wrong}. Tune it "
            "again with exact=True or in an empty work_dir; to look into it, compile() gives the "
            "function, and executable.export_library(path) of a NetworkResult writes it"
        )


def warn_of_wrong(wrong: str) -> None:
    """Warn the caller of ``compile`` where an output is wrong, as `refuse_wrong` refuses it."""
    if wrong:
        warn_user(
            f"the output of this network is wrong: {wrong}. The function is there to look into it; "
            "tune it again with exact=True or in an empty work_dir"
        )


def warn_of_changes(changed: Sequence[str], again: str) -> None:
    """Warn who compiles, exports or profiles of weights that are not what was tuned.

    Parameters
    ----------
    changed : sequence of str
        Their names.
    again : str
        The function that tunes anew.
    """
    if changed:
        more = ", ..." if len(changed) > 3 else ""
        warn_user(
            f"{len(changed)} weights have changed since the network was tuned "
            f"({', '.join(changed[:3])}{more}); this computes with the earlier ones. Call "
            f"{again} again with the same work_dir: its records are used, nothing is "
            "measured twice"
        )
