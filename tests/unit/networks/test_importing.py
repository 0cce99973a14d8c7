import numpy as np
import pytest
import torch
import tvm
from tiny_networks import relax_outputs, two
from tvm import relax

from mschedx.networks import onnx as networks_of_onnx
from mschedx.networks import translation
from mschedx.networks.errors import DynamicShape, NetworkError, UnsupportedOperators
from mschedx.networks.importing import import_network
from mschedx.workloads import make


class Mixed(torch.nn.Module):
    """Keyword arguments, one that is no tensor, and outputs in a dict and a tuple."""

    def forward(self, a, *, b, k=2):
        return {"sum": a + b * k, "more": (a - b,)}


class Buffered(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(2))

    def forward(self, x):
        self.count.add_(1)
        return x + self.count


class Singular(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x)[1]


def test_a_module_knows_its_inputs_and_its_outputs():
    model, inputs = two()
    found = import_network(model, inputs)
    assert found.signature.describe() == "the network takes x: float32 [3, 8]"
    (output,) = found.reference(list(inputs))
    np.testing.assert_array_equal(output, model(*inputs).detach().numpy())


def test_nested_arguments_and_outputs_keep_their_structure():
    a, b = torch.ones(2), torch.full((2,), 3.0)
    found = import_network(Mixed().eval(), {"a": a, "b": b, "k": 5})
    assert [p.shape for p in found.signature.inputs] == [(2,), (2,)]
    assert found.signature.tensors((), {"b": b, "k": 5, "a": a}) == [a, b]
    assert found.signature.unflatten([1, 2]) == {"sum": 1, "more": (2,)}
    with pytest.raises(ValueError, match="was 5 when the network was exported"):
        found.signature.tensors((), {"a": a, "b": b, "k": 6})
    with pytest.raises(TypeError, match="the network takes"):
        found.signature.tensors((a,), {})
    np.testing.assert_array_equal(found.reference([a, b])[0], [16.0, 16.0])


def test_weights_that_are_written_to_are_noticed():
    model, inputs = two()
    found = import_network(model, inputs)
    assert found.changed() == []
    with torch.no_grad():
        model.second.bias.add_(1)
    assert found.changed() == ["second.bias"]


class Branching(torch.nn.Module):
    def forward(self, x):
        return 2 * x if x.sum() > 0 else x - 1


class Unknown(torch.nn.Module):
    def forward(self, x):
        return torch.special.i0(x) + torch.hypot(x, x) + torch.logcumsumexp(x, -1).relu()


def test_weights_of_inference_mode_are_imported():
    """Torch counts no writes to them, and exports them in inference mode alone."""
    with torch.inference_mode():
        model, inputs = two()
    found = import_network(model, inputs)
    assert found.changed() == []
    (output,) = relax_outputs(found.mod, [inputs[0].numpy()])
    np.testing.assert_allclose(output, model(*inputs).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_all_unknown_operators_are_named_at_once():
    with pytest.raises(UnsupportedOperators, match=r"torch\.compile") as caught:
        import_network(Unknown().eval(), torch.rand(2, 3))
    assert caught.value.operators == ("hypot.default", "i0.default", "logcumsumexp.default")


def test_all_unknown_operators_of_an_onnx_file_are_named_at_once():
    from onnx import TensorProto, helper

    one, *others = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]) for name in "xyz"
    )
    nodes = [
        helper.make_node(op, ["x"], [out], name, domain="own")
        for op, out, name in (("B", "y", "second"), ("A", "z", ""))
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", [one], others), opset_imports=opsets)
    with pytest.raises(
        UnsupportedOperators, match=r"A, B of this network; .* split the file"
    ) as caught:
        import_network(model)
    assert caught.value.operators == ("A", "B")
    assert "split the file at B 'second' (output 'y'), A (output 'z') (onnx" in str(caught.value)


def test_of_many_unknown_onnx_nodes_the_first_are_named():
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("x0", TensorProto.FLOAT, [4])
    last = helper.make_tensor_value_info("x10", TensorProto.FLOAT, [4])
    nodes = [helper.make_node("B", [f"x{n}"], [f"x{n + 1}"], domain="own") for n in range(10)]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    graph = helper.make_graph(nodes, "g", [given], [last])
    with pytest.raises(UnsupportedOperators, match=r"B \(output 'x8'\), 2 more \(onnx"):
        import_network(helper.make_model(graph, opset_imports=opsets))


@pytest.mark.parametrize(
    ("kind", "more", "attributes"),
    [("Upsample", [3], {}), ("Conv", [3, 3, 3, 3], {"auto_pad": "SAME"})],
)
def test_uses_of_onnx_operators_that_the_importer_cannot_read_are_refused(
    kind, more, attributes, capsys
):
    """Its errors are of many kinds, and name no node."""
    from onnx import TensorProto, helper, numpy_helper

    shape = [1, 3, 8, 8][: 3 if kind == "Upsample" else 4]
    given, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy")
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "w"], ["y"], "here", **attributes)],
        "g",
        [given],
        [out],
        [numpy_helper.from_array(np.ones(more, np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)])
    said = rf"cannot import the operators {kind} of this .* split the file at {kind} 'here' "
    with pytest.raises(UnsupportedOperators, match=said) as caught:
        import_network(model)
    assert caught.value.operators == (kind,)
    assert capsys.readouterr().out == "", "the importer prints what it was given"


