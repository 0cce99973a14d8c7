"""Folders whose workloads have other hashes than this TVM calculates of their modules."""

import json

import dummy
import pytest
from stand_ins import Runner, quick

from mschedx.record.contents import WORKLOADS, read_contents
from mschedx.record.trials import workload_number
from mschedx.tuning import tune


def of_another_equality(path):
    """As a user of ``module_equality`` has it: of the anchor block alone."""
    dummy.tune(
        dummy.gemm(), path, "replay-trace", "random", trials=4, module_equality="anchor-block"
    )


def of_another_machine(path):
    """TVM itself does not expect hashes to be alike everywhere."""
    dummy.tune(dummy.gemm(), path, "replay-trace", "random", trials=4)
    (line,) = (path / WORKLOADS).read_text().splitlines()
    _, module = json.loads(line)
    (path / WORKLOADS).write_text(json.dumps(["123", module]) + "\n")


@pytest.mark.parametrize("made", [of_another_equality, of_another_machine])
def test_they_are_tuned_into_with_their_trials(made, tmp_path):
    made(tmp_path)
    before = (tmp_path / WORKLOADS).read_text()
    for trials in (8, 12):
        result = tune(dummy.gemm(), trials=trials, work_dir=tmp_path, **quick(Runner()))
        assert (result.measured, len(result.history)) == (4, trials)
        assert (tmp_path / WORKLOADS).read_text() == before
    again = tune(dummy.gemm(), trials=12, work_dir=tmp_path, **quick(Runner()))
    assert (again.measured, again.best.index) == (0, result.best.index)


def test_of_two_lines_the_one_with_the_hash_itself_is_taken(tmp_path):
    dummy.tune(dummy.gemm(), tmp_path, "replay-trace", "random", trials=1)
    ((own, module),) = read_contents(tmp_path).workloads
    lines = [["1", "no module"], ["123", module], [own, module]]
    (tmp_path / WORKLOADS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    contents = read_contents(tmp_path)
    assert workload_number(contents, own) == 2
    contents.workloads.pop()
    assert workload_number(contents, own) == 1
    assert workload_number(contents, "7") is None
