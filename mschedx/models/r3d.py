"""R3D-18 (Tran et al., 2018): ResNet-18 with convolutions over time as well."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .resnet import Residual


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv3d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm3d(outputs),
    ]


def r3d(depths: Sequence[int], *, width: int = 64, classes: int = 400) -> nn.Sequential:
    """Build the network for clips [N, 3, frames, height, width].

    Parameters
    ----------
    depths : sequence of int
        Blocks of each stage.
    width : int
        Channels of the first stage.
    classes : int
    """
    stem = nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
    layers: list[nn.Module] = [stem, nn.BatchNorm3d(width), nn.ReLU()]
    channels = width
    for stage, depth in enumerate(depths):
        outputs = width << stage
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            branch = [*_conv(channels, outputs, 3, stride), nn.ReLU(), *_conv(outputs, outputs, 3)]
            same = stride == 1 and channels == outputs
            shortcut = [] if same else _conv(channels, outputs, 1, stride)
            layers.append(Residual(nn.Sequential(*branch), nn.Sequential(*shortcut)))
            channels = outputs
    head = [nn.AdaptiveAvgPool3d(1), nn.Flatten(1), nn.Linear(channels, classes)]
    return nn.Sequential(*layers, *head)
