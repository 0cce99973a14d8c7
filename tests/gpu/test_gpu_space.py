"""Sampled configs of the tensor-core space launch on the device and are right."""

import pytest

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    "name", ["f16", "bf16", "int8", "f16_1000", "bf16_1000", "int8_1000", "conv2d"]
)
def test_sampled_configs_are_right(checker, name):
    from gpu_checks import Case, sampled, sketches_of, workload

    mod = workload(name)
    expected, relative = checker.reference(mod)
    schedules = sampled(sketches_of(mod, checker.target), 8, seed=1)
    cases = {str(i): Case(sch, expected, relative) for i, sch in enumerate(schedules)}
    wrong = [record for record in checker.run(cases) if not record["ok"]]
    assert not wrong


def test_tuning_ends_with_a_verified_winner(checker, tmp_path):
    import mschedx
    from mschedx.workloads import make

    result = mschedx.tune(
        make("gemm", (256, 256, 256), "float16"),
        checker.target,
        trials=8,
        work_dir=tmp_path,
        progress=False,
    )
    assert result.verified
    assert not result.failures
