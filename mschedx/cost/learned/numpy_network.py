"""Pruner's improved network in NumPy: what ranks without importing PyTorch.

It reads the files that :class:`~.pam.PAMModel` writes and computes what :mod:`.network` does, for
programs of one sketch at a time, which need no padding.

Notation
--------
n : programs; S, R : their statements and accesses; F, G : columns of these; E : width of attention.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ..base import PRETRAINED_ACCURACY
from .features import ACCESS_NAMES, STATEMENT_NAMES, ProgramArrays
from .shipped import ACCURACY, FORMAT, HEADS, card_of

Array = NDArray[np.float32]

_LAYERS = (
    *(f"network.{branch}.{layer}" for branch in ("statements", "accesses") for layer in (0, 2)),
    *(f"network.residuals.{layer}.0" for layer in (0, 1)),
    "network.fuse.0",
    "network.norm",
    "network.score",
    "network.statement_weight",
    "network.access_norm",
    "network.access_weight",
    "network.attention.out_proj",
)
_TENSORS = {
    *(f"{layer}.{kind}" for layer in _LAYERS for kind in ("weight", "bias")),
    *(f"{branch}_scaling.{k}" for branch in ("statement", "access") for k in ("scale", "shift")),
    "network.attention.in_proj_weight",
    "network.attention.in_proj_bias",
    "network.positions.weight",
}
_PIECE = 1024
"""Programs scored at a time."""


def _processors(card: Mapping[str, Any]) -> tuple[str, ...]:
    """What a card says of the processors; ones that it does not name are not known."""
    named = card.get("trained_on", {}).get("processors", ())
    return tuple(map(str, named)) if isinstance(named, list) else ()


class NumpyNetwork:
    """A trained network that scores; nothing here learns.

    Parameters
    ----------
    tensors : mapping of str to float32 array
        The state of a `ScaledNetwork` in the improved form.
    target_kind : str, optional
        What it was trained for; not known when None.
    accuracy : float
        Its pairwise accuracy, as far as that is known.
    processors : iterable of str
        ``mcpu`` of the targets that it was trained on; none when they are not known.

    Raises
    ------
    ValueError
        When a tensor is missing.
    """

    def __init__(
        self,
        tensors: Mapping[str, Array],
        target_kind: str | None = None,
        accuracy: float = PRETRAINED_ACCURACY,
        processors: Iterable[str] = (),
    ) -> None:
        missing = sorted(_TENSORS - tensors.keys())
        if missing:
            raise ValueError(
                f"expected the {len(_TENSORS)} tensors of a PAM, got {len(tensors)} without "
                f"{', '.join(missing[:3])}"
            )
        self._tensors, self.target_kind, self.accuracy = dict(tensors), target_kind, accuracy
        self.processors = frozenset(processors)

    @classmethod
    def load(cls, path: str | Path) -> NumpyNetwork:
        """Read what `PAMModel.save` wrote.

        Raises
        ------
        ValueError
            When the file is none of these, of another format, of the published form, has other
            columns or lacks a tensor.
        """
        try:
            with safe_open(str(path), framework="np") as file:
                card = card_of(file.metadata())
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(f"{path}: expected weights that PAM.save wrote: {error!r}") from error
        columns = {"statements": list(STATEMENT_NAMES), "accesses": list(ACCESS_NAMES)}
        expected = {"model": "PAM", "format": FORMAT, "published": False, "columns": columns}
        other = [name for name, value in expected.items() if card.get(name) != value]
        if other:
            found = "other columns" if other == ["columns"] else f"{other[0]} {card.get(other[0])}"
            raise ValueError(
                f"{path}: expected a PAM of the improved form, of format {FORMAT} and with the "
                f"columns of this version, got {found}; train it again (`mschedx train`)"
            )
        accuracy = card.get("metrics", {}).get(ACCURACY, PRETRAINED_ACCURACY)
        try:
            return cls(tensors, card.get("target_kind"), accuracy, _processors(card))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def __call__(self, programs: ProgramArrays) -> NDArray[np.float64]:
        """Logits of programs [n], higher is better."""
        pieces = np.split(np.arange(len(programs)), range(_PIECE, len(programs), _PIECE))
        found = [self._logits(programs.take(piece)) for piece in pieces if len(piece)]
        return np.concatenate([*found, np.empty(0)]).astype(np.float64)

    def _logits(self, programs: ProgramArrays) -> Array:
        both = np.concatenate(
            [self._statements(programs.statements), self._accesses(programs.accesses)], axis=1
        )
        hidden = self._normal("network.norm", _relu(self._linear("network.fuse.0", both)))
        for layer in range(2):
            hidden = hidden + _relu(self._linear(f"network.residuals.{layer}.0", hidden))
        return self._linear("network.score", hidden)[:, 0]

    def _statements(self, rows: Array) -> Array:
        """Programs [n, S, F] to [n, H]: a gated sum over statements."""
        hidden = self._two("network.statements", self._scaled("statement_scaling", rows))
        gate = _sigmoid(self._linear("network.statement_weight", hidden))
        return (gate * hidden).sum(axis=1)

    def _accesses(self, rows: Array) -> Array:
        """Programs [n, R, G] to [n, E]: attention among accesses, then a weighted mean."""
        hidden = self._two("network.accesses", self._scaled("access_scaling", rows))
        if not hidden.shape[1]:
            return np.zeros((len(hidden), hidden.shape[2]), dtype=np.float32)
        hidden = hidden + self._tensors["network.positions.weight"][: hidden.shape[1]]
        hidden = hidden + self._attention(self._normal("network.access_norm", hidden))
        weight = _softmax(self._linear("network.access_weight", hidden)[..., 0])
        return (weight[..., None] * hidden).sum(axis=1)

    def _attention(self, seen: Array) -> Array:
        """Every access [n, R, E] looks at all of its program's."""
        name = "network.attention"
        three: Array = seen @ self._tensors[f"{name}.in_proj_weight"].T
        three = three + self._tensors[f"{name}.in_proj_bias"]
        count, rows, width = seen.shape
        each = width // HEADS
        asks, keys, values = (
            part.reshape(count, rows, HEADS, each).swapaxes(1, 2)
            for part in np.split(three, 3, axis=2)
        )
        share = _softmax(asks @ keys.swapaxes(2, 3) / np.sqrt(np.float32(each)))
        mixed = (share @ values).swapaxes(1, 2).reshape(count, rows, width)
        return self._linear(f"{name}.out_proj", mixed)

    def _two(self, name: str, rows: Array) -> Array:
        return _relu(self._linear(f"{name}.2", _relu(self._linear(f"{name}.0", rows))))

    def _linear(self, name: str, rows: Array) -> Array:
        return rows @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]

    def _scaled(self, name: str, rows: Array) -> Array:
        return (rows - self._tensors[f"{name}.shift"]) / self._tensors[f"{name}.scale"]

    def _normal(self, name: str, rows: Array) -> Array:
        centred = rows - rows.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(1e-5))
        return centred / spread * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]


def _relu(rows: Array) -> Array:
    return np.maximum(rows, 0)


def _sigmoid(rows: Array) -> Array:
    # e^88 is the greatest that a float32 holds; 1 + e^80 is e^80 in one already.
    powers = np.exp(np.minimum(-rows, np.float32(80)))
    return np.asarray(1 / (1 + powers), dtype=np.float32)


def _softmax(rows: Array) -> Array:
    powers = np.exp(rows - rows.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
