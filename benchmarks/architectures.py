"""Networks as people bring them: small ones of `transformers`, imported and compared with torch.

    pip install "transformers<5"
    python benchmarks/architectures.py [NAME ...]

Configurations of 29 architectures with two layers and random weights; nothing is downloaded. What
is compared is the network as imported, unscheduled: whether TVM reads what torch means. The exit
status is 1 if an output is wrong or a network is refused.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import tvm

from mschedx.networks.importing import read_network
from mschedx.networks.machines import flat, machine_of

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers as hf

IDS = torch.randint(0, 90, (1, 12), generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 16,
}
LANGUAGE = {**TEXT, "use_cache": False}
GROUPED = {**LANGUAGE, "num_key_value_heads": 2}
CODERS = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64}


def _of(kind: str, *inputs: Any, **sizes: Any) -> Callable[[], tuple[Any, tuple[Any, ...]]]:
    """A model of a class by its name, or by its path below `transformers.models`."""

    def make() -> tuple[Any, tuple[Any, ...]]:
        place, _, name = kind.rpartition(".")
        module = hf
        for part in filter(None, place.split(".")):
            module = getattr(module, part)
        model = getattr(module, name)
        return model(model.config_class(**sizes)), inputs

    return make


ARCHITECTURES: dict[str, Callable[[], tuple[Any, tuple[Any, ...]]]] = {
    "bert": _of("BertModel", IDS, **TEXT),
    "bert, mask": _of("BertModel", IDS, torch.ones_like(IDS), **TEXT),
    "distilbert": _of(
        "DistilBertModel", IDS, dim=32, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=100
    ),
    "roberta": _of("RobertaModel", IDS, **TEXT),
    "electra": _of("ElectraModel", IDS, embedding_size=32, **TEXT),
    "albert": _of("AlbertModel", IDS, embedding_size=16, **TEXT),
    "deberta-v2": _of(
        "DebertaV2Model", IDS, relative_attention=True, pos_att_type=["c2p", "p2c"], **TEXT
    ),
    "gpt2": _of("GPT2Model", IDS, n_embd=32, n_layer=2, n_head=4, vocab_size=100, use_cache=False),
    "llama": _of("LlamaModel", IDS, **GROUPED),
    "mistral": _of("MistralModel", IDS, **GROUPED),
    "qwen2": _of("Qwen2Model", IDS, **GROUPED),
    "gemma": _of("GemmaModel", IDS, num_key_value_heads=1, head_dim=8, **LANGUAGE),
    "phi": _of("PhiModel", IDS, **LANGUAGE),
    "gpt-neox": _of("GPTNeoXModel", IDS, **LANGUAGE),
    "opt": _of(
        "OPTModel",
        IDS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=64,
        vocab_size=100,
        word_embed_proj_dim=32,
        use_cache=False,
    ),
    "falcon": _of(
        "FalconModel",
        IDS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=100,
        use_cache=False,
    ),
    "bloom": _of(
        "BloomModel", IDS, hidden_size=32, n_layer=2, n_head=4, vocab_size=100, use_cache=False
    ),
    "mamba": _of(
        "MambaModel",
        IDS,
        hidden_size=16,
        num_hidden_layers=1,
        vocab_size=100,
        state_size=4,
        use_cache=False,
    ),
    "t5, encoder": _of(
        "T5EncoderModel",
        IDS,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        vocab_size=100,
    ),
    "bart, encoder": _of("models.bart.modeling_bart.BartEncoder", IDS, vocab_size=100, **CODERS),
    "whisper, encoder": _of(
        "models.whisper.modeling_whisper.WhisperEncoder",
        torch.randn(1, 8, 40),
        max_source_positions=20,
        num_mel_bins=8,
        **CODERS,
    ),
    "wav2vec2": _of(
        "Wav2Vec2Model",
        torch.randn(1, 400),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(8, 8),
        conv_stride=(5, 2),
        conv_kernel=(10, 3),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    ),
    "vit": _of("ViTModel", IMAGE, **VISION),
    "clip, vision": _of("CLIPVisionModel", IMAGE, **VISION),
    "swin": _of(
        "SwinModel",
        IMAGE,
        image_size=64,
        patch_size=4,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
    ),
    "convnext": _of("ConvNextModel", IMAGE, hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
    "resnet": _of("ResNetModel", IMAGE, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]),
    "mobilenet-v2": _of("MobileNetV2Model", IMAGE, image_size=64),
    "segformer": _of(
        "SegformerModel",
        IMAGE,
        hidden_sizes=[8, 16, 16, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 2, 4],
    ),
    "mobilevit": _of(
        "MobileViTModel",
        IMAGE,
        image_size=64,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32],
    ),
}


class FirstOutput(torch.nn.Module):
    """A model of `transformers` as a function of tensors to one tensor."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.model(*tensors)[0]


def largest_error(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> float:
    """Difference of the imported network's output from torch's, over the largest value."""
    network = read_network(model, inputs)
    machine = machine_of(tvm.compile(network.mod, target="llvm"), tvm.cpu())
    found = flat(machine["main"](*(tvm.runtime.tensor(one.numpy()) for one in inputs)))[0].numpy()
    with torch.no_grad():
        expected = model(*inputs).numpy()
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-9))


def main(names: list[str]) -> int:
    """Print a line for each architecture."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    faults = 0
    for name in names or ARCHITECTURES:
        torch.manual_seed(0)
        model, inputs = ARCHITECTURES[name]()
        try:
            error = largest_error(FirstOutput(model).eval(), inputs)
        except ValueError as refused:
            faults += 1
            print(f"{name:20} refused: {str(refused)[:200]}")
            continue
        faults += error > 1e-4
        print(f"{name:20} {error:.1e}{' WRONG' if error > 1e-4 else ''}", flush=True)
    print(f"{faults} of {len(names or ARCHITECTURES)} wrong or refused")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
