"""Asynchronous copies from global to shared memory: ``cp.async`` of sm_80 and newer.

TVM makes ``cp.async`` of a vector copy only under ``tirx.use_async_copy``, which no default pass
context sets. As an intrinsic the instruction is part of the schedule. Whoever tensorises with it
must see to a commit and a wait before the data is used; a software pipeline with
``software_pipeline_async_stages`` does.

References
----------
PTX ISA, "cp.async": 4, 8 or 16 bytes, aligned to as much on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tvm.target import Target

from . import cuda_tile
from .build import T, prim_func, register_once
from .cuda_sources import call
from .cuda_tile import Functions

ARCH = 80
"""Least compute capability, times ten."""
COPY_BYTES = (4, 8, 16)
SCOPES = ("shared", "shared.dyn")
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "int8": 1, "uint8": 1, "int32": 4}


def has_async_copies(target: Target) -> bool:
    """Say whether ``target`` is a CUDA target with ``cp.async``."""
    found = re.match(r"sm_(\d+)", str(target.attrs.get("arch", "")))
    return target.kind.name == "cuda" and found is not None and int(found[1]) >= ARCH


def async_copy(dtype: str, lanes: int, scope: str) -> str | None:
    """Name the intrinsic that copies ``lanes`` neighbours to ``scope``; None without one."""
    if scope not in SCOPES or _BYTES.get(dtype, 0) * lanes not in COPY_BYTES:
        return None
    return f"mschedx_copy_async_{dtype}x{lanes}_{scope.replace('.', '_')}"


def _copy(dtype: str, lanes: int, scope: str) -> Functions:
    """Describe ``target[i] = source[i]`` of neighbours; do it by one instruction."""

    def declare() -> tuple[Any, Any]:
        # Without strides of their own, both sides must be contiguous.
        source, target = (
            T.arg(name, T.Buffer((lanes,), dtype, scope=where, offset_factor=1))
            for name, where in (("S", "global"), ("D", scope))
        )
        return source, target

    def describe() -> None:
        source, target = declare()
        with cuda_tile.block(target, source), T.vectorized(0, lanes) as i, T.sblock("copy"):
            vi = T.axis.spatial(lanes, i)
            T.buffer_store(target, source[vi], [vi])

    def implement() -> None:
        source, target = declare()
        function = f"mschedx_copy_async_{lanes * _BYTES[dtype]}"
        with cuda_tile.block(target, source):
            call(function, target.access_ptr("w"), source.access_ptr("r"))

    return prim_func(describe), prim_func(implement)


def _copies() -> Iterator[tuple[str, str, int, str]]:
    for dtype, size in _BYTES.items():
        for lanes in {n // size for n in COPY_BYTES if n >= size}:
            for scope in SCOPES:
                name = async_copy(dtype, lanes, scope)
                assert name is not None
                yield name, dtype, lanes, scope


def register() -> None:
    """Register every intrinsic of this module with TVM; safe to call again."""
    for name, dtype, lanes, scope in _copies():
        register_once(name, lambda d=dtype, n=lanes, s=scope: _copy(d, n, s))
