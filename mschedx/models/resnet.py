"""ResNet-18 and ResNet-50 (He et al., 2016), with the stride in the 3×3 convolution ("v1.5")."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Give a convolution that keeps the image's size but for the stride, and its batch norm."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class Residual(nn.Module):
    """``relu(branch(x) + shortcut(x))``."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return (self.branch(x) + self.shortcut(x)).relu()


def _basic(inputs: int, width: int, stride: int) -> tuple[list[nn.Module], int]:
    layers = [*conv_bn(inputs, width, 3, stride), nn.ReLU(), *conv_bn(width, width, 3)]
    return layers, width


def _bottleneck(inputs: int, width: int, stride: int) -> tuple[list[nn.Module], int]:
    reduce = [*conv_bn(inputs, width, 1), nn.ReLU(), *conv_bn(width, width, 3, stride)]
    return [*reduce, nn.ReLU(), *conv_bn(width, 4 * width, 1)], 4 * width


def resnet(
    depths: Sequence[int], *, bottleneck: bool, width: int = 64, classes: int = 1000
) -> nn.Sequential:
    """Build a residual network.

    Parameters
    ----------
    depths : sequence of int
        Blocks of each stage; every stage after the first halves the image and doubles the width.
    bottleneck : bool
        Blocks of 1×1, 3×3, 1×1 convolutions; of two 3×3 where False.
    width : int
        Channels of the first stage.
    classes : int
    """
    layers = [*conv_bn(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = width
    for stage, depth in enumerate(depths):
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            make = _bottleneck if bottleneck else _basic
            branch, outputs = make(channels, width << stage, stride)
            same = stride == 1 and channels == outputs
            shortcut = [] if same else conv_bn(channels, outputs, 1, stride)
            layers.append(Residual(nn.Sequential(*branch), nn.Sequential(*shortcut)))
            channels = outputs
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(channels, classes)]
    return nn.Sequential(*layers, *head)
