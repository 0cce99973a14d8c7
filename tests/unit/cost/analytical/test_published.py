"""The published analyzer gives the published numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from mschedx import workloads
from mschedx.cost.analytical.published import (
    Symbols,
    alignment_of_grid,
    alignment_of_warps,
    statement_ms,
    symbols,
)
from mschedx.cost.analytical.view import ProgramView
from mschedx.cost.psa import PSAModel
from mschedx.hardware import Hardware
from mschedx.space import sketches

A100 = Hardware.from_device("a100_40")


def gemm_config(sketch, tiles):
    """The config of a 1024³ GEMM in TVM's CUDA space with these tiles of i, j and k."""
    config = sketch.design.default_config()
    by_name = dict(zip(sketch.names, range(len(sketch.names))))
    for axis, factors in tiles.items():
        for part, factor in enumerate(factors):
            config[by_name[f"C.{axis}.{part}"]] = factor
    return config


@pytest.fixture(scope="module")
def gemm():
    func = workloads.make("gemm", (1024, 1024, 1024))
    target = tvm.target.Target("nvidia/nvidia-a100")
    return sketches(func, target, "post-order-apply")[-1]


def axes(sketch):
    return sorted({name.split(".")[1] for name in sketch.names if name.startswith("C.")})


def large(sketch):
    """Block tile 128 × 128, 256 threads of 8 × 8."""
    i, j, k = axes(sketch)[0], axes(sketch)[1], axes(sketch)[-1]
    return gemm_config(sketch, {i: (8, 1, 16, 8, 1), j: (8, 1, 16, 8, 1), k: (128, 8, 1)})


def test_fact_1_symbols_and_latency_of_a_gemm(gemm):
    config = large(gemm)
    view = ProgramView(gemm.statements, gemm.analysis.allocations)
    views = {v.statement.name: v for v in view(config[None]).statements}
    main = next(v for v in views.values() if v.statement.is_reduction)
    found = symbols(main)
    assert float(found.f1[0]) == 2.0**31
    assert float(found.f2[0]) == 80
    assert float(found.f3[0]) == 16448
    assert float(found.f6[0]) == pytest.approx(8.9689, abs=1e-4)
    assert 1 + 1 / float(found.f6[0]) == pytest.approx(1.11150, abs=1e-5)
    assert alignment_of_grid(found.f8, np.ceil(found.f9 / 32), 108)[0] == pytest.approx(
        0.59259, abs=1e-5
    )
    assert statement_ms(found, A100)[0] == pytest.approx(0.206666, abs=1e-6)
    copies = [v for name, v in views.items() if "shared" in name]
    assert len(copies) == 2
    for copy in copies:
        assert statement_ms(symbols(copy), A100)[0] == pytest.approx(0.0050241, abs=1e-7)
    model = PSAModel(A100, "published")
    milliseconds = model.costs(gemm, config[None]).latency_s[0] * 1e3
    assert milliseconds == pytest.approx(0.217343, abs=2e-6)
    assert 1 / milliseconds == pytest.approx(4.60103, abs=1e-4)


def test_fact_2_a_smaller_block_tile_is_preferred(gemm):
    """Block tile 64 × 64, 64 threads of 8 × 8."""
    i, j, k = axes(gemm)[0], axes(gemm)[1], axes(gemm)[-1]
    small = gemm_config(gemm, {i: (16, 1, 8, 8, 1), j: (16, 1, 8, 8, 1), k: (128, 8, 1)})
    model = PSAModel(A100, "published")
    milliseconds = model.costs(gemm, np.stack([large(gemm), small])).latency_s * 1e3
    assert milliseconds[1] == pytest.approx(0.175724, abs=2e-6)
    assert milliseconds[1] < milliseconds[0]


def test_fact_3_warps():
    assert alignment_of_warps(np.array([48.0, 33.0, 32.0])).tolist() == [0.75, 33 / 64, 1.0]


@pytest.mark.parametrize(
    ("grid", "warps", "share"),
    [(64, 8, 0.5926), (107, 8, 0.9907), (108, 8, 1), (109, 8, 0.5046), (107, 1, 0.2477),
     (108, 1, 1), (54, 2, 0.25)],
)  # fmt: skip
def test_fact_5_multiprocessors(grid, warps, share):
    found = alignment_of_grid(np.array([grid]), np.array([warps]), 108)
    assert found[0] == pytest.approx(share, abs=5e-5)


def test_fact_4_registers():
    def seconds(f2):
        one, many = np.ones(1), np.full(1, 1e9)
        found = Symbols(many, many, np.array([f2]), many, 0 * one, 2 * one, 108 * one, 256 * one)
        return statement_ms(found, A100)[0]

    assert seconds(127.0) == seconds(1.0)
    assert seconds(256.0) == pytest.approx(2 * seconds(1.0))


@pytest.mark.parametrize(
    ("name", "gflops", "gbytes", "multiprocessors"),
    [("k80", 8226, 480, 26), ("t4", 8141, 320, 40), ("titanv", 14900, 651, 80),
     ("orin", 2660, 204, 16), ("a100", 19490, 1935, 108), ("a100_40", 19490, 1555, 108)],
)  # fmt: skip
def test_devices_are_those_of_the_published_table(name, gflops, gbytes, multiprocessors):
    """pruner.md section 1.3; both dies of a K80."""
    device, one = Hardware.from_device(name), np.ones(2)
    grid = np.array([multiprocessors, multiprocessors + 1.0])
    computes = Symbols(one, 1e12 * one, one, one, 0 * one, np.inf * one, grid, 256 * one)
    share = np.array([1.0, (multiprocessors + 1) / (2 * multiprocessors)])
    np.testing.assert_allclose(statement_ms(computes, device), 1e6 / gflops / share)
    copies = Symbols(0 * one, 0 * one, one, one, 1e9 * one, one, grid, 256 * one)
    np.testing.assert_allclose(statement_ms(copies, device), 1e12 / (gbytes * 2**30))


def test_rates_that_are_not_known_are_named():
    from dataclasses import replace

    one = np.ones(1)
    found = Symbols(one, one, one, one, one, one, one, one)
    with pytest.raises(ValueError, match="peak_flops"):
        statement_ms(found, replace(A100, peak_flops=None))
