"""Workloads: the operators that people tune, as PrimFuncs (:mod:`mschedx.bench.suite` names some).

An operator is a name and an order of sizes (``gemm`` takes M, N, K); ``make("gemm", (64, 64, 64))``
gives its PrimFunc, with stages as a framework would hand them over (padding, epilogues), written in
``tvm.te``. Inputs of 8-bit operators are u8 × s8 with s32 sums, those of 16-bit ones accumulate in
float32. Layouts: NCHW / OIHW unless the name says ``_nhwc`` (weights RSCK).
"""

# pyright: reportArgumentType=none, reportCallIssue=none, reportOperatorIssue=none
# Operators of te's tensors and axes are attached at run time, where no checker sees them.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

DTYPES = ("float32", "float64", "float16", "bfloat16", "int8")


@dataclass(frozen=True, slots=True)
class Types:
    """dtypes of the first operand, the second, and the result."""

    left: str
    right: str
    out: str

    @staticmethod
    def of(dtype: str) -> Types:
        """Give the operands' types for a dtype of :data:`DTYPES`."""
        if dtype == "int8":
            return Types("uint8", "int8", "int32")
        if dtype in ("float16", "bfloat16"):
            return Types(dtype, dtype, "float32")
        if dtype in ("float32", "float64"):
            return Types(dtype, dtype, dtype)
        raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, got {dtype!r}")


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator: what its sizes mean, in order, with defaults for the last ones."""

    name: str
    sizes: tuple[str, ...]
    defaults: tuple[int, ...]
    build: Callable[..., list[Any]]

    def complete(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Fill in defaults; check number and range."""
        missing = len(self.sizes) - len(shape)
        if missing < 0 or missing > len(self.defaults):
            raise ValueError(
                f"{self.name} takes the sizes {self.describe()}; got {len(shape)}: {shape}"
            )
        full = (*shape, *self.defaults[len(self.defaults) - missing :]) if missing else shape
        for name, size in zip(self.sizes, full):
            least = 0 if name == "pad" else 1
            if size < least:
                raise ValueError(f"{self.name}: expected {name} of at least {least}, got {size}")
        return full

    def describe(self) -> str:
        """Name the sizes, defaults as ``stride=1``."""
        required = len(self.sizes) - len(self.defaults)
        optional = [f"{n}={v}" for n, v in zip(self.sizes[required:], self.defaults)]
        return ",".join([*self.sizes[:required], *optional])


@dataclass(frozen=True, slots=True)
class Workload:
    """An operator at a shape and dtype; ``func()`` is its PrimFunc."""

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def func(self) -> PrimFunc:
        """Build the PrimFunc."""
        return make(self.op, self.shape, self.dtype)


OPERATORS: dict[str, Operator] = {}


def make(op: str, shape: tuple[int, ...], dtype: str = "float32") -> PrimFunc:
    """Build an operator's PrimFunc.

    Raises
    ------
    ValueError
        For an unknown operator or dtype, or sizes that do not fit; the message lists what does.
    """
    from tvm import te

    operator = find(op)
    tensors = operator.build(*operator.complete(tuple(shape)), Types.of(dtype))
    return te.create_prim_func(tensors)


def find(op: str) -> Operator:
    """Look an operator up by name."""
    if op not in OPERATORS:
        known = "; ".join(f"{o.name} {o.describe()}" for o in OPERATORS.values())
        raise ValueError(f"unknown operator {op!r}; known, with their sizes: {known}")
    return OPERATORS[op]


