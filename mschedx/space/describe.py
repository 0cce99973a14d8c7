"""Statements at one config, written as annotated loop nests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .algebra.expression import Expression
from .algebra.tape import Tape
from .statements import BufferAccess, LoopLevel, Statement, expressions

Value = Callable[[Expression | None], int | None]

_KINDS = {"serial": "for", "vectorized": "vector", "unrolled": "unroll", "intrinsic": "within"}


def loop_nests(statements: Sequence[Statement], config: Any) -> list[str]:
    """Write the statements at one config [D] as lines, with bytes and operations.

    A column of bytes says what the loop in that line touches of a buffer while it runs.
    """
    value = _values(statements, config)
    lines: list[str] = []
    kernel: int | None = None
    for statement in statements:
        if statement.kernel != kernel:
            kernel = statement.kernel
            lines += ["", f"loop nest {kernel}"]
        lines += [f"  {line}".rstrip() for line in _nest(statement, value)]
    return lines


def _values(statements: Sequence[Statement], config: Any) -> Value:
    found = list(dict.fromkeys(expressions(statements).values()))
    known = dict(zip(found, Tape(found)(config[None])[:, 0].tolist()))
    return lambda expression: None if expression is None else known.get(expression)


def _nest(statement: Statement, value: Value) -> list[str]:
    lines = [_headline(statement, value)]
    rows: list[tuple[str, list[str]]] = []
    depth = 1
    for level, loop in enumerate(statement.loops):
        extent = value(loop.extent)
        if extent == 1:
            continue
        name = "  " * depth + _loop(loop, extent)
        rows.append((name, [_bytes(access, level, value) for access in statement.accesses]))
        depth += 1
    body = [_bytes(access, len(statement.loops), value) for access in statement.accesses]
    rows.append(("  " * depth + _body(statement), body))
    heads = [f"{'→' if access.is_write else ''}{access.buffer}" for access in statement.accesses]
    widths = [max(map(len, column)) for column in zip(heads, *(cells for _, cells in rows))]
    first = max(len(name) for name, _ in rows)
    for name, cells in [("", heads), *rows]:
        columns = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths))
        lines.append(f"{name.ljust(first)}  {columns}")
    return lines


def _headline(statement: Statement, value: Value) -> str:
    times = value(statement.instances)
    parts = [f"{statement.name}: {'?' if times is None else f'{times:,}'} times"]
    if statement.operations:
        counts = ", ".join(f"{n} {kind}" for kind, n in sorted(statement.operations.items()))
        parts.append(f"each {counts}")
    if times is not None and statement.flops:
        parts.append(f"{times * statement.flops / 1e6:,.3g} MFLOP in all")
    lanes, unroll = value(statement.lanes), value(statement.unroll)
    if lanes is not None and lanes > 1:
        parts.append(f"{lanes} lanes")
    if unroll:
        parts.append(f"unrolled up to {unroll}")
    if statement.predicated:
        parts.append("guarded")
    return "; ".join(parts)


def _loop(loop: LoopLevel, extent: int | None) -> str:
    kind = loop.thread or _KINDS.get(loop.kind, loop.kind)
    mark = " (reduction)" if loop.role == "reduction" else ""
    return f"{kind} {loop.name} {'?' if extent is None else extent}{mark}"


def _body(statement: Statement) -> str:
    return statement.intrinsic or ("initialise" if statement.is_init else "compute")


def _bytes(access: BufferAccess, level: int, value: Value) -> str:
    elements = value(access.elements[level])
    if elements is None:
        return "?"
    size = float(elements * access.element_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
