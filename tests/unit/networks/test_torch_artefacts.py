"""What was made of a captured graph: for which shapes, for which weights, and how long it stays."""

import errno
import gc
import os
import threading
import warnings
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from captured_graphs import OPTIONS, same
from tiny_networks import two

from mschedx.networks import torch_artefacts, torch_backend
from mschedx.networks.torch_backend import backend


@pytest.fixture(autouse=True)
def nothing_is_measured(invented):
    """In any of these tests."""


def test_one_artefact_for_each_shape(invented):
    model, _ = two()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    for rows in (3, 5, 7, 5, 7):
        same(compiled, model, torch.rand(rows, 8))
    assert invented == [[(3, 8)], [(5, 8)], [(7, 8)]]


def test_artefacts_are_bounded(invented):
    model, _ = two()
    compiled = torch.compile(model, backend=backend, options={**OPTIONS, "max_artefacts": 1})
    for rows in (3, 5):  # torch captures a graph of this size, then one of any
        same(compiled, model, torch.rand(rows, 8))
    with pytest.warns(UserWarning, match="max_artefacts allows no more"):
        same(compiled, model, torch.rand(7, 8))
    assert len(invented) == 2


def test_a_disk_that_is_full_may_have_room_later(monkeypatch):
    tried = []

    def tune(model, *_, **__):
        tried.append(model)
        if len(tried) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return SimpleNamespace(interrupted=False, wrong="", compile=lambda *_, **__: model)

    monkeypatch.setattr(torch_backend, "tune_model", tune)
    monkeypatch.setattr(torch_artefacts, "_PAUSE_S", 0.0)
    graph = backend(torch.fx.symbolic_trace(torch.nn.ReLU()), [torch.rand(3, 8)], options=OPTIONS)
    with pytest.warns(UserWarning, match="left to torch for now: .*No space left on device"):
        graph(torch.rand(3, 8))
    graph(torch.rand(3, 8))
    graph(torch.rand(3, 8))
    assert len(tried) == 2


def test_a_ready_shape_answers_while_another_is_tuned(monkeypatch):
    """And a second call of the shape that is tuned waits for the same artefact."""
    begun, go_on, tuned = threading.Event(), threading.Event(), []

    def tune(model, inputs, **_):
        tuned.append(len(inputs[0]))
        if len(inputs[0]) == 5:
            begun.set()
            assert go_on.wait(60)
        return SimpleNamespace(interrupted=False, wrong="", compile=lambda *_, **__: model)

    monkeypatch.setattr(torch_backend, "tune_model", tune)
    graph = backend(torch.fx.symbolic_trace(torch.nn.ReLU()), [torch.rand(3, 8)], options=OPTIONS)
    graph(torch.rand(3, 8))
    slow = [threading.Thread(target=graph, args=(torch.rand(5, 8),)) for _ in range(2)]
    ready = threading.Thread(target=graph, args=(torch.rand(3, 8),), daemon=True)
    try:
        for thread in slow:
            thread.start()
        assert begun.wait(60)
        ready.start()
        ready.join(10)
        assert not ready.is_alive()
    finally:
        go_on.set()
        for thread in slow:
            thread.join()
    assert tuned == [3, 5]


def test_weights_that_change_make_a_new_artefact(invented):
    model, inputs = two()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    same(compiled, model, *inputs)
    with torch.no_grad():
        model.second.bias.add_(1)
    same(compiled, model, *inputs)
    assert len(invented) == 2


def test_artefacts_of_earlier_weights_are_given_up(invented):
    """They could not be called again, and would count."""
    model, inputs = two()
    compiled = torch.compile(model, backend=backend, options={**OPTIONS, "max_artefacts": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for _ in range(3):
            same(compiled, model, *inputs)
            with torch.no_grad():
                model.second.bias.add_(1)
    assert len(invented) == 3


def uncounted(model):
    model.second.bias.data.add_(1)


def moved(model):
    model.second.bias.data = torch.full((4,), 3.0)


def replaced(model):
    model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()}, assign=True)