def _operator(sizes: str, **defaults: int) -> Callable[..., Any]:
    def register(build: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        name = build.__name__.strip("_")
        names = (*sizes.split(), *defaults)
        OPERATORS[name] = Operator(name, names, tuple(defaults.values()), build)
        return build

    return register


def _cast_product(t: Types, left: Any, right: Any) -> Any:
    return left.astype(t.out) * right.astype(t.out) if t.out != t.left else left * right


def _product(batch: tuple[int, ...], sizes: tuple[int, int, int], t: Types, nt: bool) -> list[Any]:
    """Matrix product with leading `batch` axes; the second operand is [N, K] where `nt`."""
    from tvm import te

    m, n, k = sizes
    a = te.placeholder((*batch, m, k), t.left, "A")
    b = te.placeholder((*batch, n, k) if nt else (*batch, k, n), t.right, "B")
    r = te.reduce_axis((0, k), "k")

    def element(*index: Any) -> Any:
        *p, i, j = index
        right = (*p, j, r) if nt else (*p, r, j)
        return te.sum(_cast_product(t, a[(*p, i, r)], b[right]), axis=r)

    return [a, b, te.compute((*batch, m, n), element, name="C")]


@_operator("M N K")
def _gemm(m: int, n: int, k: int, t: Types) -> list[Any]:
    return _product((), (m, n, k), t, nt=False)


@_operator("M N K")
def _gemm_nt(m: int, n: int, k: int, t: Types) -> list[Any]:
    return _product((), (m, n, k), t, nt=True)


@_operator("B M N K")
def _batch_gemm(b: int, m: int, n: int, k: int, t: Types) -> list[Any]:
    return _product((b,), (m, n, k), t, nt=False)


@_operator("B M N K")
def _batch_gemm_nt(b: int, m: int, n: int, k: int, t: Types) -> list[Any]:
    return _product((b,), (m, n, k), t, nt=True)


@_operator("N K")
def _gemv(n: int, k: int, t: Types) -> list[Any]:
    from tvm import te

    a = te.placeholder((n, k), t.left, "A")
    x = te.placeholder((k,), t.right, "x")
    r = te.reduce_axis((0, k), "k")
    y = te.compute((n,), lambda i: te.sum(_cast_product(t, a[i, r], x[r]), axis=r), name="y")
    return [a, x, y]


def _padded(x: Any, pads: tuple[int, ...]) -> Any:
    """Zero-pad dimension d of `x` by ``pads[d]`` on both sides; `x` itself if nothing is to do."""
    from tvm import te, tirx

    if not any(pads):
        return x
    shape = [int(s) + 2 * p for s, p in zip(x.shape, pads)]

    def element(*index: Any) -> Any:
        inside = [
            condition
            for i, p, s in zip(index, pads, x.shape)
            if p
            for condition in (i >= p, i < p + int(s))
        ]
        value = x[tuple(i - p for i, p in zip(index, pads))]
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, x.dtype))

    return te.compute(shape, element, name="pad")


