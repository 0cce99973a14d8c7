"""Networks of half and double precision: TVM's importer takes all for float32."""

import copy

import ml_dtypes
import numpy as np
import pytest
import torch
from tiny_networks import relax_outputs
from torch import nn
from torch.utils._pytree import tree_leaves
from tvm import te

import mschedx
from mschedx.networks.checking import relative_tolerance
from mschedx.networks.importing import import_network, read_network
from mschedx.networks.rewrites.graph import op_name
from mschedx.networks.rewrites.pipeline import simplify

IMAGE = torch.linspace(-2, 2, 2 * 8 * 6 * 7).reshape(2, 8, 6, 7).sin()
ROWS = torch.linspace(-3, 3, 5 * 16).reshape(5, 16).cos()
VOLUME = torch.linspace(-3, 3, 2 * 4 * 5 * 5 * 5).reshape(2, 4, 5, 5, 5).cos()

# Of the largest value: torch rounds a result once, and some of ours are rounded twice.
TOLERANCE = {torch.float16: 2**-10, torch.bfloat16: 2**-7, torch.float64: 1e-12}


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def array_of(tensor):
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def agrees(model, x, tolerance):
    """Import for a tensor: outputs have torch's dtype, and the values of double precision."""
    model = model.eval()
    with torch.no_grad():
        dtypes = [array_of(one).dtype for one in tree_leaves(model(x))]
        found = relax_outputs(read_network(model, x).mod, [array_of(x)])
        expected = tree_leaves(model.double()(x.double() if x.is_floating_point() else x))
    assert [one.dtype for one in found] == dtypes
    for one, other in zip(found, expected):
        one, other = one.astype(np.float64), array_of(other).astype(np.float64)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1, abs(other).max()))


def attention(x):
    return nn.functional.scaled_dot_product_attention(x, x, x)


def masked(x):
    mask = torch.ones(x.shape[-2], x.shape[-2], dtype=torch.bool).tril()
    return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)


MODELS = {
    "linear": (nn.Linear(16, 8), ROWS),
    "linear of four axes, no bias": (nn.Linear(7, 5, bias=False), IMAGE),
    "conv1d": (nn.Conv1d(6, 4, 3), IMAGE[0]),
    "conv2d": (nn.Conv2d(8, 4, 3, padding=1), IMAGE),
    "depthwise": (nn.Conv2d(8, 8, 3, groups=8, bias=False), IMAGE),
    "conv3d": (nn.Conv3d(4, 4, 3), VOLUME),
    "transposed, one axis": (nn.ConvTranspose1d(6, 4, 3), IMAGE[0]),
    "transposed, two axes": (nn.ConvTranspose2d(8, 4, 3, stride=2, output_padding=1), IMAGE),
    "transposed, three axes": (nn.ConvTranspose3d(4, 2, 2, stride=2), VOLUME),
    "batch norm": (nn.BatchNorm2d(8), IMAGE),
    "layer norm": (nn.LayerNorm(16), ROWS),
    "group norm": (nn.GroupNorm(2, 8), IMAGE),
    "group norm without scale": (nn.GroupNorm(2, 8, affine=False), IMAGE),
    "instance norm": (nn.InstanceNorm2d(8), IMAGE),
    "rms norm": (nn.RMSNorm(16), ROWS),
    "softmax": (nn.Softmax(-1), ROWS),
    "log softmax": (nn.LogSoftmax(-1), ROWS),
    "gelu": (nn.GELU(), ROWS),
    "mish": (nn.Mish(), ROWS),
    "log sigmoid": (nn.LogSigmoid(), ROWS),
    "lstm": (nn.LSTM(16, 8, bidirectional=True), ROWS),
    "gru": (nn.GRU(16, 8), ROWS),
    "transformer layer": (nn.TransformerEncoderLayer(16, 2, 32), ROWS),
    "mm": (Function(lambda x: x @ x.T), ROWS),
    "bmm": (Function(lambda x: x @ x.mT), IMAGE),
    "addmm": (Function(lambda x: torch.addmm(x[:, :5], x, x.T, beta=0.5, alpha=2)), ROWS),
    "addmm without its bias": (
        Function(lambda x: torch.addmm(x[:, :5].log(), x, x.T, beta=0)),
        ROWS,
    ),
    "baddbmm": (Function(lambda x: torch.baddbmm(x[:, :5, :5], x[:, :5], x[:, :5].mT)), IMAGE[0]),
    "attention": (Function(attention), IMAGE),
    "masked attention": (Function(masked), IMAGE),
    "power": (Function(lambda x: x.abs() ** 1.5), ROWS),
    "norm": (Function(lambda x: x.norm(dim=1)), ROWS),
    "logsumexp": (Function(lambda x: x.logsumexp(1)), ROWS),
    "remainders": (Function(lambda x: (x.fmod(0.5), x.remainder(0.5))), ROWS),
    "places": (Function(lambda x: (x.argmax(1), *x.max(1))), ROWS),
    "not a number": (Function(lambda x: (x.log().isnan(), x.log().nan_to_num())), ROWS),
    "bounds that are tensors": (Function(lambda x: x.clamp(x.min(), x.mean())), ROWS),
}


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("name", list(MODELS))
def test_models_compute_in_their_dtype(name, dtype):
    torch.manual_seed(0)
    model, x = MODELS[name]
    agrees(copy.deepcopy(model).to(dtype), x.to(dtype), 8 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum(-1),
        lambda x: x.mean(-1),
        lambda x: x.softmax(-1) * 4096,
        lambda x: x @ x.T,
        lambda x: torch.addmm(0 * x[:, :2], x, x.T),
        lambda x: x.norm(dim=-1),
        lambda x: x.cumsum(-1)[:, -1],
        lambda x: nn.functional.avg_pool1d(x, 4096),
    ],
    ids=["sum", "mean", "softmax", "product", "addmm", "norm", "cumsum", "pool"],
)
def test_long_sums_are_exact(function, dtype):
    """4096 ones: a sum in float16 stops at 2048, one in bfloat16 at 256."""
    agrees(Function(function), torch.ones(2, 4096, dtype=dtype), 0)


