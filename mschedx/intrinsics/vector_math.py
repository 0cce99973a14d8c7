"""Functions in vectors: C[lanes] = f(A[lanes]), f(A - b), f(A + b); f is one of `FUNCTIONS`.

exp, log, sigmoid, tanh and erf stand for themselves, gelu for ``x * (0.5 + erf(x * √½) * 0.5)``,
which is how Relax writes it and what tiles of products end in.

TVM emits ``llvm.exp`` and ``llvm.log`` on vectors, which LLVM without a vector math library takes
apart into calls of ``expf`` and ``logf``, and calls ``erff`` for every lane. The functions here are
LLVM assembly without target intrinsics, so every CPU has them;
:mod:`mschedx.space.rules.elementwise` puts them where a block's expression is one of the forms.

Accuracy
--------
Against float64, where multiply-adds are fused (FMA3 on x86): exp is within 1.014 ulp, denormal
results too, log within 0.807, denormal arguments too, and sigmoid within 2.41 ulp, over all 2^32
arguments; tanh is within 1.3 ulp and erf within 1.09 over every 64th; gelu within 1.3 ulp of its
argument. Results overflow to inf and underflow to 0 where the exact ones do; nan gives nan,
exp(-inf) = 0, log(±0) = -inf, log of less is nan, tanh(±inf) = erf(±inf) = ±1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad
from tvm.sym import detect_linear_equation
from tvm.tirx import PrimFunc

from .build import T, prim_func, register_once

FUNCTIONS = ("exp", "log", "sigmoid", "tanh", "erf", "gelu")
ARGUMENTS = ("a", "a_minus_scalar", "a_minus_vector", "a_plus_scalar", "a_plus_vector")
LANES = (16, 8, 4)
SCALAR = 1
"""Lanes of the form that is no vector: in a loop over any number of elements LLVM makes vectors of
what is inlined, and masks what is left over."""


@dataclass(frozen=True, slots=True)
class VectorFunction:
    """``C[v] = function(argument)`` on one vector of float32.

    Parameters
    ----------
    function : str
        One of :data:`FUNCTIONS`.
    argument : str
        One of :data:`ARGUMENTS`: ``A[v]``, or it minus or plus a second operand, which is the
        same for all lanes (``scalar``) or has one element a lane (``vector``).
    lanes : int
        One of :data:`LANES`, or :data:`SCALAR`.
    """

    function: str
    argument: str
    lanes: int

    @property
    def name(self) -> str:
        """Name to give to ``Schedule.tensorize``."""
        return f"mschedx_{self.function}_{self.argument}_{self.lanes}_f32"

    def functions(self) -> tuple[PrimFunc, PrimFunc]:
        """Build the description and the implementation."""
        return prim_func(self._describe), prim_func(self._implement)

    @contextmanager
    def _block(self) -> Iterator[tuple[list[Any], Any]]:
        """Declare operands and result, and the block that reads and writes all of them."""
        shapes: list[tuple[int, ...]] = [(self.lanes,)]
        if self.argument != "a":
            shapes.append(() if self.argument.endswith("scalar") else (self.lanes,))
        operands = [
            T.arg(name, T.Buffer(shape, "float32", offset_factor=1))
            for name, shape in zip("AB", shapes)
        ]
        result = T.arg("C", T.Buffer((self.lanes,), "float32", offset_factor=1))
        with T.sblock("root"):
            T.reads(*(op[tuple(slice(0, n) for n in op.shape)] for op in operands))
            T.writes(result[0 : self.lanes])
            yield operands, result

    def _combine(self, a: Any, *b: Any) -> Any:
        if not b:
            return a
        return a - b[0] if "minus" in self.argument else a + b[0]

    def _describe(self) -> None:
        root = self._block()
        with root as (operands, result), T.serial(self.lanes) as v, T.sblock("compute"):
            # TVM leaves a block no axis for a loop of one iteration.
            lane = T.axis.spatial(self.lanes, v) if self.lanes > SCALAR else 0
            loads = [op[lane] if op.shape else op[()] for op in operands]
            value = _applied(self.function, self._combine(*loads))
            T.buffer_store(result, value, [lane])

    def _implement(self) -> None:
        source, name = vector_source(self.lanes), _name(self.function, self.lanes)
        with self._block() as (operands, result), T.attr(0, "pragma_import_llvm", source):
            if self.lanes == SCALAR:
                loads = [op[0] if op.shape else op[()] for op in operands]
                value = T.call_pure_extern("float32", name, self._combine(*loads))
                T.buffer_store(result, value, [0])
                return
            vector = f"float32x{self.lanes}"
            loads = [
                op.vload([0], vector) if op.shape else T.broadcast(op[()], self.lanes)
                for op in operands
            ]
            value = T.call_pure_extern(vector, name, self._combine(*loads))
            T.buffer_store(result, value, [T.ramp(0, 1, self.lanes)])


VECTOR_FUNCTIONS = tuple(
    VectorFunction(function, argument, lanes)
    for function in FUNCTIONS
    for argument in ARGUMENTS
    for lanes in (*LANES, SCALAR)
)


def find_vector_function(block: Any, axis: int, lanes: int) -> VectorFunction | None:
    """The intrinsic that computes ``lanes`` neighbours along an axis; None if no form fits.

    Parameters
    ----------
    block : SBlock
        Its body is read, not its loops.
    axis : int
        Position of the iteration variable that counts lanes; every operand must be the same
        along it or move by one in its last dimension.
    lanes : int
        Extent of the innermost loop.
    """
    store, var = block.body, block.iter_vars[axis].var
    if (
        lanes not in (*LANES, SCALAR)
        or block.init is not None
        or not isinstance(store, tirx.BufferStore)
    ):
        return None
    function, value = _application(store.value)
    if function is None or _step(store, var) != 1:
        return None
    kind = {tirx.Sub: "minus", tirx.Add: "plus"}.get(type(value))
    loads = [value] if kind is None else [value.a, value.b]
    if not all(isinstance(load, TensorLoad) for load in loads):
        return None
    buffers = [load.source for load in loads]
    if any(str(b.dtype) != "float32" for b in [*buffers, store.buffer]):
        return None
    first, *second = [_step(load, var) for load in loads]
    if first != 1 or not {*second} <= {0, 1} or (second and buffers[0].same_as(buffers[1])):
        return None
    argument = f"a_{kind}_{'vector' if second[0] else 'scalar'}" if second else "a"
    return VectorFunction(function, argument, lanes)


def _applied(function: str, argument: Any) -> Any:
    """The expression that a function of an argument is."""
    if function != "gelu":
        return getattr(tirx, function)(argument)
    half, root = tirx.const(0.5, "float32"), tirx.const(math.sqrt(0.5), "float32")
    return argument * (half + tirx.erf(argument * root) * half)


def _application(value: Any) -> tuple[str | None, Any]:
    """The function that an expression applies, and to what; None where it is another."""
    if isinstance(value, tirx.Mul):
        whole = tvm_ffi.structural_equal(value, _applied("gelu", value.a))
        return ("gelu", value.a) if whole else (None, value)
    names = {f"tirx.{function}": function for function in FUNCTIONS}
    function = names.get(getattr(getattr(value, "op", None), "name", ""))
    return function, value if function is None else value.args[0]


def _step(access: Any, var: Any) -> int | None:
    """Elements by which an access moves with ``var``: 0, 1, or None for anything else."""
    steps = [detect_linear_equation(index, [var]) for index in access.indices]
    if not all(found and isinstance(found[0], tirx.IntImm) for found in steps):
        return None
    *outer, last = [0, *(int(found[0]) for found in steps)]
    return last if not any(outer) and last in (0, 1) else None


def _name(function: str, lanes: int) -> str:
    return f"mschedx_{function}_{lanes}"


def _type(element: str, lanes: int) -> str:
    """A type of LLVM; a single lane is no vector."""
    return element if lanes == SCALAR else f"<{lanes} x {element}>"


def _suffix(lanes: int) -> str:
    """What LLVM's own functions end with for such vectors of float32."""
    return "f32" if lanes == SCALAR else f"v{lanes}f32"


