"""Vision transformer (Dosovitskiy et al., 2021): attention over patches of an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import FeedForward, SelfAttention


class Layer(nn.Module):
    """A layer that normalises before attention and before its feed-forward part."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attention, self.feed_forward = SelfAttention(width, heads), FeedForward(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.feed_forward(self.norm_2(x))


class VisionTransformer(nn.Module):
    """An image classifier.

    Parameters
    ----------
    image, patch : int
        Pixels of a side; `patch` divides `image`.
    width, layers, heads, hidden, classes : int
    """

    def __init__(
        self,
        *,
        image: int = 224,
        patch: int = 32,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        hidden: int = 3072,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.layers = nn.Sequential(*(Layer(width, heads, hidden) for _ in range(layers)))
        self.norm, self.classifier = nn.LayerNorm(width, 1e-6), nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patches(image).flatten(2).transpose(1, 2)
        start = self.class_token.expand(image.shape[0], -1, -1)
        x = torch.cat([start, patches], dim=1) + self.positions
        return self.classifier(self.norm(self.layers(x))[:, 0])
