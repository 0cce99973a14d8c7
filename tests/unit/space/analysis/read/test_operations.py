"""Operations of a block's body, counted by kind."""

from __future__ import annotations

from tvm import tirx
from tvm.ir.prim import expr as prim

from mschedx.space.analysis.read.operations import operations
from mschedx.space.statements import WHILE

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


def test_loops_inside_a_block_are_counted():
    product = tirx.Evaluate(X * X)
    inner = tirx.For(M, 0, 16, tirx.ForKind.SERIAL, product)
    outer = tirx.For(N, 0, 64, tirx.ForKind.SERIAL, tirx.SeqStmt([inner, tirx.Evaluate(X + Y)]))
    found = operations(tirx.SeqStmt([outer, product]))
    assert dict(found) == {"float.add": 64, "float.mul": 64 * 16 + 1}


def test_a_while_loop_is_named():
    loop = tirx.While(M < N, tirx.Evaluate(X * X))
    assert dict(operations(loop)) == {"float.mul": 1, "int.compare": 1, WHILE: 1}