@pytest.mark.parametrize(
    ("function", "tolerance"),
    [
        (lambda x: x.sum(-1, dtype=torch.float64), 1e-12),
        (lambda x: x.mean(-1, dtype=torch.float32), 1e-6),
        (lambda x: x.softmax(-1, dtype=torch.float32), 1e-6),
        (lambda x: x.cumsum(-1, dtype=torch.float64), 1e-12),
        (lambda x: x.sum(-1, dtype=torch.bfloat16), 2**-7),
    ],
)
def test_a_dtype_that_is_asked_for(function, tolerance):
    agrees(Function(function), ROWS.half(), tolerance)


def test_products_of_integers_are_exact():
    """Float32 holds integers up to 2²⁴."""
    x = torch.tensor([[2**20 + 1, 3], [5, 2**20 - 1]])
    agrees(Function(lambda x: x @ x.T), x, 0)


def test_weights_may_be_wider_than_what_they_normalise():
    model = nn.LayerNorm(16)
    agrees(Function(lambda x: model(x.float()).half() + x), ROWS.half(), 2**-9)


def test_nothing_is_rounded_between_a_convolution_and_its_norm():
    """Conv, batch norm, relu: one convolution in float32 whose result is rounded once."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval().half()
    mod = simplify(import_network(layers, IMAGE.half()).mod)
    block = mod["main"].body.blocks[0]
    names = [name for binding in block.bindings if (name := op_name(binding.value))]
    assert names == ["relax.nn.conv2d", "relax.add", "relax.astype", "relax.nn.relu"]
    (found,) = relax_outputs(mod, [array_of(IMAGE.half())])
    expected = layers.float()(IMAGE.half().float()).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=2**-9, atol=2**-10)


def test_where_a_network_of_float32_rounds_it_is_rounded():
    x = ROWS.exp()
    network = import_network(Function(lambda x: (x * 3).half().float() + 1).eval(), x)
    (found,) = relax_outputs(simplify(network.mod), [array_of(x)])
    np.testing.assert_array_equal(found, ((x * 3).half().float() + 1).numpy())
    assert not np.array_equal(found, (x * 3 + 1).numpy())


@pytest.mark.parametrize(
    ("dtype", "layers", "least", "most"),
    [("float32", 200, 1e-4, 1e-3), ("bfloat16", 1, 0.05, 0.1), ("bfloat16", 200, 0.5, 1.0)],
)
def test_many_roundings_do_not_excuse_any_output(dtype, layers, least, most):
    """Of 200 layers in bfloat16 the worst that rounding could do is 12 times the output."""
    x = te.placeholder((4, 8), dtype, "x")
    square = te.create_prim_func([x, te.compute(x.shape, lambda *i: x(*i) * x(*i))])
    assert least < relative_tolerance([(square, layers)]) < most


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_network_of_half_precision_is_tuned_compiled_and_checked(tmp_path, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 8))
    model = model.eval().to(dtype)
    x = ROWS.to(dtype)
    result = mschedx.tune_model(model, x, trials_per_task=0, work_dir=tmp_path, progress=False)
    assert result.verified
    found = result.compile()(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, model(x), rtol=0, atol=float(4 * TOLERANCE[dtype]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(
    ("size", "layer"),
    [(1, {"kernel_size": 2}), (3, {"kernel_size": 2, "stride": 2})],
    ids=["as a product", "by phases"],
)
def test_transposed_convolutions_sum_in_float32(size, layer, bias, dtype):
    """4096 ones for each output: a sum in float16 stops at 2048, one in bfloat16 at 256."""
    model = nn.ConvTranspose2d(4096, 1, bias=bias, **layer).eval().to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1)
    x = torch.ones(1, 4096, size, size, dtype=dtype)
    mod = simplify(import_network(model, x).mod)
    (block,) = mod["main"].body.blocks
    assert not any("transpose" in op_name(binding.value) for binding in block.bindings)
    (found,) = relax_outputs(mod, [array_of(x)])
    expected = model(x).detach()
    assert set(expected.flatten().tolist()) == {float(torch.tensor(4096.0 + bias).to(dtype))}
    np.testing.assert_array_equal(found.astype(np.float32), expected.float().numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_network_of_transposed_convolutions(dtype):
    from mschedx.models import make

    model, (x,) = make("dcgan", small=True)
    model, x = model.to(dtype), x.to(dtype)
    mod = simplify(import_network(model, x).mod, channels_last=True, winograd=True)
    (found,) = relax_outputs(mod, [array_of(x)])
    with torch.no_grad():
        expected = model.double()(x.double())
    np.testing.assert_allclose(
        found.astype(np.float64), expected.numpy(), rtol=0, atol=8 * TOLERANCE[dtype]
    )
