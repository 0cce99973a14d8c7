"""A network computes with the weights that it was given, whatever becomes of them afterwards."""

import numpy as np
import pytest
import torch
import tvm
from tiny_networks import TARGET, relax_outputs
from tvm import relax

from mschedx import tune_model
from mschedx.networks.importing import import_network

ROWS = torch.tensor([1, 2, 0])


class Words(torch.nn.Module):
    """Weights of all kinds: a table, a matrix, a bias, a scale, buffers, a plain attribute."""

    def __init__(self):
        super().__init__()
        self.table, self.linear = torch.nn.Embedding(5, 8), torch.nn.Linear(8, 8)
        self.norm = torch.nn.LayerNorm(8)
        self.register_buffer("kept", torch.ones(8))
        self.register_buffer("left_out", torch.ones(8), persistent=False)
        self.plain = torch.full((8,), 2.0)

    def forward(self, rows):
        y = self.norm(self.linear(self.table(rows)))
        return y * self.kept * self.left_out + self.plain


def words():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Words().eval()


def write_to(model):
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers(), model.plain):
            tensor.add_(1)


def test_a_compiled_network_does_not_follow_its_model(tmp_path):
    model = words()
    with torch.no_grad():
        expected = model(ROWS).numpy()
    result = tune_model(model, ROWS, TARGET, trials_per_task=0, progress=False)
    network = result.compile()
    write_to(model)
    np.testing.assert_allclose(network(ROWS), expected, atol=1e-5)
    with pytest.warns(UserWarning, match="8 weights have changed"):
        path = result.export(tmp_path / "words.so")
    library = tvm.runtime.load_module(str(path))
    machine = relax.VirtualMachine(library, tvm.cpu())
    (output,) = machine["main"](tvm.runtime.tensor(ROWS.numpy()))
    np.testing.assert_allclose(output.numpy(), expected, atol=1e-5)


def test_a_relax_module_keeps_its_constants_to_itself():
    """They may be the memory of whoever made the module, as in what TVM's importer returns."""
    weight = np.full((64, 4), 2.0, np.float32)
    mine = tvm.runtime.tensor(weight)
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType((3, 64), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            product = builder.emit(relax.op.matmul(x, relax.const(mine)))
            total = builder.emit(relax.op.sum(relax.const(mine)))
            output = builder.emit_output(relax.op.add(product, total))
        builder.emit_func_output(output)
    found = import_network(builder.get())
    mine.copyfrom(0 * weight)
    (output,) = relax_outputs(found.mod, [np.ones((3, 64), np.float32)])
    np.testing.assert_allclose(output, np.full((3, 4), 64 * 2 + 256 * 2), rtol=1e-6)
    addresses = set()

    def visit(expr):
        if isinstance(expr, tvm.ir.GenericConst):
            addresses.add(expr.value.data_ptr())

    relax.analysis.post_order_visit(found.mod["main"], visit)
    assert len(addresses) == 1
    assert mine.data_ptr() not in addresses


def test_tied_weights_are_one_constant():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = torch.nn.Embedding(5, 8), torch.nn.Linear(8, 5, bias=False)
            self.head.weight = self.table.weight

        def forward(self, rows):
            return self.head(self.table(rows))

    found = import_network(Tied().eval(), ROWS)
    addresses = []

    def visit(expr):
        if isinstance(expr, tvm.ir.GenericConst) and tuple(expr.value.shape) == (5, 8):
            addresses.append(expr.value.data_ptr())

    relax.analysis.post_order_visit(found.mod["main"], visit)
    assert len(set(addresses)) == 1


UNALIGNED = torch.empty(65, dtype=torch.bfloat16)[1:].view(8, 8)
TURNED = torch.empty(8, 8, dtype=torch.bfloat16).t()
SPREAD = torch.empty(8, 1, dtype=torch.bfloat16).expand(8, 8)


@pytest.mark.parametrize("weight", [UNALIGNED, TURNED, SPREAD])
def test_weights_may_lie_anywhere(weight):
    model = torch.nn.Linear(8, 8, bias=False).bfloat16().eval()
    filled = torch.linspace(-1, 1, 64).view(8, 8).bfloat16()
    weight.copy_(filled) if 0 not in weight.stride() else weight[:, :1].copy_(filled[:, :1])
    model.weight = torch.nn.Parameter(weight)
    x = torch.linspace(0, 1, 24).view(3, 8).bfloat16()
    result = tune_model(model, x, TARGET, trials_per_task=0, progress=False)
    assert result.verified
    with torch.no_grad():
        torch.testing.assert_close(result.compile()(x), model(x))
