"""Named networks at batch 1, with random weights, and a small version of each for tests."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .bert import Bert
from .dcgan import dcgan_generator
from .llama import LlamaBlock
from .mobilenet import mobilenet_v2
from .r3d import r3d
from .resnet import resnet
from .vit import VisionTransformer

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Entry:
    """How to make a network and its inputs.

    Parameters
    ----------
    model, small : callable
        Make the network with its published configuration, and a small one of the same kind.
    inputs, small_inputs : callable
        Make its inputs from a generator.
    """

    model: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator], Inputs]
    small: Callable[[], nn.Module]
    small_inputs: Callable[[torch.Generator], Inputs]


def _floats(*shapes: tuple[int, ...]) -> Callable[[torch.Generator], Inputs]:
    return lambda generator: tuple(torch.randn(shape, generator=generator) for shape in shapes)


def _tokens(length: int, vocabulary: int) -> Callable[[torch.Generator], Inputs]:
    return lambda generator: (torch.randint(vocabulary, (1, length), generator=generator),)


def _small_bert() -> nn.Module:
    return Bert(width=32, layers=1, heads=2, hidden=64, vocabulary=50, longest=16)


def _small_llama() -> nn.Module:
    return LlamaBlock(width=32, heads=2, hidden=48, longest=32)


CATALOGUE = {
    "resnet18": Entry(
        lambda: resnet((2, 2, 2, 2), bottleneck=False),
        _floats((1, 3, 224, 224)),
        lambda: resnet((1, 1), bottleneck=False, width=8, classes=10),
        _floats((1, 3, 32, 32)),
    ),
    "resnet50": Entry(
        lambda: resnet((3, 4, 6, 3), bottleneck=True),
        _floats((1, 3, 224, 224)),
        lambda: resnet((1, 1), bottleneck=True, width=8, classes=10),
        _floats((1, 3, 32, 32)),
    ),
    "mobilenet_v2": Entry(
        mobilenet_v2,
        _floats((1, 3, 224, 224)),
        lambda: mobilenet_v2(((1, 8, 1, 1), (4, 16, 2, 2)), last=32, classes=10),
        _floats((1, 3, 32, 32)),
    ),
    "r3d18": Entry(
        lambda: r3d((2, 2, 2, 2)),
        _floats((1, 3, 16, 112, 112)),
        lambda: r3d((1, 1), width=8, classes=10),
        _floats((1, 3, 4, 16, 16)),
    ),
    "dcgan": Entry(
        dcgan_generator,
        _floats((1, 100, 1, 1)),
        lambda: dcgan_generator(10, 8, 1),
        _floats((1, 10, 1, 1)),
    ),
    "vit_b_32": Entry(
        VisionTransformer,
        _floats((1, 3, 224, 224)),
        lambda: VisionTransformer(
            image=32, patch=8, width=32, layers=1, heads=2, hidden=64, classes=10
        ),
        _floats((1, 3, 32, 32)),
    ),
    "bert_base": Entry(Bert, _tokens(128, 30522), _small_bert, _tokens(8, 50)),
    "llama_prefill": Entry(LlamaBlock, _floats((1, 100, 4096)), _small_llama, _floats((1, 10, 32))),
    "llama_decode": Entry(
        LlamaBlock,
        _floats((1, 1, 4096), (1, 32, 100, 128), (1, 32, 100, 128)),
        _small_llama,
        _floats((1, 1, 32), (1, 2, 10, 16), (1, 2, 10, 16)),
    ),
}


def make(name: str, *, small: bool = False, seed: int = 0) -> tuple[nn.Module, Inputs]:
    """Make a network of the catalogue in inference mode, with inputs.

    Parameters
    ----------
    name : str
        A key of `CATALOGUE`.
    small : bool
        The small version, for tests.
    seed : int
        Of the weights and the inputs.

    Raises
    ------
    ValueError
        For a name that is not known.
    """
    if name not in CATALOGUE:
        close = difflib.get_close_matches(name, CATALOGUE, 1, 0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"expected one of {', '.join(CATALOGUE)}, got {name!r}{hint}")
    entry = CATALOGUE[name]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # layers initialise themselves from torch's own
        torch.manual_seed(seed)
        model = (entry.small if small else entry.model)()
    _settle(model, generator)
    inputs = (entry.small_inputs if small else entry.inputs)(generator)
    return model.eval(), inputs


def _settle(model: nn.Module, generator: torch.Generator) -> None:
    """Give what starts as zeros and ones random values, so that leaving it out shows."""

    def normal(like: Tensor, mean: float) -> None:
        like.copy_(mean + 0.1 * torch.randn(like.shape, generator=generator))

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                moments: Any = (module.running_mean, module.running_var)
                normal(module.weight, 1.0)
                normal(module.bias, 0.0)
                normal(moments[0], 0.0)
                moments[1].copy_(0.5 + torch.rand(moments[1].shape, generator=generator))
            elif isinstance(module, nn.LayerNorm):
                normal(module.weight, 1.0)
                normal(module.bias, 0.0)
        for parameter in model.parameters():
            if not parameter.any():
                normal(parameter, 0.0)
