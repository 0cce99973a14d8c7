"""A fact of pruner.md section 8 that speaks of real programs: what cannot be lowered.

Facts 1 to 5 are in tests/unit/cost/analytical/test_published.py, 5 and 7 of the form that ranks in
tests/unit/cost/test_psa.py, 7's exactness in tests/unit/space/analysis/test_exactness.py, 8 and 9
in tests/unit/search/test_draft_verify.py, 11 to 15 in tests/unit/cost/learned. Fact 10 asks for
measured latencies: on GPUs those that are kept (tests/unit/benchmarks/test_gpu_ranking.py), on CPUs
they make a figure for each shape (docs/benchmarks/ranking.md). Fact 16 is the benchmark itself
(docs/benchmarks/tvm_space.md).
"""

import numpy as np
import pytest
import tvm
from analysed import draws
from tvm.target import Target

from mschedx import workloads
from mschedx.bench.replay import OwnPrograms
from mschedx.cost.psa import PSAModel
from mschedx.search.base import TaskSearch
from mschedx.search.draft_verify import DraftThenVerify, DraftVerifyConfig
from mschedx.search.growing import searched
from mschedx.search.points import SketchSet
from mschedx.search.scoring import NoScorer
from mschedx.space import sketches

CONFIG = DraftVerifyConfig(population=128, drafts=32, parents=16, batch=8, adapt=False)
CPU = Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
SPACES = {
    "vectors around tensorised blocks": ("int8", CPU),
    "threads and shared memory": ("float32", Target("nvidia/nvidia-a100")),
}


class Noted(PSAModel):
    """Keeps what it is asked and what it answers."""

    def __init__(self):
        super().__init__()
        self.asked, self.scores = [], []

    def score(self, task, asked):
        found = super().score(task, asked)
        self.asked += asked
        self.scores.append(found)
        return found


def lowers(sketch, configs):
    """Which configs TVM lowers, as the analysis says."""
    return np.all([c.holds(configs) for c in sketch.analysis.constraints], axis=0)


@pytest.mark.parametrize("name", SPACES)
def test_fact_6_what_cannot_be_lowered_is_never_drafted_and_all_scores_are_finite(name):
    """A state without a program is no point of the space, so that no score stands for it."""
    dtype, on = SPACES[name]
    mod = tvm.IRModule({"main": workloads.make("gemm", (64, 64, 32), dtype)})
    found = sketches(mod, on, "post-order-apply")
    space = SketchSet([searched(one) for one in found])
    known = {one.key: one for one in found}
    assert np.mean([lowers(one, draws(one.design, 64)).mean() for one in found]) < 0.9

    model = Noted()
    search = DraftThenVerify(model, CONFIG)
    rng = np.random.default_rng(0)
    task = TaskSearch(space, search, NoScorer(), OwnPrograms(), trials=16, batch=8, rng=rng)
    while batch := task.next_batch():
        task.tell(np.linspace(1e-5, 2e-5, len(batch)))

    assert all(lowers(known[sketch.key], configs).all() for sketch, configs in model.asked)
    assert sum(len(configs) for _, configs in model.asked) >= CONFIG.population
    scores = np.concatenate(model.scores)
    assert np.isfinite(scores).all()
    assert (scores > 0).all()
    drafts = search._drafts.points
    assert len(drafts) == CONFIG.drafts
    for position in range(0, len(drafts), 6):
        sketch = space.sketches[drafts.sketch[position]]
        tvm.compile(sketch.schedule(space.config(drafts, position)).mod, target=on)
