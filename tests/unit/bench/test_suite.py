import pytest

from mschedx.bench.suite import GROUPS, RESNET50, SUITE, find_workloads
from mschedx.workloads import find


def test_names_are_unique_and_selectable():
    assert len({w.name for w in (*SUITE, *RESNET50)}) == len({*SUITE, *RESNET50})
    assert [w.name for w in find_workloads("resnet_*_1x1,softmax")] == [
        "resnet_1_1x1", "resnet_2_1x1", "resnet_3_1x1", "resnet_4_1x1", "softmax",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"resnet50.*gemm_128"):
        find_workloads("softmax,nothing")


def test_groups_are_selectable_and_joined_without_repeats():
    assert find_workloads() == find_workloads("suite") == list(SUITE)
    assert [w.dtype for w in find_workloads("int8")] == ["int8", "int8"]
    both = find_workloads("conv,resnet50")
    assert len(set(both)) == len(both) > len(RESNET50)
    assert all(GROUPS.values())


def test_resnet50_chains():
    """Its 23 distinct layers: what one gives another takes, and 4.1 GFLOP with repeats."""
    assert len(set(RESNET50)) == 23
    layers = {w.name: find(w.op).complete(w.shape) for w in RESNET50}
    flops = 0
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        inner, outer = (layers[f"resnet_{stage}_{kind}"] for kind in ("1x1", "expand"))
        assert (inner[1], inner[4]) == (outer[4], outer[1])
        repeats = {"first": 1, "1x1": blocks - 1, "expand": blocks}
        repeats.update({"3x3": blocks} if stage == 1 else {"3x3": blocks - 1, "half": 1})
        repeats.update({"shortcut": 1} if stage > 1 else {"expand": blocks + 1})
        for kind, times in repeats.items():
            _, c, h, w, k, r, stride, *_ = layers[f"resnet_{stage}_{kind}"]
            flops += times * 2 * c * k * r * r * (h // stride) * (w // stride)
    flops += 2 * 3 * 64 * 7 * 7 * 112 * 112
    assert flops / 2e9 == pytest.approx(4.09, abs=0.02), "multiply-adds, as published"


def test_operators_with_sizes_stand_beside_names():
    found = find_workloads("gemm:512,256,128, softmax,gemm:8x8x4:int8,conv2d:1,4,8,8,4,3:float16")
    assert found[1].name == "softmax"
    assert [(one.name, one.op, one.shape, one.dtype) for one in found if one.name != "softmax"] == [
        ("gemm_512x256x128", "gemm", (512, 256, 128), "float32"),
        ("gemm_8x8x4_int8", "gemm", (8, 8, 4), "int8"),
        ("conv2d_1x4x8x8x4x3_float16", "conv2d", (1, 4, 8, 8, 4, 3), "float16"),
    ]
    assert find_workloads("gemm:8,8,4,gemm:8x8x4") == find_workloads("gemm:8,8,4")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("gem:8,8,8", "unknown operator 'gem'; known, with their sizes: gemm M,N,K"),
        ("gemm:8,8", r"gemm takes the sizes M,N,K; got 2: \(8, 8\)"),
        ("gemm:8,8,0", "gemm: expected K of at least 1, got 0"),
        ("gemm:", "expected a workload as gemm:M,N,K"),
        ("gemm:8xbx8", "expected a workload as gemm:M,N,K"),
        ("gemm:8,8,8:float", "expected a dtype of float32"),
        ("softmax,12", "no workload matches 'softmax,12'"),
    ],
)
def test_operators_and_sizes_that_there_are_not(names, says):
    with pytest.raises(ValueError, match=says):
        find_workloads(names)