def test_an_unknown_onnx_operator_inside_a_branch_is_named():
    from onnx import TensorProto, helper

    info = helper.make_tensor_value_info
    branches = {}
    for branch, kind, domain in (("then_branch", "Relu", ""), ("else_branch", "Unknown", "own")):
        inside = [helper.make_node(kind, ["x"], [branch], f"in {branch}", domain=domain)]
        branches[branch] = helper.make_graph(
            inside, branch, [], [info(branch, TensorProto.FLOAT, [4])]
        )
    graph = helper.make_graph(
        [helper.make_node("If", ["b"], ["y"], "choice", **branches)],
        "g",
        [info("b", TensorProto.BOOL, []), info("x", TensorProto.FLOAT, [4])],
        [info("y", TensorProto.FLOAT, [4])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    with pytest.raises(UnsupportedOperators, match="Unknown 'in else_branch' ") as caught:
        import_network(model)
    assert caught.value.operators == ("Unknown",)


@pytest.mark.parametrize("unsupported", [translation._unsupported, networks_of_onnx._unsupported])
def test_an_importers_error_without_a_text_is_named(unsupported):
    assert unsupported(NotImplementedError()) == ([], "NotImplementedError()")


@pytest.mark.parametrize(
    ("model", "inputs", "error", "says"),
    [
        (Singular().eval(), torch.rand(3, 3), UnsupportedOperators, "_linalg_svd"),
        (torch.nn.Dropout(), torch.rand(3), NetworkError, "call model.eval"),
        (torch.nn.ReLU().eval(), None, NetworkError, "expected example_inputs"),
        (Buffered().eval(), torch.rand(2), NetworkError, "writes to count"),
        (Branching().eval(), torch.rand(2), NetworkError, "data-dependent .*backend='mschedx'"),
        (torch.nn.Linear(4, 4).eval(), torch.rand(3, 5), NetworkError, r"export .*\[3, 5\]"),
        (7, None, TypeError, "expected a torch.nn.Module"),
        ("absent.onnx", None, FileNotFoundError, "absent.onnx"),
        (tvm.IRModule({"main": make("gemm", (8, 8, 8))}), None, NetworkError, "mschedx.tune"),
    ],
)
def test_bad_input_is_told_what_to_do(model, inputs, error, says):
    with pytest.raises(error, match=says):
        import_network(model, inputs)


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        (torch.rand(3, 9), r"float32 of shape \[3, 8\], got float32 of shape \[3, 9\]"),
        (torch.rand(3), r"shape \[3, 8\], got float32 of shape \[3\]"),
        (np.zeros((3, 8)), r"got float64 of shape \[3, 8\]"),
        ((torch.rand(3, 8), torch.rand(3, 8)), "expected 1 example_inputs.* got 2"),
    ],
)
def test_examples_that_are_not_what_a_network_takes_are_refused(examples, says):
    model = torch.nn.Linear(8, 4).eval()
    program = torch.export.export(model, (torch.rand(3, 8),))
    mod = import_network(program).mod
    with pytest.raises(NetworkError, match=says):
        import_network(mod, examples)
    if not isinstance(examples, tuple | np.ndarray):
        with pytest.raises(NetworkError, match=says):
            import_network(program, examples)


def test_dynamic_dimensions_are_named_and_can_be_fixed():
    model, inputs = two()
    sizes = ({0: torch.export.Dim("rows", min=2, max=64)},)
    exported = torch.export.export(model, inputs, dynamic_shapes=sizes)
    with pytest.raises(DynamicShape, match=r"x\[0\] = .*fix_shapes=True") as caught:
        import_network(exported)
    assert len(caught.value.dimensions) == 1
    found = import_network(exported, torch.rand(5, 8), fix_shapes=True)
    assert found.signature.inputs[0].shape == (5, 8)


