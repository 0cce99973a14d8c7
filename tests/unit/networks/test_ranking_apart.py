"""What ranks a network's tasks in processes of its own, and what the check runs beside."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
import tvm
from tiny_networks import TARGET, two

from mschedx.measure.pool import Job, PoolConfig, carry_out
from mschedx.measure.processes import JobOutcome
from mschedx.networks import checking, choices
from mschedx.networks.importing import import_network
from mschedx.networks.rewrites.pipeline import fuse, simplify
from mschedx.networks.tasks import tasks_of
from mschedx.told import listening, pass_on

LLVM = tvm.target.Target(TARGET)


def parts(model, inputs):
    imported = import_network(model, inputs)
    fused = fuse(simplify(imported.mod), LLVM)
    return imported, fused, tasks_of(fused, LLVM)


def test_what_ranks_is_imported_before_the_processes_are_forked():
    choices.start_ranking()
    initializer = choices._initializer()
    config = PoolConfig(workers=1, cores=1, memory_bytes=1 << 30, initializer=initializer)
    # A function of this module would have the worker import it, and torch.
    job = Job(
        eval, ("[name in __import__('sys').modules for name in ('mschedx.ranking', 'torch')]",)
    )
    (outcome,) = carry_out(config, [lambda: job], kind="build", timeout_s=60)
    assert outcome.value == [True, False], outcome.error


def test_prepared_processes_choose_the_same():
    _, _, tasks = parts(*two())
    plain, prepared = (
        choices.ranked_choices(tasks.tunable, LLVM, "", prepared=prepared)
        for prepared in (False, True)
    )
    assert len(plain) > 1
    for one, other in zip(plain, prepared):
        tvm.ir.assert_structural_equal(one.mod, other.mod)
        assert one.latency_s == other.latency_s


def test_what_is_told_in_the_processes_is_told_by_task(monkeypatch):
    def here(jobs, *_):
        made = [job() for job in jobs]
        return [JobOutcome(one.function(*one.args)) for one in made[1:]] + [
            JobOutcome(error="died")
        ]

    def told(*_):
        pass_on("PackedTile does not fit block dense")
        return "no config"

    monkeypatch.setattr(choices, "on_all_cores", here)
    monkeypatch.setattr(choices, "_ranked", told)
    _, _, tasks = parts(*two())
    with listening() as heard:
        found = choices.ranked_choices(tasks.tunable, LLVM, "nothing was measured")
    first, last = (task.name for task in tasks.tunable)
    assert heard == [f"{first}: PackedTile does not fit block dense"]
    assert [one.task.name for one in found] == [first, last]
    assert [one.why.rpartition(": ")[2] for one in found] == ["no config", "died"]


def test_the_framework_runs_while_the_network_is_compiled():
    model, inputs = two()
    imported, fused, tasks = parts(model, inputs)
    compiling, threads = threading.Event(), []

    def waits(tensors):
        threads.append(threading.current_thread())
        assert compiling.wait(60)
        return [model(*tensors).detach().numpy()]

    imported = replace(imported, reference=waits)
    reference = checking.reference_of(imported, fused, tasks, LLVM, seed=0)
    compiling.set()
    expected = model(*map(torch.from_numpy, reference.arrays)).detach()
    np.testing.assert_array_equal(reference.outputs()[0], expected)
    assert reference.outputs() is reference.outputs()
    assert threads != [threading.main_thread()]
    assert len(threads) == 1


def test_what_the_framework_raises_is_raised_where_the_outputs_are_asked_for():
    imported, fused, tasks = parts(*two())

    def fails(_):
        raise ZeroDivisionError("the model's own")

    imported = replace(imported, reference=fails)
    reference = checking.reference_of(imported, fused, tasks, LLVM, seed=0)
    with pytest.raises(ZeroDivisionError, match="the model's own"):
        reference.outputs()
