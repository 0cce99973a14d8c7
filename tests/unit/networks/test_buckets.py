import json

import numpy as np
import pytest
import torch
import tvm
from tiny_networks import quick, two

import mschedx
from mschedx.networks.buckets import tune_buckets
from mschedx.networks.dimensions import parse_buckets
from mschedx.networks.errors import DynamicShape, NetworkError
from mschedx.networks.importing import read_network

X0 = {"x[0]": (1, 4, 8)}


class Attending(torch.nn.Module):
    """Rows look at all rows that the mask does not hide."""

    def forward(self, x, mask):
        scores = x @ x.transpose(1, 2) + (mask.to(x.dtype) - 1)[:, None, :] * 1e9
        return {"rows": torch.softmax(scores, -1) @ x, "sum": (x * mask[..., None]).sum(1)}


class Mean(torch.nn.Module):
    def forward(self, x):
        return x.mean(0)


class Twice(torch.nn.Module):
    """What follows from a size: of an output, and of an input."""

    def forward(self, x, y):
        return torch.cat([x + 1, y], 0), y * 2


class Scaled(torch.nn.Module):
    """A number among the arguments, and any number of tensors."""

    def forward(self, x, k=2, *more):
        return x * k


def dynamic(model, inputs, **shapes):
    return torch.export.export(model, inputs, dynamic_shapes=shapes)


def untuned(**more):
    return {"trials_per_task": 0, "progress": False, "target": quick()["target"], **more}


def test_changed_weights_are_said(tmp_path):
    model, inputs = two()
    found = tune_buckets(model, inputs, {"x[0]": (1, 3)}, **untuned())
    with torch.no_grad():
        model.first.weight.mul_(2)
    for call in (found.compile, lambda: found.export(tmp_path)):
        with pytest.warns(UserWarning, match=r"1 weights have changed.*tune_buckets again") as said:
            call()
        assert len(said) == 1


def test_sizes_between_are_computed_as_the_next_larger_one():
    model, inputs = two()
    found = tune_buckets(model, inputs, X0, **untuned())
    assert list(found.results) == [(1,), (4,), (8,)]
    assert found.pads == {"x[0]": True}
    assert found.notes == ()
    assert all(result.verified for result in found.results.values())
    call = found.compile()
    for size in (1, 2, 3, 4, 5, 8):
        x = torch.randn(size, 8)
        with torch.no_grad():
            expected = model(x)
        torch.testing.assert_close(call(x), expected)
        np.testing.assert_allclose(call(x.numpy()), expected.numpy(), rtol=1e-5, atol=1e-6)
        out = call(tvm.runtime.tensor(x.numpy()))
        np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    for size in (0, 9):
        with pytest.raises(ValueError, match=rf"size of x\[0\] from 1 to 8, got {size}"):
            call(torch.randn(size, 8))
    with pytest.raises(ValueError, match=r"expected input 0 with shape \[3, 8\].*got \[3, 7\]"):
        call(torch.randn(3, 7))
    with pytest.raises(ValueError, match="at least 1 axes"):
        call(torch.tensor(1.0))
    with pytest.raises(TypeError, match="no array"):
        call(1.5)
    assert "x0=8" in repr(found)
    assert "padded" in repr(found)


def test_sizes_that_come_after_the_time_are_not_measured():
    model, inputs = two()
    options = quick(verify=False, trials_per_task=2, timeout_s=1e-3, pad=False)
    found = tune_buckets(model, inputs, X0, **options)
    assert [result.measured > 0 for result in found.results.values()] == [True, False, False]
    (note,) = found.notes
    assert note.startswith("time was up before x0=4, x0=8: nothing was measured for these")


def test_what_padding_would_change_is_served_in_its_sizes_alone():
    found = tune_buckets(Mean().eval(), (torch.randn(4, 16),), {"x[0]": (4, 8)}, **untuned())
    assert found.pads == {"x[0]": False}
    (note,) = found.notes
    assert "x[0] is not padded, only the sizes 4, 8 are served" in note
    call = found.compile()
    x = torch.randn(8, 16)
    torch.testing.assert_close(call(x), x.mean(0))
    with pytest.raises(ValueError, match=r"among 4, 8, got 6, which is not padded"):
        call(x[:6])


