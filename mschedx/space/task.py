"""Task: a workload on a target, under a key that is the same in every process."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import tvm
import tvm_ffi


@dataclass(frozen=True)
class Task:
    """What is tuned, and for what.

    Two tasks are equal when their keys are.

    Parameters
    ----------
    key : str
        16 hexadecimal digits; of a module by :meth:`of`.
    name : str
        For readers of logs.
    target : tvm.target.Target or None
        None where a model needs none, such as in a test.
    """

    key: str
    name: str = field(default="main", compare=False)
    target: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not self.key:
            raise ValueError(f"expected Task.key as a text that is not empty, got {self.key!r}")

    @classmethod
    def of(cls, mod: tvm.IRModule, target: tvm.target.Target, name: str | None = None) -> Task:
        """Identify a module on a target.

        The key is made of TVM's structural hash, which ignores variables' names, and of the
        target's configuration. The function's own name is no part of it, nor is the target's host
        or tag.

        Parameters
        ----------
        mod : tvm.IRModule
        target : tvm.target.Target
        name : str, optional
            The function's when None, or that of the first of several.
        """
        names = sorted(var.name_hint for var in mod.get_global_vars())
        text = f"{_workload(mod, names)} {canonical_json(target)}"
        return cls(digest(text), name or (names[0] if names else "main"), target)


def canonical_json(target: tvm.target.Target) -> str:
    """Write a target's configuration so that equal ones give equal texts.

    Left out are its tag, which is another name for the rest, its keys, which follow from it, and
    its host.
    """
    config = {k: v for k, v in json.loads(str(target)).items() if k not in ("tag", "keys", "host")}
    return json.dumps(config, sort_keys=True, separators=(",", ":"))


def digest(text: str) -> str:
    """Shorten a text to 16 hexadecimal digits, the same in every process."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _workload(mod: tvm.IRModule, names: list[str]) -> str:
    """Structural hash of a module; of a single function without the names it is called by."""
    hashed: Any = mod
    if len(names) == 1:
        hashed = mod[names[0]]
        for attribute in ("global_symbol", "tirx.noalias"):
            # TuneContext adds both to a function that it is given without a module.
            if hashed.attrs is not None and attribute in hashed.attrs:
                hashed = hashed.without_attr(attribute)
    return f"{int(tvm_ffi.structural_hash(hashed)) & (2**64 - 1):016x}"
