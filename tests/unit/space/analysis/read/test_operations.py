"""Operations of a block's body, counted by kind."""

from __future__ import annotations

from tvm import tirx
from tvm.ir.prim import expr as prim

from mschedx.space.analysis.read.operations import operations

X, Y = tirx.Var("x", "float32"), tirx.Var("y", "float32")
M, N = tirx.Var("i", "int32"), tirx.Var("j", "int32")


def test_what_is_bound_is_computed():
    value = prim.Let(Y, X * X, Y + X)
    assert dict(operations(tirx.Evaluate(value))) == {"float.add": 1, "float.mul": 1}
    bound = tirx.SeqStmt([tirx.Bind(Y, X * X), tirx.Evaluate(Y + X)])
    assert dict(operations(bound)) == {"float.add": 1, "float.mul": 1}


def test_bits_are_logic():
    value = ((M & N) | (M >> 2)) ^ ~(M * N)
    assert dict(operations(tirx.Evaluate(value))) == {"int.logic": 4, "int.mul": 1}