def test_whoever_asks_gets_padding_or_none():
    inputs = (torch.randn(4, 16),)
    found = tune_buckets(Mean().eval(), inputs, {"x[0]": (8,)}, pad=True, **untuned())
    torch.testing.assert_close(found.compile()(inputs[0]), inputs[0].sum(0) / 8)
    found = tune_buckets(*two(), {"x[0]": (8,)}, pad=False, **untuned())
    with pytest.raises(ValueError, match="among 8, got 3"):
        found.compile()(torch.randn(3, 8))


def test_two_dimensions_and_a_mask_that_hides_the_padding():
    model = Attending().eval()
    inputs = {"x": torch.randn(2, 4, 8), "mask": torch.ones(2, 4, dtype=torch.int32)}
    asked = {"x[0], mask[0]": (2,), "x[1], mask[1]": (4, 8)}
    found = tune_buckets(model, inputs, asked, **untuned())
    assert found.pads == {"x[0], mask[0]": True, "x[1], mask[1]": True}
    x, mask = torch.randn(1, 6, 8), torch.ones(1, 6, dtype=torch.int32)
    expected, outputs = model(x, mask), found.compile()(x=x, mask=mask)
    assert set(outputs) == {"rows", "sum"}
    torch.testing.assert_close(outputs["rows"], expected["rows"])
    torch.testing.assert_close(outputs["sum"], expected["sum"])
    with pytest.raises(ValueError, match="expected one size for x"):
        found.compile()(x=x, mask=mask[:, :5])


def test_sizes_that_follow_from_a_dimension_follow_it():
    n = torch.export.Dim("n", min=1, max=64)
    inputs = (torch.randn(4, 3), torch.randn(8, 3))
    program = dynamic(Twice().eval(), inputs, x={0: n}, y={0: 2 * n})
    found = tune_buckets(program, None, {"x[0]": (2, 4)}, **untuned())
    assert found.pads == {"x[0]": False}  # the second half begins elsewhere
    whole, twice = found.compile()(*inputs)
    torch.testing.assert_close(whole, torch.cat([inputs[0] + 1, inputs[1]]))
    torch.testing.assert_close(twice, inputs[1] * 2)
    with pytest.raises(ValueError, match=r"expected input 1 with shape \[8, 3\], for x\[0\] = 4"):
        found.compile()(inputs[0], inputs[1][:7])


def test_a_relax_module_is_compared_with_itself_unscheduled():
    model, inputs = two()
    rows = torch.export.Dim("rows")
    mod = read_network(dynamic(model, inputs, x={0: rows})).mod
    found = tune_buckets(mod, None, {"x[0]": (2, 6)}, **untuned())
    assert found.pads == {"x[0]": True}
    with torch.no_grad():
        torch.testing.assert_close(found.compile()(*inputs), (model(*inputs),))


def test_a_comparison_that_cannot_be_made_costs_no_result(monkeypatch):
    def broken(*_):
        raise RuntimeError("no such operator")

    monkeypatch.setattr("mschedx.networks.buckets._unscheduled", broken)
    model, inputs = two()
    mod = read_network(dynamic(model, inputs, x={0: torch.export.Dim("rows")})).mod
    found = tune_buckets(mod, None, {"x[0]": (2, 6)}, **untuned())
    assert len(found.results) == 2
    assert found.pads == {"x[0]": False}
    assert "RuntimeError: no such operator" in found.notes[0]


def test_padded_outputs_without_axes_keep_their_shape():
    class Sum(torch.nn.Module):
        def forward(self, x):
            return x.sum()

    found = tune_buckets(Sum().eval(), torch.ones(4, 3), {"x[0]": (8,)}, pad=True, **untuned())
    rows = np.ones((5, 3), np.float32)
    for given in (rows, torch.from_numpy(rows), tvm.runtime.tensor(rows)):
        output = found.compile()(given)
        assert tuple(output.shape) == ()
        assert float(np.asarray(output.numpy() if hasattr(output, "numpy") else output)) == 15


