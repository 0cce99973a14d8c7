import json

import numpy as np
import pytest
import tvm
from dummy import TARGET, gemm, softmax, target
from spaces import design_spaces, matmul
from tvm.s_tir import meta_schedule as ms

from mschedx.space import Resolver, sketches


@pytest.fixture(scope="module", params=[None, "post-order-apply"], ids=["ours", "tvm"])
def found(request):
    return sketches(gemm(), target(), request.param)


@pytest.fixture(scope="module")
def located():
    """Sketches that differ in compute locations: 45 of one function."""
    return sketches(softmax(), target(), "post-order-apply")


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


def test_a_sketch_that_no_trace_is_of_is_refused(found):
    resolved = Resolver(found).resolve([found[1].schedule(found[1].design.default_config()).trace])
    assert resolved.sketch.tolist() == [1]
    with pytest.raises(ValueError, match=r"expected a sketch that some trace is of, got 0.*\[1\]"):
        resolved.of(0)


@pytest.mark.parametrize("form", [TARGET, "nvidia/nvidia-a100"])
def test_a_target_may_be_a_dict_or_a_tag(form):
    whole = tvm.target.Target(form)
    for space in (None, "post-order-apply"):
        keys = [sketch.key for sketch in sketches(gemm(), form, space)]
        assert keys == [sketch.key for sketch in sketches(gemm(), whole, space)]
        found = Resolver.of_space(gemm(), form, space).sketches
        assert [sketch.key for sketch in found] == keys


def test_traces_as_files_keep_them_lead_to_the_same(found):
    resolver = Resolver(found)
    traces = [trace for _, _, trace in drawn(found)]
    texts = [json.dumps(plain_json(trace.as_json(remove_postproc=False))) for trace in traces]
    resolved = resolver.resolve(traces)
    recorded = resolver.resolve_records([json.loads(text) for text in texts])
    assert np.array_equal(recorded.sketch, resolved.sketch)
    assert (resolved.sketch >= 0).all()
    for one, other in zip(recorded.configs, resolved.configs):
        assert np.array_equal(one, other)
    instructions, decisions = json.loads(texts[0])
    odd = [[cut(instructions), decisions], [instructions, decisions[:-1]], [[], []]]
    assert resolver.resolve_records(odd).sketch.tolist() == [-1, -1, -1]


def test_traces_as_tvm_writes_them_lead_to_the_same(found, tmp_path):
    """It writes booleans as 0 and 1."""
    wanted = drawn(found, each=1)
    database = ms.database.JSONDatabase(work_dir=str(tmp_path))
    workload = database.commit_workload(found[0].design.mod)
    for _, _, trace in wanted:
        record = ms.database.TuningRecord(trace, workload, [1.0], target(), [])
        database.commit_tuning_record(record)
    lines = (tmp_path / "database_tuning_record.json").read_text().splitlines()
    resolved = Resolver(found).resolve_records([json.loads(line)[1][0] for line in lines])
    assert resolved.sketch.tolist() == [s for s, _, _ in wanted]
    for (_, config, _), read in zip(wanted, resolved.configs):
        assert np.array_equal(config, read)


def cut(instructions):
    """Without the last instruction before the postprocs."""
    end = next(i for i, inst in enumerate(instructions) if inst[0] == "EnterPostproc")
    return instructions[: end - 1] + instructions[end:]


def plain_json(value):
    """FFI arrays and numbers as JSON has them."""
    if isinstance(value, (str, bool, float)) or value is None:
        return value
    if hasattr(value, "value"):
        return value.value
    if isinstance(value, int):
        return value
    return [plain_json(item) for item in value]


def test_compute_locations_tell_sketches_of_one_structure_apart(located):
    assert len({sketch.design.signature for sketch in located}) < len(located)
    wanted = drawn(located, each=1)
    resolved = Resolver(located).resolve([trace for _, _, trace in wanted])
    assert resolved.sketch.tolist() == list(range(len(located)))


def test_a_location_that_is_no_sketchs_resolves_to_nothing(located):
    traces = [trace for _, _, trace in drawn(located, each=1)]
    resolved = Resolver(located[1:]).resolve(traces)
    assert resolved.sketch.tolist() == [-1, *range(len(located) - 1)]
    assert resolved.configs[0] is None


def test_an_open_decision_and_another_program_resolve_to_nothing(located):
    mod = matmul(64, 64, 64)
    resolver = Resolver(sketches(mod, target(), "post-order-apply"))
    (_, _, trace), *_ = drawn(resolver.sketches)
    opened = type(trace)(trace.insts, {})
    other = drawn(located[:1])[0][2]
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
