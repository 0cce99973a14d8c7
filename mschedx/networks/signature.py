"""How a network is called: which tensors it takes, and in what its outputs come back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mschedx.kernel import Parameter


@dataclass(frozen=True)
class Signature:
    """Inputs of a network, and the way from a call's arguments to them and back.

    Parameters
    ----------
    inputs : tuple of Parameter
        The tensors, in the order of the Relax function's parameters.
    flatten : callable
        ``(args, kwargs)`` to the leaves of a call: the tensors, and whatever else it was made with.
    constants : mapping of int to object
        Leaves that are no tensors, and which value the network was exported with.
    unflatten : callable
        Outputs as a flat list to what the call returns.
    examples : tuple of (array or None)
        Integers that inputs may hold, as an index or a divisor may not be any: those of the example
        inputs, in the order of `inputs`. None for floats, and where there was no example.
    returned : mapping of int to object
        Leaves of what the call returns that are no tensors; `unflatten` puts them back.
    of_torch : bool
        Whether the network is one of torch, so that outputs of a call without tensors are torch's.
    """

    inputs: tuple[Parameter, ...]
    flatten: Callable[[tuple[Any, ...], dict[str, Any]], Sequence[Any]]
    unflatten: Callable[[list[Any]], Any]
    constants: dict[int, Any] = field(default_factory=dict)
    examples: tuple[np.ndarray | None, ...] = ()
    returned: dict[int, Any] = field(default_factory=dict)
    of_torch: bool = False

    def tensors(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Pick the tensors out of a call's arguments.

        Raises
        ------
        TypeError
            For another number or structure of arguments.
        ValueError
            For another value of an argument that is no tensor.
        """
        try:
            leaves = list(self.flatten(args, kwargs))
        except (ValueError, KeyError) as error:
            raise TypeError(f"{self.describe()}; got other arguments: {error}") from None
        if len(leaves) != len(self.inputs) + len(self.constants):
            raise TypeError(f"{self.describe()}; got {len(leaves)} arguments")
        for place, value in self.constants.items():
            if not _is_same(leaves[place], value):
                raise ValueError(
                    f"argument {place} was {value!r} when the network was exported, which is part "
                    f"of it now; got {leaves[place]!r}: tune it again with that value"
                )
        return [leaf for place, leaf in enumerate(leaves) if place not in self.constants]

    def describe(self) -> str:
        """Say what is expected."""
        return f"the network takes {', '.join(map(str, self.inputs)) or 'nothing'}"


def _is_same(given: Any, value: Any) -> bool:
    """Whether an argument is what it was, of the same type: 1, 1.0 and True give other dtypes."""
    if type(given) is not type(value):
        return False
    if isinstance(value, float) and math.isnan(value):
        return math.isnan(given)
    try:
        return bool(given == value)
    except (ValueError, TypeError, RuntimeError):  # of arrays, whose elements are compared
        return False


def positional(inputs: tuple[Parameter, ...], *, single: bool) -> Signature:
    """Give the signature of a function of tensors, returning one or a tuple of them."""

    def flatten(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[Any]:
        if kwargs:
            raise ValueError(f"unexpected keyword arguments {', '.join(kwargs)}")
        return args

    def unflatten(outputs: list[Any]) -> Any:
        return outputs[0] if single else tuple(outputs)

    return Signature(inputs, flatten, unflatten)
