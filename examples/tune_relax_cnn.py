"""Tune a whole torch model: export, import to Relax, tune, compile, compare with torch.

    python examples/tune_relax_cnn.py --trials 64 --work-dir cnn

Only the model, the arguments of ``tune_relax`` marked below, the target and the two helpers of
``mschedx.compat`` are mschedx's; the rest is TVM's usual way.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
import torch
import tvm
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program
from tvm.s_tir import meta_schedule as ms

from mschedx import compat
from mschedx.cost import HeronXGB
from mschedx.hardware import host_target
from mschedx.measure import LocalBuilder, LocalRunner
from mschedx.models import make
from mschedx.search import DraftVerify
from mschedx.space import for_target


def import_model(model: torch.nn.Module, image: torch.Tensor) -> tvm.IRModule:
    """Bring the model to Relax with its weights bound, so that they fold where they can."""
    with torch.no_grad():
        exported = torch.export.export(model, (image,))
    return from_exported_program(exported, keep_params_as_input=False)


def tune_model(
    mod: tvm.IRModule, target: tvm.target.Target, work_dir: str, trials: int, per_task: int
) -> ms.database.Database:
    """Measure `trials` candidates over all operators of the model."""
    with target:
        operators = relax.get_pipeline("zero")(mod)  # legalise and fuse: one PrimFunc per operator
    with compat.only_intrinsics(target):
        return ms.relax_integration.tune_relax(
            operators,
            {},
            target,
            work_dir,
            max_trials_global=trials,
            max_trials_per_task=per_task,
            num_trials_per_iter=16,
            space=for_target(target),  # mschedx from here
            strategy=DraftVerify(),
            cost_model=HeronXGB(),
            builder=LocalBuilder(),
            runner=LocalRunner(),
            seed=0,
        )


def run_model(executable: tvm.runtime.Executable, image: torch.Tensor) -> np.ndarray:
    """Run the compiled model on the CPU with all cores."""

    def run() -> np.ndarray:
        machine = relax.VirtualMachine(executable, tvm.cpu())
        output = machine["main"](tvm.runtime.tensor(image.numpy()))
        return (output if isinstance(output, tvm.runtime.Tensor) else output[0]).numpy()

    return compat.on_cores(None, run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--work-dir", default=None)
    args = parser.parse_args()

    model, (image,) = make("resnet18", small=True)
    mod = import_model(model, image)
    target = host_target()
    work_dir = args.work_dir or tempfile.mkdtemp(prefix="mschedx-cnn-")
    database = tune_model(mod, target, work_dir, args.trials, max(4, args.trials // 8))
    executable = ms.relax_integration.compile_relax(database, mod, target, params=None)
    found = run_model(executable, image)
    with torch.no_grad():
        expected = model(image).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    print(f"equal to torch: largest difference {np.abs(found - expected).max():.2g}")
    print(f"records in {work_dir}")


if __name__ == "__main__":
    main()
