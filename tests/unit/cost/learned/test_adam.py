"""Adam against PyTorch's own."""

import pytest
import torch

from mschedx.cost.learned.adam import Adam


def fitted(step, made, steps=50):
    generator = torch.Generator().manual_seed(0)
    parameters = [
        torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5, 3), (3,))
    ]
    x, y = (torch.randn(shape, generator=generator) for shape in ((50, 5), (50, 3)))
    optimiser = made(parameters)
    for _ in range(steps):
        loss = ((x @ parameters[0] + parameters[1] - y) ** 2).sum()
        step(optimiser, loss, parameters)
    return torch.cat([one.detach().flatten() for one in parameters])


@pytest.mark.parametrize("clip", [0.5, 1e9])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_steps_are_those_of_torch(clip, weight_decay):
    def theirs(optimiser, loss, parameters):
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimiser.step()

    own = fitted(
        lambda optimiser, loss, _: optimiser.step(loss),
        lambda parameters: Adam(parameters, 0.05, weight_decay, clip),
    )
    expected = fitted(
        theirs, lambda some: torch.optim.Adam(some, lr=0.05, weight_decay=weight_decay)
    )
    assert torch.allclose(own, expected, atol=1e-5)
