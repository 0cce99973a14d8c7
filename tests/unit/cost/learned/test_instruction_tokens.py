"""TLP's rows of instructions, against the instructions themselves."""

import numpy as np
import pytest
from dummy import softmax
from spaces import CUDA, LLVM, matmul

from mschedx.cost.learned.features import signed_log2
from mschedx.cost.learned.instruction_tokens import KINDS, STEPS, WIDTH, InstructionTokens
from mschedx.cost.learned.touch_curves import TouchCurves
from mschedx.space import sketches
from mschedx.space.trace.tables import DecisionKind

SPLIT = 0
"""Group of splits."""


def shown(trace):
    """The instructions that have rows."""
    silent = ("GetSBlock", "GetLoops", "GetChildBlocks", "GetProducers", "GetConsumers", "Sample")
    return [i for i in trace.insts if not str(i.kind.name).startswith(silent)]


@pytest.fixture(scope="module", params=[(LLVM, None), (LLVM, "post-order-apply"), (CUDA, None)])
def sketch(request):
    target, space = request.param
    return sketches(matmul(128, 96, 64), target, space)[0]


def test_the_published_shape():
    assert (STEPS, WIDTH) == (25, 22)


def test_a_row_an_instruction_of_its_kind(sketch):
    rows = InstructionTokens.of(sketch)(sketch.sample(3, np.random.default_rng(0))).statements
    instructions = shown(sketch.design.trace)
    assert rows.shape == (3, STEPS, WIDTH)
    for row, instruction in zip(rows[0], instructions):
        groups = [g for g, kinds in enumerate(KINDS) if str(instruction.kind.name) in kinds]
        assert np.flatnonzero(row[: len(KINDS)]).tolist() == groups
    assert not rows[:, len(instructions) :].any()


def test_splits_hold_the_factors_that_the_schedule_has(sketch):
    configs = sketch.sample(6, np.random.default_rng(1))
    rows = InstructionTokens.of(sketch)(configs).statements
    for row, config in zip(rows, configs):
        sampled = np.log2(1.0 + config)
        splits = row[row[:, SPLIT] == 1][:, len(KINDS) :]
        for instruction in {d.instruction for d in sketch.decisions}:
            tile = [d for d in sketch.decisions if d.instruction == instruction]
            if len(tile) < 2 or str(tile[0].kind.value) == "categorical":
                continue
            wanted = sampled[[d.column for d in tile]]
            # The loop that is split comes first.
            found = [np.allclose(one[1 : 1 + len(tile)], wanted) for one in splits]
            assert any(found) or len(shown(sketch.design.trace)) > STEPS


def test_only_sampled_numbers_differ_between_configs(sketch):
    configs = sketch.sample(64, np.random.default_rng(2))
    rows = InstructionTokens.of(sketch)(configs).statements
    varying = np.ptp(rows, axis=0) > 0
    assert varying.any()
    assert not varying[:, : len(KINDS)].any()


@pytest.mark.parametrize("reader", [InstructionTokens, TouchCurves])
def test_a_block_at_the_root_is_not_one_at_loop_1_nor_an_inlined_one_at_loop_2(reader):
    """Where a block is computed is a decision too; -1 is the root, -2 inline."""
    (sketch, *_) = sketches(softmax(32, 48), LLVM, "post-order-apply")
    where = next(d.column for d in sketch.decisions if d.kind is DecisionKind.LOCATION)
    configs = np.repeat(sketch.sample(1, np.random.default_rng(0)), 5, axis=0)
    configs[:, where] = -2, -1, 0, 1, 2
    rows = reader.of(sketch)(configs).statements.reshape(5, -1)
    assert len(np.unique(rows, axis=0)) == 5


def test_numbers_below_0_stay_what_they_are():
    np.testing.assert_array_equal(signed_log2(np.array([-2, -1, 0, 1, 3])), [-2, -1, 0, 1, 2])


def test_of_no_configs_there_are_no_rows(sketch):
    found = InstructionTokens.of(sketch)(sketch.sample(0, np.random.default_rng(0)))
    assert found.statements.shape == (0, STEPS, WIDTH)
