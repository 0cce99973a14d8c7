import torch
from tiny_networks import TARGET, two
from tvm.target import Target

from mschedx.networks.importing import import_network
from mschedx.networks.rewrites.pipeline import fuse, simplify
from mschedx.networks.tasks import tasks_of


class Chain(torch.nn.Module):
    """The same layer three times, another once."""

    def __init__(self, first=False):
        super().__init__()
        self.same = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(3))
        self.last = torch.nn.Linear(8, 4)
        self.first = torch.nn.Linear(8, 8, bias=False) if first else torch.nn.Identity()

    def forward(self, x):
        x = self.first(x)
        for layer in self.same:
            x = layer(x).relu()
        return self.last(x)


def tasks(model, inputs):
    target = Target(TARGET)
    return tasks_of(fuse(simplify(import_network(model.eval(), inputs).mod), target), target)


def test_equal_functions_are_one_task_with_its_calls():
    found = tasks(Chain(), torch.rand(2, 8))
    assert found.fixed == ()
    assert sorted(task.weight for task in found.tunable) == [1, 3]
    assert found.tunable[0].weight == 3  # the most arithmetic first
    assert found.tunable[0].flops >= 2 * 2 * 8 * 8


def test_a_task_has_the_same_key_and_workload_in_every_network():
    one, other = tasks(Chain(), torch.rand(2, 8)), tasks(Chain(first=True), torch.rand(2, 8))
    keys = {task.key: task for task in one.tunable}
    shared = [task for task in other.tunable if task.key in keys]
    assert len(shared) == 2
    from tvm.s_tir.meta_schedule.database import Workload

    for task in shared:
        assert Workload(task.mod).as_json()[0] == Workload(keys[task.key].mod).as_json()[0]


def test_reshapes_are_no_tasks():
    class Flat(torch.nn.Module):
        def forward(self, x):
            return x.reshape(6, 4)

    assert tasks(Flat(), torch.rand(2, 3, 4)).tunable == ()


def test_two_layers_are_two_tasks_with_their_epilogues():
    names = [task.name for task in tasks(*two()).tunable]
    assert len(names) == 2
    assert all("matmul" in name and "add" in name for name in names)
    assert sum("relu" in name for name in names) == 1


def test_weights_are_of_free_layout_and_vectors_are_not():
    target = Target(TARGET)
    simple = simplify(import_network(*two()).mod)
    plain, marked = fuse(simple, target), fuse(simple, target, prepack=True)
    names = {g.name_hint for g in plain.get_global_vars()}
    assert {g.name_hint for g in marked.get_global_vars()} == names
    free, fixed = (tasks_of(mod, target).tunable for mod in (marked, plain))
    assert len(free) == len(fixed) == 2
    for task in free:
        (position,) = task.mod["main"].attrs["layout_free_buffers"]
        assert len(task.mod["main"].params[int(position)].shape) == 2
    assert all("layout_free_buffers" not in task.mod["main"].attrs for task in fixed)


def test_a_parameter_that_is_an_input_somewhere_is_not_free():
    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.rand(8, 8))

        def forward(self, x, y):
            return (x @ self.weight) @ y

    target = Target(TARGET)
    mod = import_network(Both().eval(), (torch.rand(8, 8), torch.rand(8, 8))).mod
    (task,) = tasks_of(fuse(simplify(mod), target, prepack=True), target).tunable
    assert task.weight == 2
    assert "layout_free_buffers" not in task.mod["main"].attrs