def _out(size: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> int:
    extent = size + 2 * pad - dilation * (kernel - 1) - 1
    if extent < 0:
        raise ValueError(f"a window of {kernel} (dilation {dilation}) exceeds {size} + 2·{pad}")
    return extent // stride + 1


@_operator("N C L K R", stride=1, pad=0)
def _conv1d(n: int, c: int, l: int, k: int, r: int, stride: int, pad: int, t: Types) -> list[Any]:  # noqa: E741
    from tvm import te

    x = te.placeholder((n, c, l), t.left, "X")
    w = te.placeholder((k, c, r), t.right, "W")
    p = _padded(x, (0, 0, pad))
    rc, rr = te.reduce_axis((0, c), "rc"), te.reduce_axis((0, r), "rr")
    y = te.compute(
        (n, k, _out(l, r, stride, pad)),
        lambda b, o, i: te.sum(
            _cast_product(t, p[b, rc, i * stride + rr], w[o, rc, rr]), axis=[rc, rr]
        ),
        name="conv1d",
    )
    return [x, w, y]


def _conv2d_nchw(
    n: int, c: int, h: int, w: int, k: int, r: int,
    stride: int, pad: int, dilation: int, groups: int, t: Types,
) -> tuple[Any, Any, Any]:  # fmt: skip
    from tvm import te

    if c % groups or k % groups:
        raise ValueError(f"channels {c} -> {k} do not divide into {groups} groups")
    cg, kg = c // groups, k // groups
    x = te.placeholder((n, c, h, w), t.left, "X")
    f = te.placeholder((k, cg, r, r), t.right, "W")
    p = _padded(x, (0, 0, pad, pad))
    axes = [te.reduce_axis((0, e), name) for e, name in ((cg, "rc"), (r, "rh"), (r, "rw"))]
    rc, rh, rw = axes

    def element(b: Any, o: Any, i: Any, j: Any) -> Any:
        channel = rc if groups == 1 else o // kg * cg + rc
        window = p[b, channel, i * stride + rh * dilation, j * stride + rw * dilation]
        return te.sum(_cast_product(t, window, f[o, rc, rh, rw]), axis=axes)

    shape = (n, k, _out(h, r, stride, pad, dilation), _out(w, r, stride, pad, dilation))
    return x, f, te.compute(shape, element, name="conv2d")


@_operator("N C H W K R", stride=1, pad=0, dilation=1, groups=1)
def _conv2d(*sizes: Any) -> list[Any]:
    return list(_conv2d_nchw(*sizes))


@_operator("N C H W K R", stride=1, pad=0)
def _conv2d_bias_relu(
    n: int, c: int, h: int, w: int, k: int, r: int, stride: int, pad: int, t: Types
) -> list[Any]:
    from tvm import te, tirx

    x, f, y = _conv2d_nchw(n, c, h, w, k, r, stride, pad, 1, 1, t)
    bias = te.placeholder((k,), t.out, "bias")
    added = te.compute(y.shape, lambda b, o, i, j: y[b, o, i, j] + bias[o], name="bias_add")
    zero = tirx.const(0, t.out)
    out = te.compute(y.shape, lambda *i: te.max(added[i], zero), name="relu")
    return [x, f, bias, out]


@_operator("N H W C K R", stride=1, pad=0)
def _conv2d_nhwc(
    n: int, h: int, w: int, c: int, k: int, r: int, stride: int, pad: int, t: Types
) -> list[Any]:
    from tvm import te

    x = te.placeholder((n, h, w, c), t.left, "X")
    f = te.placeholder((r, r, c, k), t.right, "W")
    p = _padded(x, (0, pad, pad, 0))
    rh, rw, rc = (te.reduce_axis((0, e), name) for e, name in ((r, "rh"), (r, "rw"), (c, "rc")))
    y = te.compute(
        (n, _out(h, r, stride, pad), _out(w, r, stride, pad), k),
        lambda b, i, j, o: te.sum(
            _cast_product(t, p[b, i * stride + rh, j * stride + rw, rc], f[rh, rw, rc, o]),
            axis=[rh, rw, rc],
        ),
        name="conv2d_nhwc",
    )
    return [x, f, y]


@_operator("N C H W K R", stride=1, pad=0)
def _conv2d_blocked(
    n: int, c: int, h: int, w: int, k: int, r: int, stride: int, pad: int, t: Types
) -> list[Any]:
    """Blocked channels: image NCHW4c, weights [K/16, C/4, R, R, 4, 16], result NCHW16c."""
    from tvm import te

    if c % 4 or k % 16:
        raise ValueError(f"conv2d_blocked: expected C in fours and K in sixteens, got {c} and {k}")
    x = te.placeholder((n, c // 4, h, w, 4), t.left, "X")
    f = te.placeholder((k // 16, c // 4, r, r, 4, 16), t.right, "W")
    p = _padded(x, (0, 0, pad, pad, 0))
    axes = [
        te.reduce_axis((0, e), name)
        for e, name in ((c // 4, "rc"), (r, "rh"), (r, "rw"), (4, "ri"))
    ]
    rc, rh, rw, ri = axes
    y = te.compute(
        (n, k // 16, _out(h, r, stride, pad), _out(w, r, stride, pad), 16),
        lambda b, o, i, j, u: te.sum(
            _cast_product(
                t, p[b, rc, i * stride + rh, j * stride + rw, ri], f[o, rc, rh, rw, ri, u]
            ),
            axis=axes,
        ),
        name="conv2d_blocked",
    )
    return [x, f, y]


@_operator("N C D H W K R", stride=1, pad=0)
def _conv3d(
    n: int, c: int, d: int, h: int, w: int, k: int, r: int, stride: int, pad: int, t: Types
) -> list[Any]:
    from tvm import te

    x = te.placeholder((n, c, d, h, w), t.left, "X")
    f = te.placeholder((k, c, r, r, r), t.right, "W")
    p = _padded(x, (0, 0, pad, pad, pad))
    axes = [te.reduce_axis((0, e), v) for e, v in ((c, "rc"), (r, "rd"), (r, "rh"), (r, "rw"))]
    rc, rd, rh, rw = axes

    def element(b: Any, o: Any, z: Any, i: Any, j: Any) -> Any:
        window = p[b, rc, z * stride + rd, i * stride + rh, j * stride + rw]
        return te.sum(_cast_product(t, window, f[o, rc, rd, rh, rw]), axis=axes)

    shape = (n, k, *(_out(e, r, stride, pad) for e in (d, h, w)))
    return [x, f, te.compute(shape, element, name="conv3d")]


@_operator("N C H W R", stride=1, pad=0)
def _depthwise_conv2d(
    n: int, c: int, h: int, w: int, r: int, stride: int, pad: int, t: Types
) -> list[Any]:
    from tvm import te

    x = te.placeholder((n, c, h, w), t.left, "X")
    f = te.placeholder((c, 1, r, r), t.right, "W")
    p = _padded(x, (0, 0, pad, pad))
    rh, rw = te.reduce_axis((0, r), "rh"), te.reduce_axis((0, r), "rw")
    y = te.compute(
        (n, c, _out(h, r, stride, pad), _out(w, r, stride, pad)),
        lambda b, o, i, j: te.sum(
            _cast_product(t, p[b, o, i * stride + rh, j * stride + rw], f[o, 0, rh, rw]),
            axis=[rh, rw],
        ),
        name="depthwise_conv2d",
    )
    return [x, f, y]


@_operator("N C H W K R", stride=1, pad=0)
def _conv2d_transpose(
    n: int, c: int, h: int, w: int, k: int, r: int, stride: int, pad: int, t: Types
) -> list[Any]:
    """Scatter as a gather: a convolution over the input spread by `stride`, kernel flipped."""
    from tvm import te, tirx

    if pad >= r:
        raise ValueError(f"conv2d_transpose: expected pad below the kernel's {r}, got {pad}")
    for extent in (h, w):
        if (extent - 1) * stride + r <= 2 * pad:
            raise ValueError(
                f"conv2d_transpose: expected pad to leave some of the {(extent - 1) * stride + r} "
                f"that {extent} become, got {pad} on both sides"
            )
    border = r - 1 - pad
    x = te.placeholder((n, c, h, w), t.left, "X")
    f = te.placeholder((c, k, r, r), t.right, "W")
    spread_shape = (n, c, (h - 1) * stride + 1 + 2 * border, (w - 1) * stride + 1 + 2 * border)

    def spread(b: Any, ch: Any, i: Any, j: Any) -> Any:
        u, v = i - border, j - border
        inside = [
            u >= 0, u <= (h - 1) * stride, u % stride == 0,
            v >= 0, v <= (w - 1) * stride, v % stride == 0,
        ]  # fmt: skip
        value = x[b, ch, u // stride, v // stride]
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, x.dtype))

    p = te.compute(spread_shape, spread, name="spread")
    axes = [te.reduce_axis((0, e), name) for e, name in ((c, "rc"), (r, "rh"), (r, "rw"))]
    rc, rh, rw = axes
    y = te.compute(
        (n, k, spread_shape[2] - r + 1, spread_shape[3] - r + 1),
        lambda b, o, i, j: te.sum(
            _cast_product(t, p[b, rc, i + rh, j + rw], f[rc, o, r - 1 - rh, r - 1 - rw]), axis=axes
        ),
        name="conv2d_transpose",
    )
    return [x, f, y]


def _require_float(name: str, t: Types) -> None:
    if t.left not in ("float32", "float64"):
        raise ValueError(f"{name} is defined for float32, got {t.left}")


@_operator("M N")
def _softmax(m: int, n: int, t: Types) -> list[Any]:
    from tvm import te

    _require_float("softmax", t)
    x = te.placeholder((m, n), t.left, "X")
    r, s = te.reduce_axis((0, n), "r"), te.reduce_axis((0, n), "s")
    peak = te.compute((m,), lambda i: te.max(x[i, r], axis=r), name="max")
    power = te.compute((m, n), lambda i, j: te.exp(x[i, j] - peak[i]), name="exp")
    total = te.compute((m,), lambda i: te.sum(power[i, s], axis=s), name="sum")
    y = te.compute((m, n), lambda i, j: power[i, j] / total[i], name="softmax")
    return [x, y]


@_operator("M N")
def _layer_norm(m: int, n: int, t: Types) -> list[Any]:
    from tvm import te

    _require_float("layer_norm", t)
    x = te.placeholder((m, n), t.left, "X")
    gamma, beta = te.placeholder((n,), t.left, "gamma"), te.placeholder((n,), t.left, "beta")
    r, s = te.reduce_axis((0, n), "r"), te.reduce_axis((0, n), "s")
    mean = te.compute((m,), lambda i: te.sum(x[i, r] / n, axis=r), name="mean")
    deviation = te.compute((m, n), lambda i, j: x[i, j] - mean[i], name="deviation")
    variance = te.compute(
        (m,), lambda i: te.sum(deviation[i, s] * deviation[i, s] / n, axis=s), name="variance"
    )
    y = te.compute(
        (m, n),
        lambda i, j: deviation[i, j] * te.rsqrt(variance[i] + 1e-5) * gamma[j] + beta[j],
        name="layer_norm",
    )
    return [x, gamma, beta, y]


@_operator("M N")
def _mean(m: int, n: int, t: Types) -> list[Any]:
    from tvm import te

    _require_float("mean", t)
    x = te.placeholder((m, n), t.left, "X")
    r = te.reduce_axis((0, n), "r")
    total = te.compute((m,), lambda i: te.sum(x[i, r], axis=r), name="sum")
    return [x, te.compute((m,), lambda i: total[i] / n, name="mean")]


@_operator("M N")
def _gelu(m: int, n: int, t: Types) -> list[Any]:
    """0.5 x (1 + erf(x / √2))."""
    from tvm import te

    _require_float("gelu", t)
    x = te.placeholder((m, n), t.left, "X")
    scaled = te.compute((m, n), lambda *at: x[at] * 0.5**0.5, name="scaled")
    erf = te.compute((m, n), lambda *at: te.erf(scaled[at]), name="erf")
    return [x, te.compute((m, n), lambda *at: x[at] * (0.5 + 0.5 * erf[at]), name="gelu")]


@_operator("M N")
def _bias_gelu(m: int, n: int, t: Types) -> list[Any]:
    """Tanh form: 0.5 z (1 + tanh(0.79788456 (z + 0.044715 z³))), z = x + bias."""
    from tvm import te

    _require_float("bias_gelu", t)
    x, bias = te.placeholder((m, n), t.left, "X"), te.placeholder((n,), t.left, "bias")
    z = te.compute((m, n), lambda i, j: x[i, j] + bias[j], name="bias_add")

    def cubic(*at: Any) -> Any:
        return 0.7978845608 * z[at] * (1.0 + 0.044715 * z[at] * z[at])

    inner = te.compute((m, n), cubic, name="cubic")
    tanh = te.compute((m, n), lambda *at: te.tanh(inner[at]), name="tanh")
    return [x, bias, te.compute((m, n), lambda *at: 0.5 * z[at] * (1.0 + tanh[at]), name="gelu")]
