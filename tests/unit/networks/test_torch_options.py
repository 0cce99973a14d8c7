"""What torch.compile's options may be."""

from pathlib import Path

import pytest
import torch
from tiny_networks import TARGET

from mschedx import DraftVerify
from mschedx.cost import HeronXGB
from mschedx.networks.progress import NetworkProgress
from mschedx.networks.torch_backend import backend
from mschedx.networks.torch_options import BackendOptions


@pytest.mark.parametrize(
    ("options", "mode", "says"),
    [
        ({"trails_per_task": 1}, None, "got trails_per_task"),
        (None, "max-autotune", "no modes"),
        ({"target": "llvm"}, None, "num-cores of at least 1"),
        ({"trials_per_task": -1}, None, "expected trials_per_task as an int"),
        ({"max_artefacts": -1}, None, "expected max_artefacts as an int"),
        ({"cores": 0}, None, "expected cores as an int of at least 1"),
        ({"seed": "0"}, None, "expected seed as an int"),
        ({"timeout_s": 0}, None, "expected timeout_s as seconds above 0"),
        ({"strategy": DraftVerify}, None, r"got the class DraftVerify: make one, DraftVerify\(\)"),
        ({"cost_model": HeronXGB}, None, r"got the class HeronXGB"),
        ({"exact": "yes"}, None, "expected exact as a bool"),
        ({"progress": 1}, None, "expected progress as a bool or a display"),
        ({"work_dir": 1}, None, "expected work_dir as a path"),
    ],
)
def test_bad_requests(options, mode, says):
    """What is wrong with every graph is no reason to leave each of them to torch."""
    graph = torch.fx.symbolic_trace(torch.nn.ReLU())
    with pytest.raises((ValueError, TypeError), match=says):
        backend(graph, [torch.rand(2)], options=options, mode=mode)


def test_options_of_every_kind_are_read():
    options = {
        "trials_per_task": 0,
        "max_artefacts": 0,
        "cores": 1,
        "work_dir": Path("nets"),
        "strategy": DraftVerify(),
        "space": "post-order-apply",
        "cost_model": None,
        "target": TARGET,
        "timeout_s": 1,
        "progress": NetworkProgress(),
    }
    read = BackendOptions.of(options)
    assert {**vars(read), **read.tuning, "tuning": None} == {**options, "tuning": None}
