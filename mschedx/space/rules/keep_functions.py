"""What inlining must leave alone: what is fast only as a block of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.s_tir import Schedule, ScheduleError

from mschedx.hardware import Hardware
from mschedx.intrinsics.vector_math import LANES, find_vector_function

from .blocks import constant_extent, root_blocks
from .contraction import Contraction, match_contraction
from .epilogue import as_one_block, epilogue_of
from .guards import Keeps
from .register_tile import vector_length


def keeps_functions(hardware: Hardware) -> Keeps:
    """Keep inlining from losing a vector function or a contraction.

    ``s[i] = sigmoid(x[i]); y[i] = x[i] * s[i]`` stays two blocks, for ``x[i] * sigmoid(x[i])`` is
    no form of :mod:`mschedx.intrinsics.vector_math`, while ``z[i] = x[i] + b[i];
    s[i] = sigmoid(z[i])`` becomes ``sigmoid(x[i] + b[i])``, which is one. Likewise
    ``p[i, j] = e[i, j] / s[i]; o[i, k] += p[i, j] * v[j, k]`` stays two blocks, for otherwise every
    quotient would be computed for every k, and no rule tiles a product of three.

    Functions with a contraction keep vector functions only in its elementwise epilogue, or on the
    way from one contraction to another (the exponentials of attention), and in an epilogue only
    where the whole of it is no form and a tile's vectors are as long as a function's: those of a
    float16 accumulator may be longer.

    Parameters
    ----------
    hardware : Hardware
        Its lanes say whether the tiles of a product have a function's vectors.
    """

    def keeps(before: Schedule) -> Callable[[Schedule], bool] | None:
        to_keep = _to_keep(before, hardware)
        if not to_keep:
            return None

        def is_kept(after: Schedule) -> bool:
            left = _leaves(after)
            return all(name in left and remains(left[name]) for name, remains in to_keep.items())

        return is_kept

    return keeps


def _to_keep(sch: Schedule, hardware: Hardware) -> dict[str, Callable[[Any], Any]]:
    """The blocks to keep by name, and what each has to remain."""
    blocks = _leaves(sch)
    products = [name for name, body in blocks.items() if match_contraction(body)]
    functions = [name for name, body in blocks.items() if _has_function(body)]
    if products:
        inside = _in_epilogue(sch, products[0], hardware) if len(products) == 1 else ()
        between = len(products) > 1
        functions = [
            name
            for name in functions
            if name in inside or (between and _feeds(sch, name, products))
        ]
    kept: dict[str, Callable[[Any], Any]] = dict.fromkeys(products, match_contraction)
    return kept | dict.fromkeys(functions, _has_function)


def _in_epilogue(sch: Any, product: str, hardware: Hardware) -> list[str]:
    """The blocks of a contraction's epilogue; none where one block of them all is a form."""
    blocks = epilogue_of(sch, sch.get_sblock(product))
    names = [sch.get(one).name_hint for one in blocks]
    if not names:
        return []
    block: Any = sch.get(sch.get_sblock(product))
    contraction = match_contraction(block, hardware.vector_bytes)
    if contraction is None or not _has_lanes(contraction, hardware):
        return []
    whole = sch.copy()
    try:
        as_one_block(whole, whole.get_sblock(product))
    except ScheduleError:
        # What TVM does not inline is no epilogue of a tile.
        return []
    return [] if _has_function(whole.get(whole.get_sblock(names[-1]))) else names


def _has_lanes(contraction: Contraction, hardware: Hardware) -> bool:
    """Whether a tile's vectors, which are of the accumulator, are as long as a function's."""
    lanes = hardware.lanes(contraction.dtype)
    return vector_length(contraction.extents[contraction.vector], lanes) in LANES


def _has_function(body: Any) -> bool:
    """Whether a block is a vector function along one of its axes, of any length.

    What no vectors divide is called for every element (`elementwise.call_function`).
    """
    extents = [constant_extent(iv.dom.extent) or 0 for iv in body.iter_vars]
    long = [axis for axis, extent in enumerate(extents) if extent > 1]
    return any(find_vector_function(body, axis, LANES[0]) for axis in long)


def _feeds(sch: Any, name: str, products: list[str]) -> bool:
    """Whether a product is computed from a block, directly or not."""
    after, seen = [sch.get_sblock(name)], {name}
    while after:
        for one in sch.get_consumers(after.pop()):
            reader = sch.get(one).name_hint
            if reader in products:
                return True
            if reader not in seen:  # `x * sigmoid(x)` reads x twice, one way or the other
                seen.add(reader)
                after.append(one)
    return False


def _leaves(sch: Any) -> dict[str, Any]:
    """Every block at the root by its name."""
    blocks = [sch.get(block) for block in root_blocks(sch)]
    return {block.name_hint: block for block in blocks}
