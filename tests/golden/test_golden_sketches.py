"""What sketches say of themselves, as text: a change of a rule or of the analysis shows as a diff.

Each file holds what is open and what constrains it, and one config as a loop nest. What is printed
comes from the trace and the analysis alone, so that it is the same on every machine.
"""

import numpy as np
import pytest
import tvm
from tvm.target import Target

from mschedx import workloads
from mschedx.space import sketches

ZEN4 = {"kind": "llvm", "mcpu": "znver4", "num-cores": 2}
A100 = "nvidia/nvidia-a100"

TVM = "post-order-apply"  # TVM's own space; ours where None
CONV = (1, 16, 14, 14, 32, 3, 1, 1)

# name: operator, shape, dtype, target, space, which of its sketches
DESIGNS = {
    "cpu-gemm": ("gemm", (256, 256, 256), "float32", ZEN4, None, 0),
    "cpu-gemm-int8": ("gemm", (128, 128, 128), "int8", ZEN4, None, 0),
    "cpu-gemm-bf16": ("gemm", (128, 128, 128), "bfloat16", ZEN4, None, 0),
    "cpu-batch-gemm": ("batch_gemm", (4, 64, 64, 64), "float32", ZEN4, None, 0),
    "cpu-conv2d-im2col": ("conv2d", CONV, "float32", ZEN4, None, 0),
    "cpu-conv2d-direct": ("conv2d", CONV, "float32", ZEN4, None, 1),
    "cpu-depthwise": ("depthwise_conv2d", (1, 64, 28, 28, 3, 1, 1), "float32", ZEN4, None, 0),
    "cpu-softmax": ("softmax", (64, 256), "float32", ZEN4, None, 0),
    "cpu-layer-norm": ("layer_norm", (64, 256), "float32", ZEN4, None, 0),
    "tvm-cpu-gemm": ("gemm", (128, 128, 128), "float32", ZEN4, TVM, 0),
    "tvm-cpu-conv2d": ("conv2d", CONV, "float32", ZEN4, TVM, 0),
    "cuda-gemm-f16": ("gemm", (256, 256, 256), "float16", A100, None, 0),
    "tvm-cuda-gemm": ("gemm", (128, 128, 128), "float32", A100, TVM, 0),
}


@pytest.mark.parametrize("name", DESIGNS)
def test_a_sketch_describes_itself_as_before(golden, name):
    operator, shape, dtype, target, space, number = DESIGNS[name]
    mod = tvm.IRModule({"main": workloads.make(operator, shape, dtype)})
    sketch = sketches(mod, Target(target), space)[number]
    config = sketch.sample(1, np.random.default_rng(0))[0]
    golden(f"sketches/{name}.txt", f"{sketch.describe()}\n\n{sketch.describe(config)}\n")