@pytest.mark.parametrize("change", [uncounted, moved, replaced])
def test_changes_that_torch_does_not_count_make_a_new_artefact(invented, change):
    model, inputs = two()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    same(compiled, model, *inputs)
    change(model)
    same(compiled, model, *inputs)
    same(compiled, model, *inputs)
    uncounted(model)
    same(compiled, model, *inputs)
    assert len(invented) == 3


class Weights:
    """Weights in memory that tells whether somebody still holds it."""

    def __init__(self, value):
        array = np.full((8, 4), value, "float32")
        self.parameter = torch.nn.Parameter(torch.from_numpy(array))
        self.memory = weakref.ref(array)


def product(options):
    """A graph of one product as the backend gets it, weights beside inputs."""
    graph = torch.fx.symbolic_trace(lambda x, weight: (x @ weight,))
    return backend(graph, [torch.rand(3, 8), Weights(0).parameter], options=options)


def called(function, weights):
    x = torch.rand(3, 8)
    with torch.no_grad():
        torch.testing.assert_close(function(x, weights.parameter)[0], x @ weights.parameter)


def each(function, weights):
    while weights:
        called(function, weights.pop(0))


def test_weights_that_are_replaced_are_let_go_with_their_artefacts(invented):
    """They could not be called again, and would count."""
    function = product({**OPTIONS, "max_artefacts": 1})
    memories = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for value in range(3):
            weights = Weights(value)
            called(function, weights)
            memories.append(weights.memory)
            del weights
            gc.collect()
            assert [memory() for memory in memories] == [None] * len(memories)
    assert len(invented) == 3


def test_weights_that_serve_one_call_each_are_not_tuned_for_for_ever(invented):
    function = product({**OPTIONS, "max_artefacts": 2})
    for value in range(20):  # two calls each
        weights = Weights(value)
        called(function, weights)
        called(function, weights)
    with pytest.warns(UserWarning, match="its last 8 sets of weights served one call each"):
        each(function, [Weights(value) for value in range(20)])
    assert len(invented) == 20 + 8


def fail(*_, **__):
    raise ValueError("not this one")


@pytest.mark.parametrize(("tune", "says"), [(None, "allows no more"), (fail, "not this one")])
def test_weights_without_an_artefact_are_let_go(monkeypatch, tune, says):
    if tune is not None:
        monkeypatch.setattr(torch_backend, "tune_model", tune)
    function, kept, weights = product({**OPTIONS, "max_artefacts": 1}), Weights(1), Weights(2)
    with pytest.warns(UserWarning, match=says):
        each(function, [kept, weights])
    memory = weights.memory
    del weights
    gc.collect()
    assert memory() is None


def test_weights_that_are_moved_make_room(invented):
    function, weights = product({**OPTIONS, "max_artefacts": 1}), Weights(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for value in range(3):
            weights.parameter.data = torch.full((8, 4), float(value))
            called(function, weights)
    assert len(invented) == 3
    assert weights.memory() is None


def test_the_bound_is_lifted_when_weights_go(invented):
    function, first, second = product({**OPTIONS, "max_artefacts": 1}), Weights(1), Weights(2)
    called(function, first)
    with pytest.warns(UserWarning, match="max_artefacts allows no more"):
        called(function, second)
    assert len(invented) == 1
    del first
    gc.collect()
    called(function, second)
    assert len(invented) == 2


def test_what_cannot_be_tuned_is_tried_once(monkeypatch):
    tried = []

    def refuse(*_, **__):
        tried.append(True)
        raise ValueError("not this one")

    monkeypatch.setattr(torch_backend, "tune_model", refuse)
    function, weights = product(OPTIONS), Weights(1)
    with pytest.warns(UserWarning, match="not this one"):
        called(function, weights)
    called(function, weights)
    assert tried == [True]


def test_weights_of_inference_mode(invented):
    with torch.inference_mode():
        model, inputs = two()
        compiled = torch.compile(model, backend=backend, options=OPTIONS)
        same(compiled, model, *inputs)
        same(compiled, model, *inputs)
    assert len(invented) == 1
