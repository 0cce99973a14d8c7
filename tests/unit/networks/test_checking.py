"""Outputs of a network and of its reference, compared."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_networks import Applied, quick
from tvm.target import Target

from mschedx import compat, tune_model
from mschedx.hardware import host
from mschedx.measure.provenance import Provenance
from mschedx.networks import checking
from mschedx.networks.checking import Check, compare_outputs, compared, random_arrays
from mschedx.networks.errors import NetworkError
from mschedx.networks.importing import import_network

HOST = Target("llvm")
ONES = np.ones((2, 3), np.float32)


def outputs(*arrays):
    return lambda: list(arrays)


def failing(error):
    def call():
        raise error

    return call


@pytest.mark.parametrize(
    ("found", "expected", "reason"),
    [
        ([ONES], [ONES, ONES], "1 outputs, not 2"),
        ([ONES, ONES[:1]], [ONES, ONES], r"output 1 has shape (1, 3), not (2, 3)"),
        ([ONES.astype(np.int32)], [ONES.astype(np.int64)], "output 0 is of int32, not int64"),
        ([ONES], [ONES.astype(np.float64)], "output 0 is of float32, not float64"),
        ([ONES > 0], [(ONES > 0).astype(np.uint8)], "output 0 is of bool, not uint8"),
        ([ONES + 1], [ONES], "output 0: 6 of 6 values differ"),
        ([ONES + 1j], [ONES - 1j], "output 0: 6 of 12 values differ"),
    ],
)
def test_outputs_that_differ_are_wrong(found, expected, reason):
    check = compare_outputs(found, expected, 1e-3)
    assert check.wrong
    assert reason in check.reason


@pytest.mark.filterwarnings("error")
def test_complex_numbers_are_compared_whole():
    check = compare_outputs([ONES + 1j], [ONES + 1.001j], 0.01)
    assert not check.wrong
    assert check.max_error == pytest.approx(0.001, rel=1e-3)


def test_it_tells_of_the_output_that_is_nearest_to_its_tolerance():
    large, small = 1000 * ONES, 0.001 * ONES
    check = compare_outputs([large + 0.1, 1.005 * small], [large, small], 0.01)
    assert not check.wrong
    assert check.max_error == pytest.approx(5e-6, rel=0.1)
    assert check.tolerance == pytest.approx(1e-5)


def test_an_error_of_the_reference_is_none_of_the_networks():
    check = compared(failing(AssertionError("unreached")), failing(IndexError("far")), (), HOST)
    assert (check.done, check.wrong) == (False, False)
    assert check.reason == "the reference fails on these inputs: IndexError: far"


def test_a_network_that_cannot_be_run_is_wrong():
    check = compared(failing(RuntimeError("no such function")), outputs(ONES), (), HOST)
    assert check.wrong
    assert check.reason == "it cannot be run: no such function"


def test_nothing_is_run_for_a_device_that_is_not_here(monkeypatch):
    monkeypatch.setattr(checking, "why_not_here", lambda target: "there is no such device here")
    check = compared(failing(AssertionError()), failing(AssertionError()), (), HOST)
    assert (check.done, check.reason) == (False, "there is no such device here")


ELSEWHERE = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "num-cores": 4}


@pytest.mark.skipif(compat.architecture_of(HOST) == "aarch64", reason="its code runs here")
def test_a_network_for_another_architecture_is_not_run_and_not_wrong():
    options = quick(target=ELSEWHERE, space=None, cost_model=None)
    model, x = Applied(torch.relu).eval(), torch.rand(4, 8)
    result = tune_model(model, (x,), trials_per_task=0, **options)
    assert (result.verified, result.wrong) == (False, "")
    assert any("the target is for aarch64" in note for note in result.notes)


def test_a_network_for_a_cpu_that_has_more_is_not_run_in_this_process(monkeypatch):
    monkeypatch.setattr(host, "system_cpu", lambda: "haswell")
    target = Target({"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2})
    check = compared(failing(AssertionError()), failing(AssertionError()), (), target)
    assert not check.done
    assert re.search(r"this CPU \(haswell\) lacks avx512bw, .* and \d more", check.reason)


def test_a_network_for_a_cpu_that_has_more_is_not_profiled_in_this_process(monkeypatch):
    """Its code might end the process."""
    model, x = Applied(torch.relu).eval(), torch.rand(4, 8)
    result = tune_model(model, (x,), trials_per_task=0, **quick(space=None, cost_model=None))
    monkeypatch.setattr(host, "system_cpu", lambda: "haswell")
    target = Target({"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2})
    with pytest.raises(NetworkError, match=r"lacks avx512bw.*profile the network on a machine"):
        replace(result, target=target).profile(x)


def test_an_integer_output_that_rounding_may_have_decided_is_not_wrong():
    places = np.arange(100)
    check = compare_outputs([places[::-1]], [places], 1e-3, [Provenance.DECIDED])
    assert not check.done
    assert not check.wrong
    assert "output 0: not compared, since rounding may have decided them: 100 of" in check.reason


def test_an_output_that_is_shown_to_be_wrong_counts_before_one_of_which_nothing_is_shown():
    places = np.arange(100)
    follows = [Provenance.DECIDED, Provenance.COMPUTED]
    check = compare_outputs([places[::-1], ONES + 1], [places, ONES], 1e-3, follows)
    assert check.wrong
    assert check.reason.startswith("output 1: 6 of 6 values differ")


def test_outputs_without_finite_values_are_not_checked():
    nothing = np.full((2, 3), np.nan, np.float32)
    check = compare_outputs([nothing, ONES], [nothing, ONES], 1e-3)
    assert not check.done
    assert "output 0: 6 of 6 values are NaN or infinite" in check.reason


def test_a_number_where_nan_is_expected_shows_nothing():
    expected = ONES.copy()
    expected[0, 0] = np.nan
    check = compare_outputs([ONES], [expected], 1e-3)
    assert (check.done, check.wrong) == (False, False)
    assert "output 0: 1 of 6 values are numbers where NaN is expected" in check.reason
    check = compare_outputs([ONES + np.eye(2, 3, 1, np.float32)], [expected], 1e-3)
    assert check.wrong, "of those that are numbers one differs"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_where_one_is_expected_is_wrong(value):
    found, expected = ONES.copy(), ONES.copy()
    found[0, 0], expected[1, 1] = value, np.nan
    assert compare_outputs([found], [expected], 1e-3).wrong
    assert compare_outputs([np.full_like(ONES, np.inf)], [-np.inf * ONES], 1e-3).wrong


@pytest.mark.parametrize(
    ("check", "said", "verified", "wrong"),
    [
        (Check(True, False, 1.0, 2.0, ""), [], True, ""),
        (
            Check(True, True, 3.0, 2.0, "off"),
            ["the network's output is not ours: off"],
            False,
            "off",
        ),
        (
            Check(False, False, 0.0, 0.0, "no device"),
            ["the network's output could not be compared: no device"],
            False,
            "",
        ),
    ],
)
def test_a_check_says_what_users_are_told_of_it(check, said, verified, wrong):
    assert check.right is verified
    assert check.said("ours") == said
    numbers = {"max_error": check.max_error, "tolerance": check.tolerance}
    assert check.fields() == {"verified": verified, "wrong": wrong, **numbers}


RUNNING = {
    "sum": lambda x: torch.cumsum(x, 1),
    "sum and a task": lambda x: torch.cumsum(x, 1) * 2,
    "product": lambda x: torch.cumprod(x, 1),
}


@pytest.mark.parametrize("name", RUNNING)
def test_what_functions_round_that_are_no_tasks_is_no_error(name):
    """TVM adds up in float32, one after the other; torch in float64."""
    model, x = Applied(RUNNING[name]).eval(), torch.rand(4, 4096)
    result = tune_model(model, (x,), trials_per_task=0, **quick(space=None, cost_model=None))
    assert not result.wrong
    assert result.verified, result.notes
    assert result.tolerance < 0.05


class Quotients(torch.nn.Module):
    def forward(self, x, n):
        return x // n, x % n


SIXES, DIVISORS = torch.arange(6), torch.arange(6) + 1


def checked(model, *inputs, **options):
    return tune_model(model, inputs, trials_per_task=1, **quick(**options))


def test_integers_of_the_check_are_those_of_the_examples():
    """Others may be no place of a table, and 0 divides nothing."""
    table = checked(torch.nn.Embedding(1, 4).eval(), torch.zeros(3, dtype=torch.int64))
    assert table.verified
    result = checked(Quotients().eval(), SIXES, DIVISORS)
    assert result.verified
    assert result.profile(runs=1).operators
    divisors = random_arrays(result.signature, np.random.default_rng(0))[1]
    np.testing.assert_array_equal(divisors, DIVISORS)
    shorter = (result.signature.inputs[0], replace(result.signature.inputs[1], shape=(3,)))
    drawn = random_arrays(replace(result.signature, inputs=shorter), np.random.default_rng(0))[1]
    assert drawn.shape == (3,)
    assert set(drawn.tolist()) <= set(DIVISORS.tolist())


def test_a_reference_that_fails_costs_no_result():
    class Zeros(torch.nn.Module):
        """A divisor that is 0 for all that the check draws."""

        def forward(self, x):
            return x.long() // (x > 9).long()

    result = checked(Zeros().eval(), torch.full((6,), 10.0))
    assert not result.verified
    assert result.wrong == ""
    assert result.notes[-1].startswith("the network's output could not be compared: the reference")
    assert "ZeroDivisionError" in result.notes[-1]


def test_a_divisor_of_zero_ends_no_process():
    """A kernel cannot raise torch's error: the rest of the output is right."""
    result = checked(Quotients().eval(), SIXES, DIVISORS)
    divisors = DIVISORS.clone()
    divisors[2] = 0
    quotients, remainders = result.compile()(SIXES, divisors)
    known = [0, 1, 3, 4, 5]
    assert torch.equal(quotients[known], (SIXES // DIVISORS)[known])
    assert torch.equal(remainders[known], (SIXES % DIVISORS)[known])
    assert (quotients[2], remainders[2]) == (0, 0)


def test_a_module_that_divides_integers_is_checked_and_profiled():
    """A Relax module has no framework that would refuse the inputs first."""
    result = checked(import_network(Quotients().eval(), (SIXES, DIVISORS)).mod)
    assert result.verified
    assert result.profile(runs=1).operators


def test_why_a_network_cannot_be_run_is_said_in_the_result(network, monkeypatch):
    def broken(*_):
        raise RuntimeError("no such function\nin the machine")

    monkeypatch.setattr("mschedx.networks.checking.run", broken)
    result = tune_model(*network, trials_per_task=1, **quick())
    assert result.wrong == "it cannot be run: no such function"
