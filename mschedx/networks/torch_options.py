"""What ``torch.compile(model, backend="mschedx", options={...})`` may be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_KNOWN = (
    *("cost_model", "exact", "progress", "runner", "seed", "space", "strategy", "target"),
    "timeout_s",
)
_OWN = ("trials_per_task", "work_dir", "max_artefacts", "cores")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``options={...}`` may hold.

    Parameters
    ----------
    trials_per_task : int
        0 measures nothing.
    work_dir : path, optional
        One folder for all graphs, which are tuned in turn, those of other processes too; a new one
        for each when None. A graph waits for its turn, ``timeout_s`` at most where that is given;
        then torch runs it, and it is tried again after a minute.
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
    def of(cls, given: dict[str, Any] | None) -> Options:
        """Read the options.

        Raises
        ------
        ValueError
            For one that is not known.
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
