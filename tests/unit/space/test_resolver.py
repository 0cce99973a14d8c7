import numpy as np
import pytest
from dummy import gemm, softmax, target
from spaces import design_spaces, matmul
from tvm.s_tir import meta_schedule as ms

from mschedx.space import Resolver, sketches


@pytest.fixture(scope="module", params=[None, "post-order-apply"], ids=["ours", "tvm"])
def found(request):
    return sketches(gemm(), target(), request.param)


def drawn(sketches, each=3):
    """Position, config and materialised trace of some configs of every sketch."""
    rng = np.random.default_rng(0)
    return [
        (s, config, sketch.schedule(config).trace)
        for s, sketch in enumerate(sketches)
        for config in sketch.sample(each, rng)
    ]


def test_every_trace_leads_to_its_sketch_and_config_and_back(found):
    resolver = Resolver(found)
    wanted = drawn(found)
    resolved = resolver.resolve([trace for _, _, trace in wanted])
    assert resolved.sketch.tolist() == [s for s, _, _ in wanted]
    for (s, config, _), read in zip(wanted, resolved.configs):
        assert np.array_equal(read, config)
        back = resolver.resolve([resolver.trace(s, config)])
        assert (back.sketch[0], back.configs[0].tolist()) == (s, config.tolist())
    positions, configs = resolved.of(1)
    assert positions.tolist() == [3, 4, 5]
    assert np.array_equal(configs, [config for s, config, _ in wanted if s == 1])


def test_compute_locations_tell_sketches_of_one_structure_apart():
    found = sketches(softmax(), target(), "post-order-apply")
    assert len({sketch.design.signature for sketch in found}) < len(found)
    wanted = drawn(found, each=1)
    resolved = Resolver(found).resolve([trace for _, _, trace in wanted])
    assert resolved.sketch.tolist() == list(range(len(found)))


def test_a_location_that_is_no_sketchs_resolves_to_nothing():
    found = sketches(softmax(), target(), "post-order-apply")
    traces = [trace for _, _, trace in drawn(found, each=1)]
    resolved = Resolver(found[1:]).resolve(traces)
    assert resolved.sketch.tolist() == [-1, *range(len(found) - 1)]
    assert resolved.configs[0] is None


def test_an_open_decision_and_another_program_resolve_to_nothing():
    mod = matmul(64, 64, 64)
    resolver = Resolver(sketches(mod, target(), "post-order-apply"))
    (_, _, trace), *_ = drawn(resolver.sketches)
    opened = type(trace)(trace.insts, {})
    other = drawn(sketches(softmax(), target(), "post-order-apply")[:1])[0][2]
    assert resolver.resolve([opened, other]).sketch.tolist() == [-1, -1]


def test_a_decision_that_its_instruction_would_not_return_resolves_to_nothing():
    resolver = Resolver(sketches(gemm(), target(), "post-order-apply"))
    (_, config, trace), *_ = drawn(resolver.sketches)
    sketch = resolver.sketches[0]
    tile = next(t for t in sketch.design.tables if len(t.columns) > 1)
    decisions = dict(trace.decisions.items())
    # 3 does not divide 64.
    decisions[trace.insts[tile.instruction]] = [3] * len(tile.columns)
    wrong = type(trace)(trace.insts, decisions)
    resolved = resolver.resolve([wrong, trace])
    assert resolved.sketch.tolist() == [-1, 0]
    assert np.array_equal(resolved.configs[1], config)


def test_a_space_that_cannot_be_opened_resolves_nothing():
    mod = matmul(16, 16, 16)
    (trace,) = [schedule.trace for schedule in design_spaces(mod, target())][:1]

    def nothing(sch):
        return []

    empty = Resolver.of_space(mod, target(), ms.space_generator.ScheduleFn(nothing))
    assert empty.sketches == ()
    assert empty.resolve([trace]).sketch.tolist() == [-1]
    whole = Resolver.of_space(mod, target(), "post-order-apply")
    assert whole.resolve([trace]).sketch.tolist() != [-1]
