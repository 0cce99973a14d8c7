"""Tune a network, export it as one file, and run that file with TVM alone.

python examples/serve_network.py --trials-per-task 4 --export network.so
python examples/serve_network.py --flags        # what a C++ compiler needs for serve_network.cc
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np


def flags() -> str:
    """Include paths and libraries of TVM's runtime, as installed for this Python."""
    import tvm
    import tvm_ffi

    runtime, ffi = Path(tvm.__file__).parent / "lib", Path(tvm_ffi.__file__).parent
    libraries = [ffi / "lib" / "libtvm_ffi.so", runtime / "libtvm_runtime.so"]
    included = f"-I{ffi / 'include'}"
    # The runtime registers the virtual machine when it is loaded, and is not named in the code.
    linked = " ".join(f"{path} -Wl,-rpath,{path.parent}" for path in libraries)
    return f"{included} -Wl,--no-as-needed {linked}"


def run(path: Path, array: np.ndarray) -> np.ndarray:
    """Load an exported network and run it; nothing here needs mschedx."""
    # By itself TVM takes half of the machine's cores; it reads these at its first kernel. More
    # threads than cores wait for one another: under a cgroup's quota, say fewer.
    os.environ.update(TVM_NUM_THREADS=str(len(os.sched_getaffinity(0))), TVM_BIND_THREADS="0")
    import tvm
    from tvm import relax

    machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    output = machine["main"](tvm.runtime.tensor(array))
    return (output if isinstance(output, tvm.runtime.Tensor) else output[0]).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials-per-task", type=int, default=4)
    parser.add_argument("--work-dir", default=None)
    parser.add_argument("--export", type=Path, default=Path("network.so"))
    parser.add_argument("--flags", action="store_true")
    args = parser.parse_args()
    if args.flags:
        print(flags())
        return

    import torch

    import mschedx
    from mschedx.models import make

    model, inputs = make("resnet18", small=True)
    result = mschedx.tune_model(
        model, inputs, trials_per_task=args.trials_per_task, work_dir=args.work_dir
    )
    path = result.export(args.export)
    with torch.no_grad():
        expected = model(*inputs).numpy()
    np.testing.assert_allclose(run(path, inputs[0].numpy()), expected, rtol=1e-4, atol=1e-5)
    print(f"{path} computes what torch does: {result.latency_s * 1e6:.0f} us by its tasks")


if __name__ == "__main__":
    main()
