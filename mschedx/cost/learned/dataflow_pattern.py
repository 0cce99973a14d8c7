"""The accesses that the published data-flow branch looks at: eight of a tiled product, or none.

A program is walked store by store, and the memory of every access written down as a digit. A
product through shared memory then reads ``20101112``: the sums set to zero, A copied, B copied,
both read, the sums updated. Source: Pruner, section 4.2, and its repository.
"""

from __future__ import annotations

from collections.abc import Sequence

from mschedx.space.statements import Statement

PATTERN = "20101112"
_DIGITS = {"global": "0", "shared": "1"}
_REGISTERS = "2"


def first_match(scopes: Sequence[str]) -> slice | None:
    """Find the pattern in the scopes of accesses in program order."""
    digits = "".join(_DIGITS.get(scope.partition(".")[0], _REGISTERS) for scope in scopes)
    start = digits.find(PATTERN)
    return None if start < 0 else slice(start, start + len(PATTERN))


def as_executed(statements: Sequence[Statement]) -> list[Statement]:
    """Order statements as the lowered program has them.

    A reduction's initialisation is part of its block until it is lowered; then it runs before the
    block's reduction loops, and what else lies in these::

        for k: A_shared, B_shared, C_init, C    →    C_init; for k: A_shared, B_shared, C
    """
    order = list(statements)
    for number, init in enumerate(statements):
        update = _update_of(init, statements[number + 1 :]) if init.is_init else None
        if update is None:
            continue
        reduced = {loop.name for loop in update.loops if loop.role == "reduction"}
        nest = [one for one in order if one.kernel == update.kernel]
        inside = [one for one in nest if reduced & {loop.name for loop in one.loops}]
        order.remove(init)
        order.insert(order.index(inside[0]) if inside else order.index(update), init)
    return order


def _update_of(init: Statement, later: Sequence[Statement]) -> Statement | None:
    """The first reduction into what an initialisation writes; None where it is not among them."""
    buffers = {write.buffer for write in init.writes}
    for one in later:
        if one.is_reduction and buffers & {write.buffer for write in one.writes}:
            return one
    return None
