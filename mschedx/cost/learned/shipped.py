"""Weights that come with the package, by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mschedx.hardware.host import system_cpu

FORMAT = 1
"""Of a file of weights with its card, see `weights`."""

HEADS = 4
"""Heads of the network's attention, which a file of weights does not tell."""

ACCURACY = "pairwise accuracy"
"""The metric of a card that says how far to trust it."""

CPU = "cpu"
"""The model that comes with the package for CPUs: of those that do, the one for a processor."""

_ANY_CPU = "cpu-znver4"
"""What stands in for processors without a model of their own; it saw the most tasks."""

_FOLDER = Path(__file__).with_name("weights")


def shipped() -> tuple[str, ...]:
    """Names of the models that come with the package; each has its card beside it, as JSON."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.safetensors")))


def weights_path(name: str | Path, mcpu: str | None = None) -> Path:
    """Find weights by name or path.

    Parameters
    ----------
    name : str or path
        `CPU`, a name of `shipped`, or a file.
    mcpu : str, optional
        The processor that `CPU` is asked for; this machine's when None. One that none of the models
        was trained on gets that of a Zen 4.

    Raises
    ------
    FileNotFoundError
        For what is neither a model that comes with the package nor a file.
    """
    if str(name) == CPU:
        own = f"{CPU}-{mcpu or system_cpu()}"
        return _FOLDER / f"{own if own in shipped() else _ANY_CPU}.safetensors"
    if str(name) in shipped():
        return _FOLDER / f"{name}.safetensors"
    path = Path(name)
    if not path.exists():
        known = ", ".join(f'"{one}"' for one in (CPU, *shipped()))
        raise FileNotFoundError(
            f"expected a file of weights (what PAM.save and `mschedx train` write) or the name of "
            f"a model that comes with the package ({known}), got {str(name)!r}"
        )
    return path


_TABLES = ("columns", "trained_on", "metrics")


def card_of(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """Read the card in the header of a file of weights.

    Raises
    ------
    ValueError
        Where there is none, or one that is no card.
    """
    try:
        card = json.loads((metadata or {}).get("card", "null"))
    except RecursionError:
        raise ValueError("expected a card in its header, got endless nesting") from None
    if not isinstance(card, dict):
        raise ValueError(f"expected a card in its header, got {type(card).__name__}")
    for name in _TABLES:
        if not isinstance(card.get(name, {}), dict):
            raise ValueError(f"expected {name} of its card as an object, got {card[name]!r}")
    for branch, names in card.get("columns", {}).items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"expected the names of its {branch}, got {str(names)[:40]}")
    accuracy = card.get("metrics", {}).get(ACCURACY, 0.5)
    if type(accuracy) not in (int, float) or not 0 <= accuracy <= 1:
        raise ValueError(f"expected its {ACCURACY} from 0 to 1, got {accuracy!r}")
    return card


def refuse_weights(config: object) -> None:
    """Refuse weights in the place of a configuration, the first parameter of PAM and FelixMLP.

    Raises
    ------
    TypeError
        For a text or a path.
    """
    if isinstance(config, str | Path):
        raise TypeError(
            f"expected config as a configuration, got {config!r}: weights are given by name, "
            f"pretrained={str(config)!r}"
        )