def test_sizes_that_only_follow_from_others_cannot_be_fixed():
    rows = relax.TensorType([tvm.tirx.Var("n", "int64") * 2, 8], "float32")
    x = relax.Var("x", rows)
    function = relax.Function([x], x, rows)
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    with pytest.raises(NetworkError, match=r"x\[0\] = n \* .*2.* follows from one that is none"):
        import_network(mod, torch.rand(6, 8), fix_shapes=True)


def test_examples_that_differ_in_a_size_are_refused():
    rows = relax.TensorType([tvm.tirx.Var("n", "int64"), 8], "float32")
    ids, mask = relax.Var("ids", rows), relax.Var("mask", rows)
    function = relax.Function([ids, mask], ids, rows)
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    given = (torch.rand(4, 8), torch.rand(8, 8))
    with pytest.raises(NetworkError, match=r"n is 4 in ids\[0\] and 8 in mask\[0\]"):
        import_network(mod, given, fix_shapes=True)
    found = import_network(mod, (given[0], given[0]), fix_shapes=True)
    assert [one.shape for one in found.signature.inputs] == [(4, 8), (4, 8)]
    with pytest.raises(DynamicShape):
        import_network(mod, given)


def test_a_relax_module_needs_no_examples():
    model, inputs = two()
    mod = import_network(model, inputs).mod
    found = import_network(mod)
    assert found.reference is None
    assert found.signature.inputs[0].shape == (3, 8)
    with pytest.raises(NetworkError, match="by position"):
        import_network(mod, {"x": inputs[0]})


def test_relax_inputs_must_be_tensors():
    builder = relax.BlockBuilder()
    shape = relax.Var("s", relax.ShapeType([2, 3]))
    with builder.function("main", [shape]):
        builder.emit_func_output(builder.emit(relax.op.zeros(shape, "float32")))
    with pytest.raises(NetworkError, match="expected tensors as the inputs"):
        import_network(builder.get())


def test_an_onnx_file(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Relu", ["y"], ["z"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    found = import_network(path)
    assert found.name == "net"
    assert [p.shape for p in found.signature.inputs] == [(2, 3)]
    (tmp_path / "no.onnx").write_bytes(b"\xff not a model")
    with pytest.raises(NetworkError, match="expected an ONNX model"):
        import_network(tmp_path / "no.onnx")


def test_a_network_may_return_a_weight():
    class Weighted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((2,), 3.0, dtype=torch.bfloat16))

        def forward(self, x):
            return x * 2, self.weight

    found = import_network(Weighted().eval(), torch.ones(2))
    twice, weight = found.reference([torch.ones(2)])
    np.testing.assert_array_equal(twice, [2, 2])
    np.testing.assert_array_equal(weight.astype(np.float32), [3, 3])


class Constants(torch.nn.Module):
    """Outputs that are no tensors, between those that are."""

    def forward(self, x, k=2):
        return {"n": 7, "y": x * k, "more": (None, 2.5, x + 1), "rows": x.shape[0]}


def test_outputs_that_are_constants_are_kept_apart():
    x = torch.rand(3, 2)
    found = import_network(Constants().eval(), (x, 3))
    assert found.signature.returned == {0: 7, 2: None, 3: 2.5, 5: 3}
    thrice, more = relax_outputs(found.mod, [x.numpy()])
    np.testing.assert_allclose(thrice, x * 3, rtol=1e-6)
    np.testing.assert_allclose(more, x + 1, rtol=1e-6)
    for one, other in zip(found.reference([x]), (thrice, more), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    whole = found.signature.unflatten(["y", "last"])
    assert whole == {"n": 7, "y": "y", "more": (None, 2.5, "last"), "rows": 3}


def test_outputs_that_are_neither_constants_nor_tensors_are_named():
    rows = torch.export.Dim("rows", min=2, max=64)
    shapes = {"x": {0: rows}, "k": None}
    program = torch.export.export(Constants().eval(), (torch.rand(3, 2), 2), dynamic_shapes=shapes)
    with pytest.raises(NetworkError, match=r"got output\['rows'\], a number that depends"):
        import_network(program, (torch.rand(3, 2), 2), fix_shapes=True)

    class Nothing(torch.nn.Module):
        def forward(self, x):
            return None, 3

    with pytest.raises(NetworkError, match=r"returns a tensor, got output\[0\] = None, output\[1"):
        import_network(Nothing().eval(), torch.rand(2))


def test_outputs_of_a_relax_module_must_be_tensors():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([2, 3], "float32"))
    with builder.function("main", [x]):
        builder.emit_func_output(relax.Tuple([x, relax.ShapeExpr([2, 3])]))
    with pytest.raises(NetworkError, match=r"got output\[1\]: "):
        import_network(builder.get())
