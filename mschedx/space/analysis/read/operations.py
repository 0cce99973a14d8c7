"""Count the scalar operations of a block's body."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

_CHILDREN = {
    "Cast": ("value",),
    "Not": ("a",),
    "BitwiseNot": ("a",),
    "Broadcast": ("value",),
    "Let": ("value", "body"),
    "Bind": ("value",),
    "Select": ("condition", "true_value", "false_value"),
    "BufferStore": ("value",),
    "Evaluate": ("value",),
    "IfThenElse": ("condition", "then_case", "else_case"),
    "For": ("body",),
    "AttrStmt": ("body",),
}


def _nodes(stmt: Any) -> Iterator[tuple[str, Any]]:
    """Visit the computation of a block body: values, not index arithmetic."""
    stack = [stmt]
    while stack:
        node = stack.pop()
        if node is None:
            continue
        kind = type(node).__name__
        yield kind, node
        if kind == "SeqStmt":
            stack.extend(node.seq)
        elif kind == "Call":
            stack.extend(node.args)
        elif kind in _CHILDREN:
            stack.extend(getattr(node, name) for name in _CHILDREN[kind])
        elif kind in _ARITHMETIC:
            stack.extend((node.a, node.b))


_ARITHMETIC = {
    "Add": "add",
    "Sub": "add",
    "Mul": "mul",
    "Div": "div",
    "Mod": "div",
    "FloorDiv": "div",
    "FloorMod": "div",
    "Min": "compare",
    "Max": "compare",
    "EQ": "compare",
    "NE": "compare",
    "LT": "compare",
    "LE": "compare",
    "GT": "compare",
    "GE": "compare",
    "And": "logic",
    "Or": "logic",
    "BitwiseAnd": "logic",
    "BitwiseOr": "logic",
    "BitwiseXor": "logic",
    "LShift": "logic",
    "RShift": "logic",
}


def operations(body: Any) -> tuple[tuple[str, int], ...]:
    """Count the scalar operations of one execution of a block body."""
    counts: Counter = Counter()
    for kind, node in _nodes(body):
        if kind in _ARITHMETIC:
            number = "float" if "float" in str(node.a.ty) else "int"
            counts[f"{number}.{_ARITHMETIC[kind]}"] += 1
        elif kind == "Select":
            counts["select"] += 1
        elif kind == "Cast":
            counts["cast"] += 1
        elif kind == "Call":
            name = str(getattr(node.op, "name", "call")).rsplit(".", 1)[-1]
            counts["select" if name == "if_then_else" else f"call.{name}"] += 1
    return tuple(sorted(counts.items()))
