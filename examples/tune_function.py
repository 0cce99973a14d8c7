"""Tune a function of your own: by one call, then by TVM's ``tune_tir`` with arguments changed.

    python examples/tune_function.py --trials 32 --work-dir dense

Of either the records stay in the folder: called again, the first goes on from them.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.script import tirx as T

import mschedx
from mschedx.hardware import host_target

N = 512


# A layer: x weight + bias, and of that the part above 0.
@T.prim_func(s_tir=True)
def dense(
    x: T.Buffer((N, N), "float32"),
    weight: T.Buffer((N, N), "float32"),
    bias: T.Buffer((N,), "float32"),
    out: T.Buffer((N, N), "float32"),
):
    product = T.sblock_alloc_buffer((N, N))
    for i, j, k in T.grid(N, N, N):
        with T.sblock("product"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                product[vi, vj] = T.float32(0)
            product[vi, vj] = product[vi, vj] + x[vi, vk] * weight[vk, vj]
    for i, j in T.grid(N, N):
        with T.sblock("out"):
            vi, vj = T.axis.remap("SS", [i, j])
            out[vi, vj] = T.max(product[vi, vj] + bias[vj], T.float32(0))


def by_one_call(
    target: tvm.target.Target, work_dir: Path, trials: int, arrays: list[np.ndarray]
) -> np.ndarray:
    """Tune, check and compile; the kernel takes NumPy arrays."""
    result = mschedx.tune(dense, target, trials=trials, work_dir=work_dir)
    print(result)
    out = np.empty((N, N), np.float32)
    result.compile()(*arrays, out)
    return out


def by_tune_tir(
    target: tvm.target.Target, work_dir: Path, trials: int, arrays: list[np.ndarray]
) -> np.ndarray:
    """Tune as TVM does, with mschedx's parts; what comes out is TVM's."""
    database = ms.tune_tir(
        dense,
        target,
        str(work_dir),
        max_trials_global=trials,
        space=mschedx.space.for_target(target),  # mschedx from here
        strategy=mschedx.DraftVerify(),
        cost_model=mschedx.cost.HeronXGB(),
        builder=mschedx.LocalBuilder(),
        runner=mschedx.LocalRunner(),
        seed=0,
    )
    schedule = ms.tir_integration.compile_tir(database, dense, target)
    if schedule is None:
        raise RuntimeError(f"expected a trial that ran, got none of {trials}")
    given = [tvm.runtime.tensor(array) for array in (*arrays, np.empty((N, N), np.float32))]
    tvm.compile(schedule.mod, target)(*given)
    return given[-1].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--work-dir", type=Path, default=None)
    args = parser.parse_args()

    work_dir = args.work_dir or Path(tempfile.mkdtemp(prefix="mschedx-dense-"))
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in ((N, N), (N, N), (N,))]
    x, weight, bias = arrays
    expected = np.maximum(x @ weight + bias, 0)
    for name, tune in (("one_call", by_one_call), ("tune_tir", by_tune_tir)):
        found = tune(host_target(), work_dir / name, args.trials, arrays)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
        print(f"{name}: equal to NumPy, records in {work_dir / name}")


if __name__ == "__main__":
    main()
