"""The design space mschedx recommends for a target."""

from __future__ import annotations

from typing import Any

from tvm.s_tir.meta_schedule.mutator import Mutator
from tvm.s_tir.meta_schedule.postproc import Postproc
from tvm.s_tir.meta_schedule.schedule_rule import ScheduleRule
from tvm.s_tir.meta_schedule.space_generator import PostOrderApply
from tvm.target import Target

from mschedx import compat
from mschedx.hardware import Hardware

from .or_as_it_is import OrAsItIs
from .postprocs.async_copies import cuda_postprocs
from .postprocs.together import with_ours
from .rules.attention_tile import AttentionTile
from .rules.dot_tile import DotTile
from .rules.fused_stages import FusedStages
from .rules.guards import (
    Applies,
    Guarded,
    Keeps,
    keeps_indices_rising,
    keeps_whole_blocks,
    not_bound,
    not_tiled,
)
from .rules.keep_functions import keeps_functions
from .rules.packed_tile import PackedTile
from .rules.remainder import Remainder
from .rules.tensor_core_tile import TensorCoreTile
from .rules.unknown_rules import UnknownRules


def for_target(
    target: Target | dict[str, Any] | str, *, tf32: bool = False, im2col: bool = True
) -> OrAsItIs:
    """Compose the rules for a target into a space generator.

    On ``llvm`` contractions get packed panels and register tiles, around a dot-product
    instruction where types and target allow (:class:`DotTile`) and of plain vectors elsewhere
    (:class:`PackedTile`); reductions, normalisations, pooling and matrix-vector products are
    fused into streams over their rows (:class:`FusedStages`), what is left gets vectors and cores
    (:class:`Remainder`) or TVM's own rules. On ``cuda`` contractions whose
    types the tensor cores of the target take are tiled around them (:class:`TensorCoreTile`);
    everything else gets TVM's rules for CUDA cores.

    Outside of :func:`mschedx.compat.only_intrinsics` this loads TVM's tensor intrinsics, once a
    process: 2 s here, 15-20 s when ``ms.tune_tir`` would have to do it.

    Parameters
    ----------
    target : Target, dict or tag
        Its ``mcpu`` decides vector length and registers, its ``arch`` the tensor cores.
    tf32 : bool
        On ``cuda``, let tensor cores multiply float32 matrices, whose elements they cut to 10 bits
        of fraction: faster, and less exact than asked for, hence off.
    im2col : bool
        On ``llvm``, offer float convolutions ``[N, C, H, W]`` of stride 1 as products with their
        patch matrix, beside the direct form. On ``cuda`` convolutions are gathered that way in any
        case, without the matrix.

    Returns
    -------
    SpaceGenerator
        To pass as ``space=`` to ``ms.tune_tir``, ``tune_relax`` or :func:`mschedx.tune`, for this
        target: with another one they raise ``ValueError``. A function
        of which its rules make nothing stays as it is, with a warning (:class:`OrAsItIs`), so that
        the other tasks of a run are tuned.

    Raises
    ------
    ValueError
        For a kind of target that is neither llvm nor cuda.
    """
    target = target if isinstance(target, Target) else Target(target)
    return OrAsItIs(rules_for(target, tf32=tf32, im2col=im2col), target)


def rules_for(
    target: Target | dict[str, Any] | str, *, tf32: bool = False, im2col: bool = True
) -> PostOrderApply:
    """The generator behind :func:`for_target`, which raises where a function has no space."""
    target = target if isinstance(target, Target) else Target(target)
    kind = target.kind.name
    if kind in ("llvm", "cuda"):
        compat.load_tensor_intrinsics()
    if kind == "llvm":
        return PostOrderApply(
            sch_rules=_llvm_rules(target, im2col),
            postprocs=_llvm_postprocs(),
            mutator_probs=Mutator.create("llvm"),
        )
    if kind == "cuda":
        # Anything left out makes TVM build its default rules too, which need its intrinsics.
        return PostOrderApply(
            sch_rules=_cuda_rules(target, tf32),
            postprocs=with_ours(cuda_postprocs()),
            mutator_probs=Mutator.create("cuda-tensorcore"),
        )
    raise ValueError(
        f'expected a target of kind "llvm" or "cuda", got "{kind}"; '
        'pass space="post-order-apply" for the rules TVM has for it'
    )


def _llvm_rules(target: Target, im2col: bool) -> list[Any]:
    hardware = Hardware.from_target(target)
    # [ApplyCustomRule, InlineConstantScalars, AutoInline, AddRFactor, MultiLevelTiling,
    #  ParallelizeVectorizeUnroll, RandomComputeLocation]: the first three only prepare.
    custom, scalars, inline, *tiling = ScheduleRule.create("llvm")
    ours = (
        AttentionTile(hardware),
        DotTile(target),
        PackedTile(hardware, im2col=im2col),
        FusedStages(hardware),
        Remainder(hardware),
    )
    return [
        UnknownRules(),
        custom,
        _guarded(scalars),
        _guarded(inline, keeps=(keeps_functions(hardware),)),
        *(Guarded(rule, type(rule).__name__) for rule in ours),
        *(_guarded(rule, not_tiled) for rule in tiling),
    ]


def _guarded(rule: Any, applies: Applies | None = None, keeps: tuple[Keeps, ...] = ()) -> Any:
    """One of TVM's rules, kept from what its primitives or passes get wrong.

    ``InlineConstantScalars`` raises at a reduction of constants to a scalar, ``MultiLevelTiling``
    at a consumer of extent 0.
    """
    name = str(rule).split("(")[0].rsplit(".", 1)[-1]
    if name == "AutoInline":
        keeps = (keeps_indices_rising, *keeps)
    elif name.startswith("MultiLevelTiling"):
        keeps = (keeps_whole_blocks, *keeps)
    return Guarded(rule, name, applies=applies, keeps=keeps)


def _llvm_postprocs() -> list[Postproc]:
    """TVM's without ``RewriteLayout``: our rules lay free weights out themselves.

    It would rewrite a layout by the loops of each config, and refuses every copy of a weight that
    does not go element by element.
    """
    kept = [p for p in Postproc.create("llvm") if "RewriteLayout" not in str(p)]
    return with_ours(kept)


def _cuda_rules(target: Target, tf32: bool) -> list[Any]:
    custom, *rest = ScheduleRule.create("cuda")
    tensor_cores = Guarded(TensorCoreTile(target, tf32=tf32), "TensorCoreTile")
    return [UnknownRules(), custom, tensor_cores, *(_guarded(rule, not_bound) for rule in rest)]
