import pytest
import torch

from mschedx.models import CATALOGUE, make

# Parameters of the published configurations.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenet_v2": 3_504_872,
    "r3d18": 33_371_472,
    "vit_b_32": 88_224_232,
    "bert_base": 109_482_240 - 768,  # of two segments one is used
    # Tables of rotations are computed; the two projections that a cache feeds are the same.
    "llama_prefill": 4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096,
    # Five transposed convolutions without biases, and scale and shift of four normalisations.
    "dcgan": 16 * (100 * 1024 + 1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3) + 2 * 1920,
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_small_networks_run_and_depend_on_the_seed_only(name):
    model, inputs = make(name, small=True)
    again, same_inputs = make(name, small=True)
    other, _ = make(name, small=True, seed=1)
    state = torch.random.get_rng_state()
    with torch.no_grad():
        outputs, repeated = model(*inputs), again(*same_inputs)
        different = other(*inputs)
    first, second, third = (
        out[0] if isinstance(out, tuple) else out for out in (outputs, repeated, different)
    )
    assert torch.equal(first, second)
    assert not torch.allclose(first, third)
    assert torch.isfinite(first).all()
    assert first.std() > 1e-3
    assert not model.training
    make(name, small=True, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", PARAMETERS)
def test_configurations_are_the_published_ones(name):
    with torch.device("meta"):
        model = CATALOGUE[name].model()
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


def test_decoding_goes_on_where_prefill_ended():
    """Keys and values of a prompt, and one token more, give the prompt's own last row."""
    model, _ = make("llama_prefill", small=True)
    x = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(x)
        empty = torch.zeros(1, 2, 0, 16)
        keys, values = empty, empty
        for position in range(6):
            step, keys, values = model(x[:, position : position + 1], keys, values)
    torch.testing.assert_close(step[:, 0], whole[:, -1], rtol=1e-4, atol=1e-5)


def test_an_unknown_name():
    with pytest.raises(ValueError, match="did you mean 'bert_base'"):
        make("bert-base")
