"""Weights that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

FORMAT = 1
"""Of a file of weights with its card, see `weights`."""

_FOLDER = Path(__file__).with_name("weights")


def shipped() -> tuple[str, ...]:
    """Names of the models that come with the package; each has its card beside it, as JSON."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.safetensors")))


def weights_path(name: str | Path) -> Path:
    """Find weights by name or path.

    Raises
    ------
    FileNotFoundError
        For what is neither a model that comes with the package nor a file.
    """
    if str(name) in shipped():
        return _FOLDER / f"{name}.safetensors"
    path = Path(name)
    if not path.exists():
        known = ", ".join(f'"{one}"' for one in shipped()) or "none"
        raise FileNotFoundError(
            f"expected a file of weights (what PAM.save and `mschedx train` write) or the name of "
            f"a model that comes with the package ({known}), got {str(name)!r}"
        )
    return path
