"""Targets that are neither llvm nor cuda are searched; nothing is advised or drafted for them."""

import pytest
from dummy import NoBuilder, NoRunner, gemm
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from mschedx import compat
from mschedx.cost import PSA, HeronXGB
from mschedx.search import ConstrainedEvolution, DraftVerify


@pytest.mark.parametrize(
    ("strategy", "model"),
    [(ConstrainedEvolution, HeronXGB), (ConstrainedEvolution, PSA), (DraftVerify, HeronXGB)],
)
def test_hexagon_is_searched(tmp_path, strategy, model):
    target = Target("qcom/hexagon-v68")
    with compat.only_intrinsics(target):
        database = ms.tune_tir(
            gemm(),
            target,
            str(tmp_path),
            16,
            space="post-order-apply",
            strategy=strategy(batch=8),
            cost_model=model(),
            builder=NoBuilder(),
            runner=NoRunner(),
            seed=1,
        )
    assert len(database) == 16
