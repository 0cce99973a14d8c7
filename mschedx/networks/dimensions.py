"""Symbolic sizes of a network's inputs: which there are, and the sizes that are compiled for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from mschedx.ranges import is_whole

from .errors import NetworkError
from .importing import symbolic_dimensions, symbols_of

_NAME = re.compile(r"(\w+)\[(\d+)\]")


@dataclass(frozen=True)
class Dimension:
    """One symbolic size of a network.

    Parameters
    ----------
    name : str
        For readers: ``x[0]``, or several such if they are one size.
    symbols : tuple of str
        Its names in the Relax module.
    places : tuple of (int, int)
        Inputs and axes that have it.
    sizes : tuple of int
        That are compiled for, ascending.
    """

    name: str
    symbols: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]

    def size_in(self, tensors: Sequence[Any]) -> int:
        """Size that a call's tensors have here.

        Raises
        ------
        ValueError
            If they do not agree, or one has not as many axes.
        """
        found = []
        for place, axis in self.places:
            shape = tuple(tensors[place].shape)
            if axis >= len(shape):
                raise ValueError(
                    f"expected input {place} with at least {axis + 1} axes, got {list(shape)}"
                )
            found.append(int(shape[axis]))
        if len(set(found)) > 1:
            raise ValueError(f"expected one size for {self.name}, got {sorted(set(found))}")
        return found[0]

    def bucket(self, size: int, *, pads: bool) -> int:
        """Size to compute with: ``size`` itself, or the next larger one where that is right.

        Raises
        ------
        ValueError
            If there is none.
        """
        if size in self.sizes:
            return size
        larger = [one for one in self.sizes if one > size]
        if not pads:
            raise ValueError(
                f"expected a size of {self.name} among {_listed(self.sizes)}, got {size}, which is "
                "not padded to a larger one: tune that size too"
            )
        if not larger or size < 1:
            raise ValueError(
                f"expected a size of {self.name} from 1 to {self.sizes[-1]}, got {size}; tune a "
                "larger size too"
            )
        return larger[0]

    def to_try_padded(self) -> tuple[int, int] | None:
        """A size that has to be padded, and its bucket; None where there is no such size."""
        for below, bucket in zip((0, *self.sizes), self.sizes):
            if bucket - below > 1:
                return max(below + 1, bucket // 2), bucket
        return None


def parse_buckets(buckets: Mapping[str, Iterable[int]]) -> dict[str, tuple[int, ...]]:
    """Check what the user asks for, and sort its sizes.

    Raises
    ------
    TypeError, ValueError
        For what is no mapping of names such as ``x[0]`` to positive sizes.
    """
    if not isinstance(buckets, Mapping) or not buckets:
        raise TypeError(
            "expected buckets as a mapping of dimensions to sizes, as {'x[0]': (1, 8, 32)}, "
            f"got {buckets!r}"
        )
    found = {}
    for name, sizes in buckets.items():
        named_dimensions(name)
        given: list[Any] = list(sizes) if isinstance(sizes, Iterable) else []
        if not given or not all(is_whole(one) and one > 0 for one in given):
            raise ValueError(f"expected positive sizes for {name}, as (1, 8), got {sizes!r}")
        found[name] = tuple(sorted({int(one) for one in given}))
    return found


def named_dimensions(name: str) -> list[tuple[str, int]]:
    """Inputs and axes of a name such as ``x[0]`` or ``ids[1], mask[1]``.

    Raises
    ------
    ValueError
        For another name.
    """
    parts = [_NAME.fullmatch(part.strip()) for part in str(name).split(",")]
    if not all(parts):
        raise ValueError(
            "expected dimensions as input[axis], those of one size by commas "
            f"('ids[1], mask[1]'), got {name!r}"
        )
    return [(part[1], int(part[2])) for part in parts if part]


def dimensions_of(mod: tvm.IRModule, buckets: Mapping[str, tuple[int, ...]]) -> list[Dimension]:
    """Match the asked buckets with the symbols of a Relax module.

    Raises
    ------
    NetworkError
        For a name that has no symbol, two of one symbol, and symbols without a name.
    """
    there = symbolic_dimensions(mod)
    extents = {(one.name, one.axis): one.extent for one in there}
    listed = ", ".join(f"{one} = {one.extent}" for one in there) or "none"
    found: list[Dimension] = []
    taken: dict[str, str] = {}
    for name, sizes in buckets.items():
        named = [extents.get(part) for part in named_dimensions(name)]
        symbols = tuple(dict.fromkeys(str(one) for one in named if isinstance(one, tvm.tirx.Var)))
        if not all(isinstance(one, tvm.tirx.Var) for one in named):
            raise NetworkError(
                f"expected {name} to be dynamic in the network, got the dynamic dimensions "
                f"{listed}: the others have one size, or follow from these"
            )
        for symbol in symbols:
            if symbol in taken:
                raise NetworkError(
                    f"{taken[symbol]} and {name} are one size of the network, {symbol}: give it "
                    "sizes once"
                )
            taken[symbol] = name
        places = tuple((one.place, one.axis) for one in there if str(one.extent) in symbols)
        found.append(Dimension(name, symbols, places, sizes))
    rest = [str(one) for one in there if not set(symbols_of(one.extent)) <= set(taken)]
    if rest:
        raise NetworkError(
            f"expected sizes for all dynamic dimensions, got none for {', '.join(rest)}; they are "
            f"{listed}"
        )
    return found


class Shapes:
    """Shapes that follow from symbolic sizes.

    Parameters
    ----------
    types : sequence
        Relax types of tensors.

    Raises
    ------
    NetworkError
        Where a type does not say its shape.
    """

    def __init__(self, types: Sequence[Any]) -> None:
        unknown = [one for one in types if getattr(one, "shape", None) is None]
        if unknown:
            raise NetworkError(
                "expected tensors whose shapes follow from those of the network's inputs, got "
                f"{', '.join(map(str, unknown))}"
            )
        self._extents = [list(one.shape.values) for one in types]

    @classmethod
    def of_inputs(cls, mod: tvm.IRModule) -> Shapes:
        """Of the parameters of "main"."""
        return cls([parameter.ty for parameter in mod["main"].params])

    @classmethod
    def of_outputs(cls, mod: tvm.IRModule) -> Shapes:
        """Of what "main" returns, as a flat list."""
        return cls(_flat(mod["main"].ret_ty))

    def __call__(self, sizes: Mapping[str, int]) -> list[tuple[int, ...]]:
        """Shape of every tensor, given the size of every symbol."""
        return [tuple(_valued(one, sizes) for one in extents) for extents in self._extents]


def _flat(returned: Any) -> list[Any]:
    if isinstance(returned, relax.TupleType):
        return [leaf for field in returned.fields for leaf in _flat(field)]
    return [returned]


def _valued(extent: tvm.tirx.PrimExpr, sizes: Mapping[str, int]) -> int:
    analyzer = tvm.sym.Analyzer()
    for name, symbol in symbols_of(extent).items():
        analyzer.bind(symbol, tvm.tirx.IntImm("int64", sizes[name]))
    value = analyzer.simplify(extent)
    assert isinstance(value, tvm.tirx.IntImm), value
    return int(value)


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))
