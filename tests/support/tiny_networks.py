"""Tiny networks, and arguments of ``tune_model`` that take milliseconds a round."""

import torch
from stand_ins import Builder, Runner

TARGET = {"kind": "llvm", "mcpu": "haswell", "num-cores": 2}


class Two(torch.nn.Module):
    """Two linear layers with a relu between them: two tasks."""

    def __init__(self, width=8):
        super().__init__()
        self.first, self.second = torch.nn.Linear(width, width), torch.nn.Linear(width, 4)

    def forward(self, x):
        return self.second(self.first(x).relu())


class Applied(torch.nn.Module):
    """A function of one tensor as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class WeightsAlone(torch.nn.Module):
    """A network of its weights alone, as torch captures one behind a break of its graph."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(6.0).reshape(2, 3))

    def forward(self):
        return self.table * 2 + 1


def two(width=8, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Two(width).eval()
    return model, (torch.randn(3, width, generator=torch.Generator().manual_seed(seed)),)


def quick(runner=None, **more):
    """Invented latencies in TVM's own space."""
    return {
        "target": TARGET,
        "builder": Builder(),
        "runner": Runner() if runner is None else runner,
        "space": "post-order-apply",
        "strategy": "replay-trace",
        "cost_model": "none",
        "progress": False,
        **more,
    }


def relax_outputs(mod, arrays):
    """Run a Relax module unscheduled."""
    import tvm

    from mschedx.networks.machines import flat, machine_of

    machine = machine_of(tvm.compile(mod, target="llvm"), tvm.cpu())
    return [t.numpy() for t in flat(machine["main"](*map(tvm.runtime.tensor, arrays)))]
