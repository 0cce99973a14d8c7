"""NumPy's and torch's form of a workload: the yardsticks beside a tuned kernel.

Each gives a function without arguments that computes the workload once, on inputs made once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mschedx.measure.timing import numpy_dtype
from mschedx.workloads import Workload, find

Call = Callable[[], Any]


def random_input(shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Small random values; bfloat16 as TVM has it in NumPy, from ml_dtypes."""
    if dtype in ("int8", "uint8"):
        return rng.integers(0, 16, shape).astype(dtype)
    return rng.random(shape, dtype=np.float32).astype(numpy_dtype(dtype))


def inputs(workload: Workload, seed: int = 0) -> list[np.ndarray]:
    """Random inputs in the order of the PrimFunc's parameters, without the output."""
    rng = np.random.default_rng(seed)
    params = list(workload.func().params)[:-1]
    return [random_input(tuple(int(d) for d in p.shape), str(p.dtype), rng) for p in params]


def numpy_call(workload: Workload, arrays: list[np.ndarray]) -> Call | None:
    """NumPy's form; None where it has none (convolutions) or none worth timing (integers)."""
    if workload.dtype not in ("float32", "float64"):
        return None
    a = arrays[0]
    b = arrays[1] if len(arrays) > 1 else None
    if b is not None and workload.op in ("gemm", "batch_gemm", "gemv"):
        return lambda: a @ b
    if b is not None and workload.op in ("gemm_nt", "batch_gemm_nt"):
        return lambda: a @ np.swapaxes(b, -1, -2)
    if workload.op == "softmax":
        return lambda: _softmax(a)
    if workload.op == "layer_norm":
        return lambda: _layer_norm(*arrays)
    if workload.op == "mean":
        return lambda: a.mean(axis=1)
    return None


def _softmax(x: np.ndarray) -> np.ndarray:
    power = np.exp(x - x.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)


def _layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    deviation = x - x.mean(axis=1, keepdims=True)
    variance = (deviation * deviation).mean(axis=1, keepdims=True)
    return deviation / np.sqrt(variance + 1e-5) * gamma + beta


def torch_call(workload: Workload, arrays: list[np.ndarray]) -> Call | None:
    """Torch's form, in eager mode on the CPU; None where it has none."""
    import torch

    if workload.dtype == "bfloat16":  # which torch does not know in NumPy
        tensors = [torch.from_numpy(x.astype(np.float32)).bfloat16() for x in arrays]
    else:
        tensors = [torch.from_numpy(x) for x in arrays]
    if workload.dtype == "int8":
        return _torch_int8(workload, tensors)
    if workload.dtype == "float16":
        return None
    call = _torch_float(workload, tensors)
    if call is None:
        return None

    def run() -> Any:
        with torch.inference_mode():
            return call()

    return run


def _torch_int8(workload: Workload, tensors: list[Any]) -> Call | None:
    import torch

    if workload.op in ("conv2d_nhwc", "conv2d_blocked"):
        return _torch_quantized_conv(workload, tensors)
    if workload.op != "gemm":
        return None
    a, b = (x.to(torch.int8) for x in tensors)
    return lambda: torch._int_mm(a, b)  # pyright: ignore[reportPrivateImportUsage]


def _torch_quantized_conv(workload: Workload, tensors: list[Any]) -> Call:
    """OneDNN's u8 x s8 convolution; its weights are packed beforehand and its sums become u8."""
    import torch

    *_, stride, pad = find(workload.op).complete(workload.shape)
    image, kernel = _plain_channels(workload.op, tensors)
    # The integers are given; public quantize_per_tensor starts from floats.
    quantized = torch._make_per_tensor_quantized_tensor  # pyright: ignore[reportPrivateImportUsage]
    image, kernel = quantized(image, 1.0, 0), quantized(kernel.contiguous(), 1.0, 0)
    ops = torch.ops.quantized
    engine, torch.backends.quantized.engine = torch.backends.quantized.engine, "onednn"
    packed = ops.conv2d_prepack(kernel, None, [stride] * 2, [pad] * 2, [1, 1], 1)
    torch.backends.quantized.engine = engine
    return lambda: ops.conv2d(image, packed, 1.0, 0)


def _torch_float(workload: Workload, x: list[Any]) -> Call | None:
    import torch
    import torch.nn.functional as f

    s = find(workload.op).complete(workload.shape)
    calls: dict[str, Call] = {
        "gemm": lambda: x[0] @ x[1],
        "gemm_nt": lambda: x[0] @ x[1].T,
        "batch_gemm": lambda: x[0] @ x[1],
        "batch_gemm_nt": lambda: x[0] @ x[1].transpose(1, 2),
        "gemv": lambda: x[0] @ x[1],
        "conv1d": lambda: f.conv1d(x[0], x[1], stride=s[5], padding=s[6]),
        "conv2d": lambda: f.conv2d(
            x[0], x[1], stride=s[6], padding=s[7], dilation=s[8], groups=s[9]
        ),
        "conv2d_bias_relu": lambda: f.conv2d(x[0], x[1], x[2], stride=s[6], padding=s[7]).relu_(),
        "conv3d": lambda: f.conv3d(x[0], x[1], stride=s[7], padding=s[8]),
        "depthwise_conv2d": lambda: f.conv2d(x[0], x[1], stride=s[5], padding=s[6], groups=s[1]),
        "conv2d_transpose": lambda: f.conv_transpose2d(x[0], x[1], stride=s[6], padding=s[7]),
        "softmax": lambda: torch.softmax(x[0], 1),
        "layer_norm": lambda: f.layer_norm(x[0], (s[1],), x[1], x[2]),
        "mean": lambda: x[0].mean(1),
        "gelu": lambda: f.gelu(x[0]),
        "bias_gelu": lambda: f.gelu(x[0] + x[1], approximate="tanh"),
    }
    if workload.op in ("conv2d_nhwc", "conv2d_blocked"):
        image, kernel = _plain_channels(workload.op, x)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        return lambda: f.conv2d(image, kernel, stride=s[6], padding=s[7])
    return calls.get(workload.op)


def _plain_channels(op: str, x: list[Any]) -> tuple[Any, Any]:
    """Image as NCHW that lies as NHWC in memory (torch's channels_last), and weights as OIHW."""
    if op == "conv2d_nhwc":
        return x[0].permute(0, 3, 1, 2), x[1].permute(3, 2, 0, 1)
    image = x[0].permute(0, 2, 3, 1, 4).flatten(3).permute(0, 3, 1, 2)
    return image, x[1].permute(0, 5, 1, 4, 2, 3).flatten(2, 3).flatten(0, 1)
