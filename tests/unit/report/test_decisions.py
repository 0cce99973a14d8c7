import numpy as np
import pytest

from mschedx.report.decisions import decision_values, importances

# A tile of two parts on the block's first axis, another on its second, and an unroll choice.
INSTRUCTIONS = [
    ["GetSBlock", [], ["C", "main"], ["b0"]],
    ["GetLoops", ["b0"], [], ["l1", "l2"]],
    ["SamplePerfectTile", ["l1"], [2, 64], ["v3", "v4"]],
    ["Split", ["l1", "v3", "v4"], [1, 0], ["l5", "l6"]],
    ["SamplePerfectTile", ["l2"], [2, 64], ["v7", "v8"]],
    ["SamplePerfectTile", ["l6"], [2, 64], ["v9", "v10"]],
    ["SampleCategorical", [], [[0, 16, 64], [0.3, 0.3, 0.4]], ["v11"]],
    ["Annotate", ["b0", "v11"], ["meta_schedule.unroll_explicit"], []],
]


def trace(a, b, c, unroll):
    decisions = [[2, [64 // a, a]], [4, [64 // b, b]], [5, [a // c, c]], [6, unroll]]
    return [INSTRUCTIONS, decisions]


def test_values_are_named_by_where_they_come_from_or_go():
    assert decision_values(trace(8, 4, 2, 1)) == {
        "C axis 0 tile 0": 8,
        "C axis 0 tile 1": 8,
        "C axis 1 tile 0": 16,
        "C axis 1 tile 1": 4,
        "C axis 0 tile (2) 0": 4,
        "C axis 0 tile (2) 1": 2,
        "unroll_explicit": 16,
    }


def test_the_decision_that_makes_the_latency_comes_first():
    rng = np.random.default_rng(0)
    powers = rng.integers(0, 7, (200, 2))
    traces = [trace(2 ** int(a), 2 ** int(b), 1, int(rng.integers(3))) for a, b in powers]
    latency = [float(np.exp((a - 3) ** 2 + 0.1 * rng.normal())) for a, _ in powers]
    ranked = importances(traces, latency)
    assert {ranked[0].name, ranked[1].name, ranked[2].name} == {
        "C axis 0 tile 0",
        "C axis 0 tile 1",
        "C axis 0 tile (2) 0",
    }
    assert ranked[0].share > 0.9
    shares = {item.name: item.share for item in ranked}
    assert shares["C axis 1 tile 1"] < 0.1
    assert shares["unroll_explicit"] < 0.1
    assert shares["C axis 0 tile (2) 1"] == 0, "a decision that never varies explains nothing"
    best = int(np.argmin(latency))
    by_name = {item.name: item.best for item in ranked}
    assert by_name["C axis 1 tile 1"] == 2 ** int(powers[best][1])


@pytest.mark.parametrize("count", [0, 1, 9])
def test_too_few_trials_rank_nothing(count):
    assert importances([trace(8, 4, 2, 0)] * count, [1.0] * count) == []


def test_equal_latencies_rank_without_error():
    ranked = importances([trace(2**i, 4, 1, 0) for i in range(7)] * 2, [1.0] * 14)
    assert all(item.share == 0 for item in ranked)


def test_a_choice_inside_a_list_is_named_by_the_annotation_it_goes_into():
    """As the paddings of shared memory and the stages of a pipeline are written."""
    instructions = [
        ["GetSBlock", [], ["A_shared", "main"], ["b0"]],
        ["SampleCategorical", [], [[0, 8], [0.5, 0.5]], ["v1"]],
        ["Annotate", ["b0", [[0, 0, 16, "v1"]]], ["buffer_dim_align"], []],
        ["SampleCategorical", [], [[1, 2], [0.5, 0.5]], ["v2"]],
        ["Annotate", ["b0", [0, 0, "v2"]], ["software_pipeline_stage"], []],
        ["Annotate", ["b0", 32], ["thread_extent_low"], []],
    ]
    values = decision_values([instructions, [[1, 1], [3, 0]]])
    assert values == {"buffer_dim_align": 8, "software_pipeline_stage": 1}
