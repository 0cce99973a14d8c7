"""Real candidates, built and run, through ``ms.tune_tir`` with TVM's own calling sequence."""

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir import meta_schedule as ms

from mschedx import compat
from mschedx.cost import PAM, FelixConfig, FelixMLP, HeronXGB
from mschedx.measure import LocalBuilder, LocalRunner
from mschedx.search import ConstrainedEvolution, DraftVerify, GradientDescent
from mschedx.space.target import for_target

SEARCHES = {
    "heron": lambda: (ConstrainedEvolution(population=50, generations=2), HeronXGB()),
    "pruner": lambda: (DraftVerify(), PAM()),
    "felix": lambda: (
        GradientDescent(n_seeds=6, n_steps=4, samples=16),
        FelixMLP(FelixConfig(members=2, width=16, steps=20, later_steps=10)),
    ),
}


def gemm(m, n, k):
    a = te.placeholder((m, k), name="A")
    b = te.placeholder((k, n), name="B")
    r = te.reduce_axis((0, k), name="k")
    c = te.compute((m, n), lambda i, j: te.sum(a[i, r] * b[r, j], axis=r), name="C")
    return te.create_prim_func([a, b, c])


def host():
    target = tvm.target.Target.from_device("cpu")
    return tvm.target.Target(
        {"kind": "llvm", "mcpu": target.attrs["mcpu"], "num-cores": compat.available_cores()}
    )


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("space", ["post-order-apply", "ours"])
def test_a_gemm_tunes_and_compiles_with_stock_tvm(space, search, tmp_path):
    """What was tuned is what NumPy computes (felix.md, fact 15)."""
    mod, target = gemm(128, 128, 128), host()
    strategy, cost_model = SEARCHES[search]()
    with compat.only_intrinsics(target):
        database = ms.tune_tir(
            mod,
            target,
            str(tmp_path),
            max_trials_global=12,
            num_trials_per_iter=6,
            builder=LocalBuilder(),
            runner=LocalRunner(),
            space=for_target(target) if space == "ours" else space,
            strategy=strategy,
            cost_model=cost_model,
            seed=0,
        )
    # The records load in a fresh stock database, and the best compiles and is right.
    stored = ms.database.JSONDatabase(work_dir=str(tmp_path))
    assert len(database) == len(stored) == 12
    schedule = ms.tir_integration.compile_tir(stored, mod, target)
    assert schedule is not None
    function = tvm.compile(schedule.mod, target=target)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((128, 128)).astype("float32") for _ in range(2))
    arguments = [tvm.runtime.tensor(x) for x in (a, b, np.zeros_like(a))]
    function(*arguments)
    # Sums of 128 products of order one, in another order.
    np.testing.assert_allclose(arguments[2].numpy(), a @ b, rtol=1e-4, atol=1e-4)
