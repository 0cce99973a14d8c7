"""Functions that are near 0 where their argument is, to the last digits.

TVM's importer adds 1 to the argument or takes it from the result, which is 0 for what is below the
format's epsilon: ``log1p(1e-8)``, and with it ``softplus(-20)``. Decompositions as in
:mod:`.decompositions`.

References
----------
Goldberg, *What every computer scientist should know about floating-point arithmetic* (1991),
theorem 4. Higham, *Accuracy and Stability of Numerical Algorithms* (2nd ed.), section 1.14.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def small_values() -> dict[Any, Callable[..., Any]]:
    """Give the decompositions by overload; complex numbers are left as they are."""
    import torch

    aten = torch.ops.aten
    ways = {
        aten.log1p.default: _log1p,
        aten.expm1.default: _expm1,
        aten.atanh.default: _atanh,
    }

    def of_reals(way: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], Any]:
        return lambda x: way(x) if x.is_floating_point() else NotImplemented

    return {operator: of_reals(way) for operator, way in ways.items()}


def _log1p(x: torch.Tensor) -> torch.Tensor:
    """``log(u) · x / (u - 1)``, where u is ``1 + x`` as rounded: both factors have one error."""
    import torch

    u = 1 + x
    rounded, log = u - 1, torch.log(u)
    near = torch.where(rounded == 0, x, log * (x / rounded))
    return torch.where(x.abs() > 1, log, near)


def _expm1(x: torch.Tensor) -> torch.Tensor:
    """``(u - 1) · x / log(u)``, where u is ``exp(x)`` as rounded."""
    import torch

    u = torch.exp(x)
    rounded = u - 1
    near = torch.where(rounded == 0, x, rounded * (x / torch.log(u)))
    return torch.where(x.abs() > 1, rounded, near)


def _atanh(x: torch.Tensor) -> torch.Tensor:
    """``½ log1p(2|x| / (1 - |x|))`` with the sign of x."""
    import torch

    size = x.abs()
    return torch.sign(x) * (0.5 * torch.log1p(2 * size / (1 - size)))
