"""Named workloads: the suite that is compared, and ResNet-50's layers (batch 1)."""

from __future__ import annotations

import fnmatch
import re

from mschedx.workloads import Types, Workload, find


def _conv(name: str, channels: tuple[int, int], size: int, kernel: int, stride: int) -> Workload:
    """A square NCHW convolution that keeps its size, or halves it with stride 2."""
    (c, k), pad = channels, kernel // 2
    return Workload(name, "conv2d", (1, c, size, size, k, kernel, stride, pad))


SUITE: tuple[Workload, ...] = (
    Workload("gemm_128", "gemm", (128, 128, 128)),
    Workload("gemm_512", "gemm", (512, 512, 512)),
    Workload("gemm_1024", "gemm", (1024, 1024, 1024)),
    Workload("gemm_1000", "gemm", (1000, 1000, 1000)),
    Workload("gemm_768x3072x512", "gemm", (768, 3072, 512)),
    Workload("gemm_1x4096x4096", "gemm", (1, 4096, 4096)),
    Workload("attention", "batch_gemm", (12, 128, 64, 128)),
    Workload("attention_nt", "batch_gemm_nt", (12, 128, 128, 64)),
    _conv("resnet_stem", (3, 64), 224, 7, 2),
    _conv("resnet_1_3x3", (64, 64), 56, 3, 1),
    _conv("resnet_2_3x3", (128, 128), 28, 3, 1),
    _conv("resnet_3_3x3", (256, 256), 14, 3, 1),
    _conv("resnet_4_3x3", (512, 512), 7, 3, 1),
    _conv("resnet_1_1x1", (256, 64), 56, 1, 1),
    _conv("resnet_2_1x1", (512, 128), 28, 1, 1),
    _conv("resnet_3_1x1", (1024, 256), 14, 1, 1),
    _conv("resnet_4_1x1", (2048, 512), 7, 1, 1),
    Workload("mobilenet_depthwise", "depthwise_conv2d", (1, 128, 56, 56, 3, 1, 1)),
    Workload("r3d_conv3d", "conv3d", (1, 64, 8, 28, 28, 64, 3, 1, 1)),
    Workload("dcgan_transposed", "conv2d_transpose", (1, 256, 16, 16, 128, 4, 2, 1)),
    Workload("softmax", "softmax", (128, 768)),
    Workload("layer_norm", "layer_norm", (128, 768)),
    Workload("conv_bias_relu", "conv2d_bias_relu", (1, 64, 56, 56, 64, 3, 1, 1)),
    Workload("gemm_int8", "gemm", (1024, 1024, 1024), "int8"),
    Workload("conv_int8", "conv2d_nhwc", (1, 28, 28, 128, 128, 3, 1, 1), "int8"),
)


def _resnet50() -> tuple[Workload, ...]:
    """The 23 distinct convolutions of ResNet-50 (stride in the 3x3, as torchvision has it).

    Stage s works on images of 56 / 2^(s-1); its blocks reduce 4·w channels to w, convolve, and
    expand again. The first block of a stage takes what the stage before it gave, halves the image
    and has a shortcut (stage 1: the stem's 64 channels, no halving, a shortcut like `expand`).
    """
    named = {w.name: w for w in SUITE if w.name.startswith("resnet_")}
    layers = [named["resnet_stem"]]
    for stage in range(1, 5):
        w, size = 64 << (stage - 1), 112 >> stage
        before, larger = (64, size) if stage == 1 else (2 * w, 2 * size)
        layers.append(_conv(f"resnet_{stage}_first", (before, w), larger, 1, 1))
        layers.append(named[f"resnet_{stage}_1x1"])
        layers.append(named[f"resnet_{stage}_3x3"])
        layers.append(_conv(f"resnet_{stage}_expand", (w, 4 * w), size, 1, 1))
        if stage > 1:
            layers.append(_conv(f"resnet_{stage}_half", (w, w), larger, 3, 2))
            layers.append(_conv(f"resnet_{stage}_shortcut", (before, 4 * w), larger, 1, 2))
    return tuple(layers)


RESNET50 = _resnet50()

GROUPS: dict[str, tuple[Workload, ...]] = {
    "suite": SUITE,
    "resnet50": RESNET50,
    "gemm": tuple(w for w in SUITE if "gemm" in w.op and w.dtype == "float32"),
    "conv": tuple(w for w in SUITE if "conv" in w.op and w.dtype == "float32"),
    "int8": tuple(w for w in SUITE if w.dtype == "int8"),
}


def find_workloads(names: str | None = None) -> list[Workload]:
    """Pick workloads.

    Parameters
    ----------
    names : str, optional
        Comma-separated names, globs of them, groups of :data:`GROUPS`, or operators with sizes and
        dtype, such as ``gemm:512,512,512`` and ``gemm:512,512,512:int8``; the suite when None.

    Returns
    -------
    list[Workload]
        Each once, in the order asked for; within a glob in that of the suite.

    Raises
    ------
    ValueError
        For a part that picks nothing; for an operator, sizes or a dtype that there are not.
    """
    known = {w.name: w for w in (*SUITE, *RESNET50)}
    chosen: dict[str, Workload] = {}
    for part in map(str.strip, _SEPARATOR.split(names or "suite")):
        if ":" in part:
            found = (_own(part),)
        else:
            found = GROUPS.get(part) or tuple(known[n] for n in known if fnmatch.fnmatch(n, part))
        if not found:
            raise ValueError(
                f"no workload matches {part!r}; there are the groups {', '.join(GROUPS)} "
                f"and {', '.join(known)}, and operators with their sizes, as gemm:512,512,512"
            )
        chosen.update({w.name: w for w in found})
    return list(chosen.values())


_SEPARATOR = re.compile(r",(?!\s*-?\d+\s*(?:[,:]|$))")
"""A comma, unless a size follows."""


def _own(text: str) -> Workload:
    """A workload that has no name, from ``OPERATOR:SIZES`` or ``OPERATOR:SIZES:DTYPE``."""
    op, _, rest = text.partition(":")
    operator = find(op)
    written, _, dtype = rest.partition(":")
    try:
        sizes = tuple(int(size) for size in written.replace("x", ",").split(","))
    except ValueError:
        raise ValueError(
            f"expected a workload as {op}:{operator.describe()} or with a dtype behind it "
            f"({op}:SIZES:int8), got {text!r}"
        ) from None
    operator.complete(sizes)
    Types.of(dtype or "float32")
    name = "_".join([op, "x".join(map(str, sizes)), *([dtype] if dtype else [])])
    return Workload(name, op, sizes, dtype or "float32")
