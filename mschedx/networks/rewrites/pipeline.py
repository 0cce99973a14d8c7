"""From an imported network to one of fused functions, in the order in which the rewrites serve."""

from __future__ import annotations

from functools import partial
from typing import Any

import tvm
import tvm_ffi
from tvm import relax
from tvm.s_tir.stmt import SBlockRealize
from tvm.target import Target

from .attention import split_attention
from .casts import is_half, merge_casts
from .channels_last import turn_channels
from .constant_calls import fold_calls
from .constants import fold_constants
from .divisors import guard_divisors
from .free_layouts import free_layouts
from .powers import expand_powers
from .reshapes import sink_reshapes
from .scales import fold_scales
from .transposed import split_phases
from .winograd import use_winograd

_transform = relax.transform

_LAYOUT = "meta_schedule.layout_rewrite_preproc"

PACKED = "_prepacked"
"""What TVM appends to the name of a function of which the weights are laid out beforehand."""


def simplify(
    mod: tvm.IRModule,
    *,
    channels_last: bool = False,
    winograd: bool = False,
    chunked: bool = False,
    exact: bool = False,
) -> tvm.IRModule:
    """Rewrite "main" for inference; the result computes the same, rounding apart.

    Parameters
    ----------
    mod : IRModule
        One Relax function "main" of operators, its weights constants.
    channels_last : bool
        Turn convolutions to channels last, as the tiles of CPUs are written best.
    winograd : bool
        Write 3 × 3 convolutions by their transforms where that pays; needs channels last.
    chunked : bool
        Write attention as one function, for which mschedx's space for CPUs has a rule.
    exact : bool
        Leave powers of floats that products would round more often as they are.
    """
    mod = _transform.CanonicalizeBindings()(mod)
    turned = (turn_channels,) if channels_last else ()
    turned += (use_winograd,) if winograd else ()
    powers = partial(expand_powers, exact=exact)
    casts = (merge_casts,) if is_half(mod) else ()
    phases = partial(split_phases, channels_last=channels_last)
    first = (fold_constants, *casts, powers, fold_scales, phases)
    attention = partial(split_attention, chunked=chunked)
    for rewrite in (*first, *turned, attention, sink_reshapes, *casts):
        mod = rewrite(mod)
    return mod


def fuse(mod: tvm.IRModule, target: Target, *, prepack: bool = False) -> tvm.IRModule:
    """Lower operators to PrimFuncs and fuse them: what tasks are cut from.

    Parameters
    ----------
    mod : IRModule
        What `simplify` returned.
    target : Target
    prepack : bool
        Mark the weights of every PrimFunc as of free layout, so that schedules may choose one; it
        is made when the network is compiled (`packed`).
    """
    operators = [
        relax.backend.DispatchSampling(),
        relax.backend.DispatchSortScan(),
        _transform.DecomposeOpsForInference(),
        _transform.LegalizeOps(),
    ]
    fusion = [
        _transform.AnnotateTIROpPattern(),
        _transform.FoldConstant(),
        _transform.FuseOps(),
        _transform.FuseTIR(),
        _transform.RewriteDataflowReshape(),
        _transform.DeadCodeElimination(["main"]),
    ]
    with target:
        mod = guard_divisors(tvm.transform.Sequential(operators)(mod))
        mod = tvm.transform.Sequential(fusion)(mod)
    return free_layouts(mod) if prepack else mod


def packed(mod: tvm.IRModule) -> tvm.IRModule:
    """Move the layout changes that schedules ask for out of the functions, and do them now."""
    mod = _transform.LiftTransformParams()(_split(mod))
    # TVM's pass does what is left.
    return _transform.FoldConstant()(fold_calls(mod))


def _split(mod: tvm.IRModule) -> tvm.IRModule:
    """Take layout changes out of the functions that have any.

    TVM's pass raises at functions that it cannot read, such as sorts, so it sees no others.
    """
    others = {
        name: func
        for name, func in mod.functions.items()
        if isinstance(func, tvm.tirx.PrimFunc) and not _changes_layouts(func)
    }
    kept = {name: func for name, func in mod.functions.items() if name not in others}
    found = _transform.SplitLayoutRewritePreproc()(tvm.IRModule(kept, attrs=mod.attrs))
    for name, func in others.items():
        found.update_func(name, func)
    return found


def _changes_layouts(func: tvm.tirx.PrimFunc) -> bool:
    """Whether a block of it lays out a buffer anew."""
    found: list[Any] = []

    def visit(realize: Any) -> None:
        if _LAYOUT in realize.block.annotations:
            found.append(realize)

    tvm_ffi.structural_walk(func.body, ((SBlockRealize, visit),))
    return bool(found)
