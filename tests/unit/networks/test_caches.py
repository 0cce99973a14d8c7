from dataclasses import replace

import torch
from tiny_networks import two
from tvm import relax

from mschedx.hardware import Hardware, host_target
from mschedx.networks.caches import rotation_bytes, weight_bytes, weights_are_cold
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
    assert rotation_bytes(mod, small) == size
    assert rotation_bytes(mod, replace(small, l3_bytes=size // 8)) == 4 * (size // 8)
    assert rotation_bytes(mod, replace(small, l2_bytes=size)) == 4 * size
