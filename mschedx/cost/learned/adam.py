"""Adam over all parameters of a network as one vector.

Networks of a few layers are trained for a hundred steps at a time; an optimiser that goes from
parameter to parameter, and what PyTorch loads for its own (3.5 s once), take longer than the
arithmetic.

References
----------
Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

_DECAY = (0.9, 0.999)
_SMALL = 1e-8


class Adam:
    """A descent of some parameters, moments 0 to begin with.

    Parameters
    ----------
    parameters : iterable of tensor
        float32, changed in place.
    rate : float
    weight_decay : float
        Is added to the gradient, times the parameters.
    clip : float
        Greatest norm of the gradient before that.
    """

    def __init__(
        self, parameters: Iterable[torch.Tensor], rate: float, weight_decay: float, clip: float
    ) -> None:
        self._parameters = list(parameters)
        self._rate, self._weight_decay, self._clip = rate, weight_decay, clip
        self._values = torch.cat([p.detach().flatten() for p in self._parameters])
        self._sizes = [p.numel() for p in self._parameters]
        self._first, self._second = (torch.zeros_like(self._values) for _ in range(2))
        self._steps = 0

    def step(self, loss: torch.Tensor) -> None:
        """Take one step down the gradient of a loss."""
        found = torch.autograd.grad(loss, self._parameters)
        slope = torch.cat([one.flatten() for one in found])
        slope *= min(1.0, self._clip / (float(slope.norm()) + 1e-6))
        slope.add_(self._values, alpha=self._weight_decay)
        self._steps += 1
        self._first.lerp_(slope, 1 - _DECAY[0])
        self._second.mul_(_DECAY[1]).addcmul_(slope, slope, value=1 - _DECAY[1])
        scale = math.sqrt(1 - _DECAY[1] ** self._steps)
        spread = self._second.sqrt().div_(scale).add_(_SMALL)
        length = self._rate / (1 - _DECAY[0] ** self._steps)
        self._values.addcdiv_(self._first, spread, value=-length)
        with torch.no_grad():
            for parameter, part in zip(self._parameters, self._values.split(self._sizes)):
                parameter.copy_(part.view_as(parameter))