_LOG2_E = 1.4426950408889634
# Few bits, so that products with integers are exact even where they are rounded.
_LN2_HIGH = float.fromhex("0x1.62e4p-1")
_LN2_LOW = 1.4286068203094172e-06
_ROUND = 12582912.0
"""1.5 * 2**23: adding it to a small float leaves the nearest integer in the low bits."""
_ROUND_BITS = 0x4B400000

# Minimax fits of this module's own, constant term first: (e^r - 1 - r) / r² for |r| <= ln(2) / 2;
# (log(1 + r) - r + r² / 2) / r³ for √½ <= 1 + r <= √2;
# (tanh(x) / x - 1) / x² in x² for |x| <= 0.625; erf(x) / x - 1 in x² for |x| <= 0.84375;
# -log(erfc(x)) / x for 0.84375 <= x <= 4.
_EXP = tuple(
    map(
        float.fromhex,
        ("0x1.fffffcp-2", "0x1.55549p-3", "0x1.5558f8p-5", "0x1.123b02p-7", "0x1.6a2256p-10"),
    )
)
_LOG = tuple(
    map(
        float.fromhex,
        (
            "0x1.555548p-2",
            "-0x1.000008p-2",
            "0x1.99a47ap-3",
            "-0x1.555b94p-3",
            "0x1.233abap-3",
            "-0x1.fc3c1ep-4",
            "0x1.e6df46p-4",
            "-0x1.ddaa44p-4",
            "0x1.13cf10p-4",
        ),
    )
)
_SQRT_HALF_BITS = 0x3F3504F3
_TANH = tuple(
    map(
        float.fromhex,
        ("-0x1.555532p-2", "0x1.11070ap-3", "-0x1.b83854p-5", "0x1.520b2cp-6", "-0x1.75623cp-8"),
    )
)
_ERF_SMALL = 0.84375
_ERF = tuple(
    map(
        float.fromhex,
        (
            "0x1.06eba8p-3",
            "-0x1.812728p-2",
            "0x1.ce25e8p-4",
            "-0x1.b73f58p-6",
            "0x1.4bbc48p-8",
            "-0x1.4e3b52p-11",
        ),
    )
)
_ERFC = tuple(
    map(
        float.fromhex,
        (
            "0x1.20e75ep+0",
            "0x1.4575aep-1",
            "0x1.af73b8p-4",
            "-0x1.77ce32p-6",
            "0x1.a7588ep-9",
            "-0x1.c4963ep-13",
        ),
    )
)