def test_an_onnx_file_with_a_named_size(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    found = tune_buckets(tmp_path / "net.onnx", None, {"x[0]": (2, 8)}, **untuned())
    x = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    np.testing.assert_allclose(found.compile()(x), x @ weight, rtol=1e-5)


def test_shared_tasks_are_measured_once_and_files_are_written(tmp_path):
    class Fixed(torch.nn.Module):
        """One product of the dynamic input, one of another."""

        def forward(self, x, y):
            return (x + 1), torch.softmax(y @ y, -1)

    options = quick(work_dir=tmp_path / "w", trials_per_task=2)
    inputs = (torch.randn(4, 16), torch.randn(16, 16))
    found = tune_buckets(Fixed().eval(), inputs, {"x[0]": (4, 8)}, verify=False, **options)
    first, second = found.results.values()
    assert first.measured > 0
    keys = [{choice.task.key for choice in one.tasks} for one in (first, second)]
    fresh = sum(choice.task.key not in keys[0] for choice in second.tasks)
    assert second.measured <= 2 * fresh < first.measured
    assert found.measured == first.measured + second.measured
    paths = found.export(tmp_path / "libraries")
    assert [path.name for path in paths.values()] == ["x0=4.so", "x0=8.so"]
    assert all(path.exists() for path in paths.values())


def test_sizes_may_be_numpy_s():
    found = parse_buckets({"x[0]": 2 ** np.arange(3)})
    assert found == {"x[0]": (1, 2, 4)}
    assert {type(size) for size in found["x[0]"]} == {int}


def test_all_sizes_have_one_work_dir_which_is_named():
    model, inputs = two()
    found = tune_buckets(model, inputs, {"x[0]": (1, 2)}, verify=False, **untuned())
    assert {result.work_dir for result in found.results.values()} == {found.work_dir}
    assert str(found.work_dir) in repr(found)
    manifest = json.loads((found.work_dir / "mschedx_manifest.json").read_text())
    assert set(manifest["networks"]) == {"Two x0=1", "Two x0=2"}


def test_what_cannot_be_asked_for():
    model, inputs = two()
    with pytest.raises(TypeError, match="mapping of dimensions to sizes"):
        tune_buckets(model, inputs)
    with pytest.raises(ValueError, match=r"as input\[axis\]"):
        tune_buckets(model, inputs, {"x": (1, 2)})
    for sizes in ((), (0, 4), (2.5,), 4, "48", (True, 4), np.array([1.0, 2.0])):
        with pytest.raises(ValueError, match=r"positive sizes for x\[0\]"):
            tune_buckets(model, inputs, {"x[0]": sizes})
    with pytest.raises(NetworkError, match="inputs of the network among x, got z"):
        tune_buckets(model, inputs, {"z[0]": (1, 2)})
    with pytest.raises(NetworkError, match=r"x\[2\] to be a size of a tensor, x is a tensor of 2"):
        tune_buckets(model, inputs, {"x[2]": (1, 2)})
    for name in ("k", "more"):
        with pytest.raises(NetworkError, match=f"{name} is no tensor by itself"):
            tune_buckets(Scaled().eval(), (*inputs, 2, inputs[0]), {f"{name}[0]": (1, 2)})
    with pytest.raises(NetworkError, match=r"x\[1\] of any size"):
        tune_buckets(model, inputs, {"x[1]": (8, 16)})
    with pytest.raises(TypeError, match="no fix_shapes"):
        tune_buckets(model, inputs, X0, fix_shapes=True)
    with pytest.raises(ValueError, match="at most 64 combinations of sizes, got 65"):
        tune_buckets(model, inputs, {"x[0]": range(1, 66)})
    with pytest.raises(ValueError, match="timeout_s"):
        tune_buckets(model, inputs, X0, timeout_s=-1)


def test_programs_whose_dimensions_are_not_as_asked():
    model, inputs = two()
    with pytest.raises(NetworkError, match=r"x\[0\] to be dynamic.*dimensions none"):
        tune_buckets(torch.export.export(model, inputs), None, X0)
    rows = torch.export.Dim("rows")
    program = dynamic(
        Attending().eval(),
        (torch.randn(2, 4, 8), torch.ones(2, 4)),
        x={0: rows, 1: torch.export.Dim("n")},
        mask={0: rows, 1: torch.export.Dim.AUTO},
    )
    with pytest.raises(NetworkError, match=r"got none for x\[1\], mask\[1\]"):
        tune_buckets(program, None, {"x[0]": (2,)})
    with pytest.raises(NetworkError, match="are one size of the network"):
        tune_buckets(program, None, {"x[0]": (2,), "mask[0]": (2,), "x[1]": (4,)})
    with pytest.raises(DynamicShape, match="tune_buckets"):
        mschedx.tune_model(program)


def test_arguments_that_are_no_tensors_do_not_fix_the_sizes():
    model, example = Scaled().eval(), {"x": torch.randn(1, 8), "k": 3}
    found = tune_buckets(model, example, {"x[0]": (2, 4)}, **untuned())
    x = torch.randn(3, 8)
    torch.testing.assert_close(found.compile()(x=x, k=3), x * 3)
    rows = torch.export.Dim("rows")
    program = torch.export.export(
        model, (torch.randn(4, 8), 3), dynamic_shapes={"x": {0: rows}, "k": None}
    )
    with pytest.raises(DynamicShape, match=r"x\[0\] ="):
        mschedx.tune_model(program)


class Added(torch.nn.Module):
    """Any number of arguments, by place and by name, and a pair."""

    def forward(self, x, pair=None, *more, **named):
        first, second = pair or (0, 0)
        return x * named.get("scale", 1) + sum(more) + first * second


def test_arguments_without_a_name_of_their_own_are_called_as_the_network_is():
    x, row = torch.randn(3, 8), torch.randn(8)
    example = (torch.randn(2, 8), (row, row), row, row)
    found = tune_buckets(Added().eval(), example, {"x[0]": (2, 4)}, **untuned())
    torch.testing.assert_close(found.compile()(x, *example[1:]), x + 2 * row + row * row)

    example = {"x": torch.randn(2, 8), "scale": torch.randn(8)}
    with pytest.raises(NetworkError, match=r"got scale within \*\*named"):
        tune_buckets(Added().eval(), example, {"x[0]": (2, 4)})


def test_an_example_of_one_row_does_not_fix_the_rows():
    model, _ = two()
    found = tune_buckets(model, torch.randn(1, 8), {"x[0]": (1, 2)}, **untuned())
    x = torch.randn(2, 8)
    with torch.no_grad():
        torch.testing.assert_close(found.compile()(x), model(x))


def test_padding_is_tried_in_half_precision():
    model, (x,) = two()
    model, x = model.bfloat16(), x.bfloat16()
    found = tune_buckets(model, x, {"x[0]": (1, 4)}, **untuned())
    assert found.pads == {"x[0]": True}
    with torch.no_grad():
        torch.testing.assert_close(found.compile()(x), model(x), rtol=2**-6, atol=2**-6)


def test_divisors_are_padded_with_zeros():
    """What is divided by them is cut off again."""

    class Quotients(torch.nn.Module):
        def forward(self, x, n):
            return x // n

    inputs = (torch.arange(6), torch.arange(6) + 1)
    found = tune_buckets(Quotients().eval(), inputs, {"x[0], n[0]": (4, 8)}, **untuned())
    assert found.pads == {"x[0], n[0]": True}
    assert all(result.verified for result in found.results.values())
    x, n = torch.arange(5), torch.arange(5) + 2
    torch.testing.assert_close(found.compile()(x, n), x // n)


def test_a_reference_that_fails_leaves_the_sizes_unpadded():
    class Picked(torch.nn.Module):
        """Places that lie beyond fewer rows."""

        def forward(self, x, places):
            return x[places]

    inputs = (torch.randn(8, 3), torch.tensor([7, 0]))
    found = tune_buckets(Picked().eval(), inputs, {"x[0]": (4, 8)}, **untuned())
    assert found.pads == {"x[0]": False}
    assert "IndexError" in found.notes[0]
