"""Count the scalar operations of a block's body."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ...statements import WHILE

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
    "While": ("condition", "body"),
    "AttrStmt": ("body",),
}


def _nodes(stmt: Any) -> Iterator[tuple[str, Any, int]]:
    """Visit the computation of a block body, with how often: values, not index arithmetic."""
    stack = [(stmt, 1)]
    while stack:
        node, times = stack.pop()
        if node is None:
            continue
        kind = type(node).__name__
        yield kind, node, times
        if kind == "For":
            times *= int(node.extent.value)
        if kind == "SeqStmt":
            children = node.seq
        elif kind == "Call":
            children = node.args
        elif kind in _ARITHMETIC:
            children = (node.a, node.b)
        else:
            children = [getattr(node, name) for name in _CHILDREN.get(kind, ())]
        stack.extend((child, times) for child in children)


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
    """Count the scalar operations of one execution of a block body.

    Parameters
    ----------
    body : tvm.tirx.Stmt
        Its loops have constant extents. What is inside a ``while`` counts once, and the loop itself
        as `WHILE`.
    """
    counts: Counter = Counter()
    for kind, node, times in _nodes(body):
        if kind in _ARITHMETIC:
            number = "float" if "float" in str(node.a.ty) else "int"
            counts[f"{number}.{_ARITHMETIC[kind]}"] += times
        elif kind == "Select":
            counts["select"] += times
        elif kind == "Cast":
            counts["cast"] += times
        elif kind == "While":
            counts[WHILE] += times
        elif kind == "Call":
            name = str(getattr(node.op, "name", "call")).rsplit(".", 1)[-1]
            counts["select" if name == "if_then_else" else f"call.{name}"] += times
    return tuple(sorted(counts.items()))