class _Body:
    """Lines of an LLVM function on one type of vector, each naming its result."""

    def __init__(self, lanes: int) -> None:
        self.float, self.int, self.bool = (_type(one, lanes) for one in ("float", "i32", "i1"))
        self.suffix = _suffix(lanes)
        self.lanes = lanes
        self.lines: list[str] = []

    def add(self, text: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def number(self, value: float) -> str:
        bits = np.float64(np.float32(value)).view(np.uint64)
        return self._every("float", f"0x{bits:016X}")

    def integer(self, value: int) -> str:
        return self._every("i32", str(value))

    def _every(self, element: str, value: str) -> str:
        if self.lanes == SCALAR:
            return value
        return "<" + ", ".join([f"{element} {value}"] * self.lanes) + ">"

    def binary(self, op: str, a: str, b: str) -> str:
        return self.add(f"{op} {self.float if op[0] == 'f' else self.int} {a}, {b}")

    def fma(self, a: str, b: str, c: str) -> str:
        return self.call(f"@llvm.fmuladd.{self.suffix}", a, b, c)

    def call(self, name: str, *arguments: str) -> str:
        values = ", ".join(f"{self.float} {argument}" for argument in arguments)
        return self.add(f"call {self.float} {name}({values})")

    def select(self, comparison: str, a: str, b: str, yes: str, no: str) -> str:
        chosen = self.add(f"fcmp {comparison} {self.float} {a}, {b}")
        return self.add(f"select {self.bool} {chosen}, {self.float} {yes}, {self.float} {no}")

    def polynomial(self, x: str, coefficients: tuple[float, ...]) -> str:
        *rest, value = map(self.number, coefficients)
        for coefficient in reversed(rest):
            value = self.fma(value, x, coefficient)
        return value

    def power_of_two(self, exponent: str) -> str:
        biased = self.binary("add", exponent, self.integer(127))
        bits = self.binary("shl", biased, self.integer(23))
        return self.add(f"bitcast {self.int} {bits} to {self.float}")

    def function(self, name: str, result: str) -> str:
        head = f"define linkonce_odr {self.float} @{name}({self.float} %x) alwaysinline {{"
        return "\n".join([head, *self.lines, f"  ret {self.float} {result}", "}", ""])


def _exp(lanes: int) -> str:
    """exp(x) = 2**n * exp(r) with n the integer nearest to x / ln 2 and r = x - n * ln 2."""
    f = _Body(lanes)
    # Beyond these bounds every result is inf or 0. The comparisons let nan through.
    x = f.select("ogt", "%x", f.number(89.0), f.number(89.0), "%x")
    x = f.select("olt", x, f.number(-104.0), f.number(-104.0), x)
    rounded = f.fma(x, f.number(_LOG2_E), f.number(_ROUND))
    n = f.binary("fsub", rounded, f.number(_ROUND))
    r = f.fma(n, f.number(-_LN2_HIGH), x)
    r = f.fma(n, f.number(-_LN2_LOW), r)
    square = f.binary("fmul", r, r)
    value = f.fma(f.polynomial(r, _EXP), square, r)
    value = f.binary("fadd", value, f.number(1.0))
    bits = f.add(f"bitcast {f.float} {rounded} to {f.int}")
    exponent = f.binary("sub", bits, f.integer(_ROUND_BITS))
    # 2**n may be no normal number; the halves are, and only the last product is rounded.
    half = f.binary("ashr", exponent, f.integer(1))
    value = f.binary("fmul", value, f.power_of_two(half))
    rest = f.binary("sub", exponent, half)
    return f.function(_name("exp", lanes), f.binary("fmul", value, f.power_of_two(rest)))


def _log(lanes: int) -> str:
    """log(x) = n * ln 2 + log(1 + r) with x = 2**n * (1 + r) and 1 + r from √½ to √2."""
    f = _Body(lanes)
    smallest = float(np.finfo(np.float32).tiny)
    scaled = f.binary("fmul", "%x", f.number(2.0**23))
    normal = f.select("olt", "%x", f.number(smallest), scaled, "%x")
    shift = f.select("olt", "%x", f.number(smallest), f.number(-23.0), f.number(0.0))
    bits = f.add(f"bitcast {f.float} {normal} to {f.int}")
    above = f.binary("sub", bits, f.integer(_SQRT_HALF_BITS))
    exponent = f.binary("ashr", above, f.integer(23))
    rest = f.binary("sub", bits, f.binary("shl", exponent, f.integer(23)))
    r = f.binary("fsub", f.add(f"bitcast {f.int} {rest} to {f.float}"), f.number(1.0))
    n = f.binary("fadd", f.add(f"sitofp {f.int} {exponent} to {f.float}"), shift)
    square = f.binary("fmul", r, r)
    cube = f.binary("fmul", square, r)
    value = f.fma(f.polynomial(r, _LOG), cube, f.binary("fmul", n, f.number(_LN2_LOW)))
    value = f.binary("fadd", f.fma(square, f.number(-0.5), value), r)
    value = f.fma(n, f.number(_LN2_HIGH), value)
    value = f.select("oeq", "%x", f.number(math.inf), "%x", value)
    # Comparisons with nan are false, so that it ends up where the numbers below zero do.
    below = f.select("oeq", "%x", f.number(0.0), f.number(-math.inf), f.number(math.nan))
    return f.function(_name("log", lanes), f.select("ogt", "%x", f.number(0.0), value, below))


def _sigmoid(lanes: int) -> str:
    """1 / (1 + e) for x >= 0 and e / (1 + e) below, e = exp(-abs(x)): nothing overflows."""
    f = _Body(lanes)
    magnitude = f.call(f"@llvm.fabs.{f.suffix}", "%x")
    negative = f.binary("fsub", f.number(-0.0), magnitude)
    e = f.call("@" + _name("exp", lanes), negative)
    above = f.select("olt", "%x", f.number(0.0), e, f.number(1.0))
    below = f.binary("fadd", e, f.number(1.0))
    return f.function(_name("sigmoid", lanes), f.binary("fdiv", above, below))


def _tanh(lanes: int) -> str:
    """Use x + x³ P(x²) for small x and 1 - 2 / (exp(2 abs(x)) + 1) with the sign of x elsewhere."""
    f = _Body(lanes)
    magnitude = f.call(f"@llvm.fabs.{f.suffix}", "%x")
    e = f.call("@" + _name("exp", lanes), f.binary("fadd", magnitude, magnitude))
    part = f.binary("fdiv", f.number(2.0), f.binary("fadd", e, f.number(1.0)))
    large = f.binary("fsub", f.number(1.0), part)
    square = f.binary("fmul", magnitude, magnitude)
    cube = f.binary("fmul", square, magnitude)
    small = f.fma(f.polynomial(square, _TANH), cube, magnitude)
    result = f.select("olt", magnitude, f.number(0.625), small, large)
    result = f.call(f"@llvm.copysign.{f.suffix}", result, "%x")
    return f.function(_name("tanh", lanes), result)


def _erf(lanes: int) -> str:
    """Use x + x P(x²) for small x and 1 - exp(-x Q(x)) with the sign of x elsewhere."""
    f = _Body(lanes)
    magnitude = f.call(f"@llvm.fabs.{f.suffix}", "%x")
    # From 4 on every result is 1. The comparison lets nan through.
    large = f.select("ogt", magnitude, f.number(4.0), f.number(4.0), magnitude)
    exponent = f.binary("fmul", f.polynomial(large, _ERFC), large)
    e = f.call("@" + _name("exp", lanes), f.binary("fsub", f.number(-0.0), exponent))
    large = f.binary("fsub", f.number(1.0), e)
    square = f.binary("fmul", magnitude, magnitude)
    small = f.fma(f.polynomial(square, _ERF), magnitude, magnitude)
    result = f.select("olt", magnitude, f.number(_ERF_SMALL), small, large)
    result = f.call(f"@llvm.copysign.{f.suffix}", result, "%x")
    return f.function(_name("erf", lanes), result)


def _gelu(lanes: int) -> str:
    """The product of x and 1/2 + erf(x * √½) / 2."""
    f = _Body(lanes)
    scaled = f.binary("fmul", "%x", f.number(math.sqrt(0.5)))
    e = f.call("@" + _name("erf", lanes), scaled)
    share = f.fma(e, f.number(0.5), f.number(0.5))
    return f.function(_name("gelu", lanes), f.binary("fmul", "%x", share))


@cache
def vector_source(lanes: int) -> str:
    """Write all functions for vectors of ``lanes`` float32 in LLVM's language."""
    vector = _type("float", lanes)
    declared = [
        f"declare {vector} @llvm.{name}.{_suffix(lanes)}({', '.join([vector] * count)})"
        for name, count in (("fmuladd", 3), ("fabs", 1), ("copysign", 2))
    ]
    functions = (_exp, _log, _sigmoid, _tanh, _erf, _gelu)
    return "\n".join([*declared, "", *(write(lanes) for write in functions)])


def register() -> None:
    """Register every form with TVM; safe to call again."""
    for function in VECTOR_FUNCTIONS:
        register_once(function.name, function.functions)
