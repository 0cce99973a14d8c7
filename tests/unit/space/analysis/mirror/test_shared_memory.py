"""Bytes of shared memory, against what TVM counts in the lowered program."""

import numpy as np
import pytest
from tensor_core_products import A100, gemm, module, nests
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from mschedx import compat
from mschedx.space.opening import sketches


@pytest.fixture(scope="module")
def large():
    """The sketches of 4096 x 4096 x 4096, float16 with float32 sums."""
    return sketches(module(gemm(4096, 4096, 4096)), A100)


def shared_limit(mod, limit):
    """``VerifyGPUCode`` for a device with so many bytes of shared memory."""
    target = Target({**A100.export(), "tag": "", "max_shared_memory_per_block": limit})
    with compat.only_intrinsics(target):
        context = ms.TuneContext(mod, target=target, space_generator="post-order-apply")
    postproc = ms.postproc.VerifyGPUCode()
    postproc._initialize_with_tune_context(context)
    return postproc


def test_heron_fact_7_shared_bytes_are_exact_and_within_the_limit(large):
    mod = module(gemm(4096, 4096, 4096))
    for sketch in large:
        configs = sketch.sample(300, np.random.default_rng(2))
        extents = sketch.extents(configs)
        total = shared_bytes(extents)
        assert (total <= 49152).all()
        parts = [value for key, value in extents.items() if key.endswith("shared.dyn/alloc_bytes")]
        assert len(parts) == 2
        np.testing.assert_array_equal(total, sum(parts))
        for row in (int(np.argmax(total)), 0):
            assert_exact(mod, sketch.schedule(configs[row]), int(total[row]))


def shared_bytes(extents):
    (name,) = [name for name in extents if name.endswith("/shared_bytes")]
    return extents[name]


def assert_exact(mod, sch, total):
    """TVM, which counts the bytes of the lowered program, needs just so many."""
    assert shared_limit(mod, total).apply(sch)
    assert not shared_limit(mod, total - 1).apply(sch)


def test_shared_bytes_are_exact_where_the_result_is_staged_too():
    mod = module(gemm(1000, 1000, 1000))
    for sketch in sketches(mod, A100):
        configs = sketch.sample(4, np.random.default_rng(3))
        total = shared_bytes(sketch.extents(configs))
        for config, size in zip(configs, total):
            sch = sketch.schedule(config)
            assert any(name.startswith("C_reindex_pad_shared") for name in nests(sch))
            assert_exact(mod, sch, int(size))
