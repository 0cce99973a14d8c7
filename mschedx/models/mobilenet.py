"""MobileNet-v2 (Sandler et al., 2018): inverted residuals around depthwise convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

# Expansion, channels, repeats, stride: table 2 of the paper.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to the input where the shapes are the same."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [] if expansion == 1 else [_conv(inputs, hidden, 1)]
        self.layers = nn.Sequential(
            *expand,
            _conv(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def mobilenet_v2(
    stages: Sequence[tuple[int, int, int, int]] = STAGES, *, last: int = 1280, classes: int = 1000
) -> nn.Sequential:
    """Build the network.

    Parameters
    ----------
    stages : sequence of (expansion, channels, repeats, stride)
    last : int
        Channels before the classifier.
    classes : int
    """
    layers: list[nn.Module] = [_conv(3, 32, 3, 2)]
    channels = 32
    for expansion, outputs, repeats, stride in stages:
        for block in range(repeats):
            step = stride if block == 0 else 1
            layers.append(InvertedResidual(channels, outputs, step, expansion))
            channels = outputs
    head = [_conv(channels, last, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(1)]
    return nn.Sequential(*layers, *head, nn.Linear(last, classes))
