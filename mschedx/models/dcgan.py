"""The generator of DCGAN (Radford et al., 2016): transposed convolutions from noise to image."""

from __future__ import annotations

from torch import nn


def dcgan_generator(noise: int = 100, width: int = 128, doublings: int = 3) -> nn.Sequential:
    """Build a generator from noise [N, noise, 1, 1] to images of ``8 · 2 ** doublings`` pixels.

    Parameters
    ----------
    noise : int
    width : int
        Channels before the last layer; the first layer has ``width · 2 ** doublings``.
    doublings : int
    """
    channels = width << doublings
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(noise, channels, 4, 1, 0, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]
    for _ in range(doublings):
        layers += [
            nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(),
        ]
        channels //= 2
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels, 3, 4, 2, 1, bias=False), nn.Tanh())
