from dataclasses import replace

import torch
from tiny_networks import two
from tvm import relax

from mschedx import tune_model
from mschedx.hardware import Hardware, host_target
from mschedx.networks.caches import (
    Distances,
    constant_arguments,
    weight_bytes,
    weights_are_cold,
)
from mschedx.networks.importing import import_network


def test_weights_count_once():
    model, inputs = two()
    own = sum(parameter.numel() for parameter in model.parameters()) * 4
    assert weight_bytes(import_network(model, inputs).mod) == own


def test_weights_of_few_bits_count_as_such():
    x = relax.Var("x", relax.TensorType([4], "int8"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        one = relax.const(torch.ones(4, dtype=torch.int8).numpy())
        builder.emit_func_output(builder.emit(relax.op.add(x, one)))
    assert weight_bytes(builder.get()) == 4


def test_weights_that_no_cache_holds_are_cold():
    model, inputs = two()
    mod = import_network(model, inputs).mod
    size = weight_bytes(mod)
    here = replace(Hardware.from_target(host_target()), l2_bytes=size // 2)
    assert not weights_are_cold(mod, replace(here, l3_bytes=size))
    assert weights_are_cold(mod, replace(here, l3_bytes=size - 1))


def test_what_passes_through_the_caches_is_the_weights_between_two_bounds():
    model, inputs = two()
    mod = import_network(model, inputs).mod
    size = weight_bytes(mod)
    here = Hardware.from_target(host_target())
    small = replace(here, cores=2, l2_bytes=size // 16, l3_bytes=size)
    own = 4 * (size // 16)
    assert Distances.of(mod, small) == Distances(activation=own, weight=size)
    tight = replace(small, l3_bytes=size // 8)
    assert Distances.of(mod, tight) == Distances(own, 4 * (size // 8))
    assert Distances.of(mod, replace(small, l2_bytes=size)) == Distances(4 * size, 4 * size)


def test_arguments_that_are_weights():
    model, inputs = two()
    result = tune_model(model, inputs, trials_per_task=0, progress=False)
    constant = constant_arguments(result.fused)
    assert set(constant) == {name for choice in result.programs() for name in choice.task.functions}
    assert set(constant.values()) == {frozenset({1, 2}), frozenset({1, 2})}
