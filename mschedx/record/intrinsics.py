"""Tensor intrinsics that records name: TVM can only load a trace where all of them are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .errors import WorkDirError


def intrinsics_of(trace: list[Any]) -> set[str]:
    """Names of the tensor intrinsics in a trace as JSON."""
    return {str(attrs[0]) for kind, _, attrs, _ in trace[0] if kind == "Tensorize" and attrs}


def require_intrinsics(names: Iterable[str]) -> None:
    """Make sure that intrinsics are registered; those of TVM and of mschedx are, on demand.

    Raises
    ------
    WorkDirError
        Naming those that are somebody else's, and how they come to be known.
    """
    absent = _absent(names)
    if absent:
        import mschedx.intrinsics  # noqa: F401

        absent = _absent(absent)
    if absent:
        from mschedx.compat import load_tensor_intrinsics

        load_tensor_intrinsics()
        absent = _absent(absent)
    if absent:
        raise WorkDirError(
            "records here use tensor intrinsics that are not registered in this process: "
            f"{', '.join(absent)}. Register them as the process that tuned did, with "
            "tvm.s_tir.TensorIntrin.register(name, description, implementation), before the "
            "records are read or tuned on; names that begin with mschedx_ come with the version "
            "of mschedx that mschedx_manifest.json names. Or use another work_dir"
        )


def _absent(names: Iterable[str]) -> list[str]:
    from tvm.s_tir import TensorIntrin

    return sorted(n for n in names if TensorIntrin.get(n, allow_missing=True) is None)
