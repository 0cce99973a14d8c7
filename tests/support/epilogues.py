"""Epilogues of several blocks, and products that end in one."""

from tvm import te


def each(function, *inputs, name):
    """One block that applies a function to the elements of arrays of one shape."""
    return te.compute(inputs[0].shape, lambda *at: function(*(x[at] for x in inputs)), name=name)


def silu(z):
    s = each(te.sigmoid, z, name="S")
    return each(lambda x, y: x * y, z, s, name="Y")


def gelu(z):
    scaled = each(lambda x: x * 0.7071067811865476, z, name="scaled")
    error = each(te.erf, scaled, name="error")
    return each(lambda x, y: 0.5 * x * (1 + y), z, error, name="Y")


def gelu_tanh(z):
    cubic = each(lambda x: 0.7978845608 * x * (1 + 0.044715 * x * x), z, name="cubic")
    tanh = each(te.tanh, cubic, name="tanh")
    return each(lambda x, y: 0.5 * x * (1 + y), z, tanh, name="Y")


def mish(z):
    e = each(te.exp, z, name="E")
    more = each(lambda x: x + 1.0, e, name="more")
    plus = each(te.log, more, name="L")
    tanh = each(te.tanh, plus, name="tanh")
    return each(lambda x, y: x * y, z, tanh, name="Y")


def clipped_sum(z, other):
    """What another layer gave added, cut off at 0 and 6."""
    added = each(lambda x, y: x + y, z, other, name="sum")
    return each(lambda x: te.min(te.max(x, 0.0), 6.0), added, name="Y")


def product(epilogue, m=24, n=32, k=20, dtype="float32", others=0):
    """A product with a bias and an epilogue, which reads so many more arrays of its shape.

    Of bytes and float16 the sums are wider, and of bytes scaled.
    """
    a, b = te.placeholder((m, k), dtype, "A"), te.placeholder((k, n), dtype, "B")
    bias = te.placeholder((n,), "float32", "bias")
    more = [te.placeholder((m, n), "float32", f"other{i}") for i in range(others)]
    wide = "int32" if dtype == "int8" else "float32"
    r = te.reduce_axis((0, k), "r")
    c = te.compute(
        (m, n), lambda i, j: te.sum(a[i, r].astype(wide) * b[r, j].astype(wide), r), name="C"
    )
    scale = 1 / 4096 if dtype == "int8" else 1.0
    z = te.compute((m, n), lambda i, j: c[i, j].astype("float32") * scale + bias[j], name="Z")
    return te.create_prim_func([a, b, bias, *more, epilogue(z, *more)])
