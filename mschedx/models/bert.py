"""BERT (Devlin et al., 2019): an encoder of token sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import FeedForward, SelfAttention


class Layer(nn.Module):
    """A layer that normalises after attention and after its feed-forward part."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width, 1e-12), nn.LayerNorm(width, 1e-12)
        self.attention, self.feed_forward = SelfAttention(width, heads), FeedForward(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_1(x + self.attention(x))
        return self.norm_2(x + self.feed_forward(x))


class Bert(nn.Module):
    """An encoder with a pooled output for the first token; segment 0 throughout.

    Parameters
    ----------
    width, layers, heads, hidden : int
    vocabulary, longest : int
        Number of tokens, and the longest sequence.
    """

    def __init__(
        self,
        *,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        hidden: int = 3072,
        vocabulary: int = 30522,
        longest: int = 512,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(longest, width))
        self.segment = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width, 1e-12)
        self.layers = nn.Sequential(*(Layer(width, heads, hidden) for _ in range(layers)))
        self.pooler = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = self.words(tokens) + self.positions[: tokens.shape[1]] + self.segment
        x = self.layers(self.norm(x))
        return x, self.pooler(x[:, 0]).tanh()
