"""benchmarks/operators.py: what it tunes is there, and its table is right."""

import math
from types import SimpleNamespace

import operators
import pytest
from tvm.tirx import PrimFunc

ROW = {
    "operator": "depthwise_14",
    "mschedx_first_us": 20.0,
    "tvm_first_us": 40.0,
    "mschedx_wall_s": 2.0,
    "tvm_wall_s": 9.0,
}


@pytest.mark.parametrize("name", operators.OPERATORS)
def test_every_operator_is_a_function(name):
    assert isinstance(operators.OPERATORS[name](), PrimFunc)


def test_a_line_has_latencies_and_their_ratio():
    text = operators.line({**ROW, "mschedx_us": 10.0, "tvm_us": 25.0})
    assert text.split() == ["depthwise_14", "10.0", "25.0", "2.50", "20.0", "40.0", "2.0", "9.0"]


@pytest.mark.parametrize(
    ("latencies", "first"), [([None, 2e-6], math.inf), ([3e-6, None], 3.0), ([], math.inf)]
)
def test_a_first_trial_that_failed_counts(latencies, first):
    history = [SimpleNamespace(latency_s=latency_s) for latency_s in latencies]
    assert operators.first_us(history) == pytest.approx(first)


def test_operators_of_a_file_are_not_tuned_again(monkeypatch, tmp_path, capsys):
    tuned = []
    row = {**ROW, "mschedx_us": 10.0, "tvm_us": 20.0}
    monkeypatch.setattr(
        operators, "compared", lambda name, _: tuned.append(name) or {**row, "operator": name}
    )
    output = str(tmp_path / "rows.jsonl")
    for names in ("max_pool_2x2", "max_pool_2x2,depthwise_14"):
        monkeypatch.setattr("sys.argv", ["operators.py", "--only", names, "--output", output])
        operators.main()
    assert tuned == ["max_pool_2x2", "depthwise_14"]
    assert "geometric mean of 2: 2.00" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["operators.py", "--trials", "8", "--output", output])
    with pytest.raises(SystemExit, match="rows made with other options"):
        operators.main()


def test_a_space_without_a_winner_has_no_ratio():
    text = operators.line({**ROW, "mschedx_us": 10.0})
    assert math.isnan(float(text.split()[2]))
    assert math.isnan(float(text.split()[3]))


def test_operators_of_which_none_ran_in_both_have_no_mean(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["operators.py", "--only", "depthwise_14"])
    monkeypatch.setattr(operators, "compared", lambda name, trials: {**ROW, "mschedx_us": 10.0})
    operators.main()
    assert "no operator ran in both" in capsys.readouterr().out


def test_unknown_names_are_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["operators.py", "--only", "depthwise_14,softmix"])
    with pytest.raises(SystemExit) as ended:
        operators.main()
    assert ended.value.code == 2
    assert "got softmix" in capsys.readouterr().err
