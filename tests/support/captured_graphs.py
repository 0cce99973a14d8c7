"""Graphs that torch captures, tuned with next to no trials."""

import torch

OPTIONS = {"trials_per_task": 1}


def same(compiled, model, *inputs):
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs), model(*inputs), rtol=1e-5, atol=1e-5)
