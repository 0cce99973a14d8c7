"""One block of LLaMA (Touvron et al., 2023): prefill of a prompt, and one step of decoding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu


class RMSNorm(nn.Module):
    """``x / rms(x) · weight``."""

    def __init__(self, width: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(width)), epsilon

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


def rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate pairs (i, i + size / 2) of heads [N, heads, length, size] by their positions."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


class LlamaBlock(nn.Module):
    """A decoder block: RMS norms, rotary attention without biases, a gated feed-forward part.

    ``forward(x)`` is the prefill of x [N, length, width] under a causal mask. With the keys and
    values of earlier tokens, [N, heads, earlier, width / heads] each, x is what follows them (one
    token, when decoding), and the longer keys and values are returned too.

    Parameters
    ----------
    width, heads, hidden : int
    longest : int
        Positions for which rotations are kept.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(
        self, *, width: int = 4096, heads: int = 32, hidden: int = 11008, longest: int = 2048
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = RMSNorm(width), RMSNorm(width)
        self.query, self.key, self.value, self.output = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)
        size = width // heads
        rates = 10000.0 ** (-torch.arange(0, size, 2).float() / size)
        angles = torch.outer(torch.arange(longest).float(), rates).repeat(1, 2)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(
        self, x: Tensor, keys: Tensor | None = None, values: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        h = self.norm_1(x)
        query, key, value = (self._split(part(h)) for part in (self.query, self.key, self.value))
        start = 0 if keys is None else keys.shape[2]
        cosine, sine = (t[start : start + x.shape[1]] for t in (self.cosine, self.sine))
        query, key = rotated(query, cosine, sine), rotated(key, cosine, sine)
        if keys is not None and values is not None:
            key, value = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=keys is None)
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        h = self.norm_2(x)
        x = x + self.down(silu(self.gate(h)) * self.up(h))
        return x if keys is None else (x, key, value)

    def _split(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
