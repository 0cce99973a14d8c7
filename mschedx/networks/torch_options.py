"""What ``torch.compile(model, backend="mschedx", options={...})`` may be told."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from mschedx.inputs import check_seconds, check_seed, check_trials, normalize_target
from mschedx.plan import Parts

from .progress import NetworkProgress

_KNOWN = (
    *("cost_model", "exact", "progress", "runner", "seed", "space", "strategy", "target"),
    "timeout_s",
)
_PARTS = ("cost_model", "runner", "space", "strategy")
_OWN = ("trials_per_task", "work_dir", "max_artefacts", "cores")


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """What ``options={...}`` may hold.

    Parameters
    ----------
    trials_per_task : int
        0 measures nothing.
    work_dir : path, optional
        One folder for all graphs, which are tuned in turn, those of other processes too; one for
        all graphs of this process with the same options, which goes with it, when None. A graph
        waits for its turn, ``timeout_s`` at most where that is given; then torch runs it, and it is
        tried again after a minute.
    max_artefacts : int
        Combinations of shapes and weights to compile, for each graph; weights that are gone or
        were written to do not count.
    cores : int, optional
        That the kernels of artefacts use. As many as torch's own operators may when None:
        ``torch.get_num_threads()`` when an artefact is made, and no more than this process has.
    tuning : dict
        Other arguments of `tune_model`: cost_model, exact, progress, runner, seed, space,
        strategy, target, timeout_s.
    """

    trials_per_task: int = 16
    work_dir: Any = None
    max_artefacts: int = 8
    cores: int | None = None
    tuning: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: dict[str, Any] | None) -> BackendOptions:
        """Read the options; what is wrong with them is raised here, not left to torch.

        Raises
        ------
        ValueError, TypeError
            For one that is not known, and for values that no graph could be tuned with.
        """
        rest = dict(given or {})
        own = {name: rest.pop(name) for name in tuple(rest) if name in _OWN}
        unknown = [name for name in rest if name not in _KNOWN]
        if unknown:
            raise ValueError(
                f"expected options of the mschedx backend among {', '.join((*_OWN, *_KNOWN))}, "
                f"got {', '.join(unknown)}"
            )
        return cls(**own, tuning=rest)

    def __post_init__(self) -> None:
        if self.trials_per_task != 0:
            check_trials(self.trials_per_task, "trials_per_task")
        if self.max_artefacts != 0:
            check_trials(self.max_artefacts, "max_artefacts")
        if self.cores is not None:
            check_trials(self.cores, "cores")
        if not isinstance(self.work_dir, str | os.PathLike | None):
            raise TypeError(f"expected work_dir as a path, got {self.work_dir!r}")
        _check_tuning(self.tuning)


def _check_tuning(given: dict[str, Any]) -> None:
    """Check arguments of `tune_model`.

    Raises
    ------
    ValueError, TypeError
    """
    check_seed(given.get("seed", 0))
    check_seconds("timeout_s", given.get("timeout_s"))
    if given.get("target") is not None:
        normalize_target(given["target"])
    if not isinstance(given.get("exact", False), bool):
        raise TypeError(f"expected exact as a bool, got {given['exact']!r}")
    if not isinstance(given.get("progress", False), bool | NetworkProgress):
        raise TypeError(f"expected progress as a bool or a display, got {given['progress']!r}")
    Parts(**{name: given.get(name) for name in _PARTS})
