"""The data set that the shipped CPU model is trained on, and its training.

    python benchmarks/pretraining.py collect --output cpu.jsonl [--trials 96] [--space NAME]
    python benchmarks/pretraining.py train cpu.jsonl --output cpu.safetensors

The shapes are drawn at random, odd sizes among them; none is one of those that
``benchmarks/pruner.py`` judges. Collecting goes on where it was cut short.
"""

from __future__ import annotations

import argparse

import numpy as np
from pruner import JUDGED

from mschedx.bench.collect import collect
from mschedx.bench.pretrain import pretrain
from mschedx.hardware import host_target
from mschedx.workloads import Workload


def _any(rng: np.random.Generator, low: int, high: int) -> int:
    """A size between two bounds, even in its logarithm, a multiple of 16 three times in four."""
    size = round(np.exp(rng.uniform(np.log(low), np.log(high))))
    return max(16, size // 16 * 16) if rng.random() < 0.75 else size


def _gemm(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(_any(rng, 48, 1536) for _ in range(3))


def _batch_gemm(rng: np.random.Generator) -> tuple[int, ...]:
    return (int(rng.integers(2, 17)), *(_any(rng, 32, 256) for _ in range(3)))


def _conv2d(rng: np.random.Generator) -> tuple[int, ...]:
    image = int(rng.choice([7, 14, 20, 28, 40, 56]))
    channels, filters = (int(rng.choice([24, 32, 64, 96, 128, 192, 256])) for _ in range(2))
    kernel = int(rng.choice([1, 3, 3, 5]))
    return (1, channels, image, image, filters, kernel, int(rng.choice([1, 1, 2])), kernel // 2)


def _conv2d_nhwc(rng: np.random.Generator) -> tuple[int, ...]:
    batch, channels, height, width, filters, kernel, stride, padding = _conv2d(rng)
    return (batch, height, width, channels, filters, kernel, stride, padding)


def _depthwise(rng: np.random.Generator) -> tuple[int, ...]:
    image = int(rng.choice([14, 28, 40, 56, 112]))
    channels = int(rng.choice([32, 64, 96, 192, 384]))
    return (1, channels, image, image, 3, int(rng.choice([1, 2])), 1)


def _rows(rng: np.random.Generator) -> tuple[int, ...]:
    return (_any(rng, 64, 2048), _any(rng, 96, 2048))


_DRAWN = (
    ("gemm", _gemm, "float32", 10),
    ("gemm_nt", _gemm, "float32", 4),
    ("batch_gemm", _batch_gemm, "float32", 4),
    ("batch_gemm_nt", _batch_gemm, "float32", 3),
    ("conv2d", _conv2d, "float32", 14),
    ("conv2d_nhwc", _conv2d_nhwc, "float32", 5),
    ("depthwise_conv2d", _depthwise, "float32", 4),
    ("gemm", _gemm, "int8", 3),
    ("conv2d_nhwc", _conv2d_nhwc, "int8", 2),
    ("mean", _rows, "float32", 2),
    ("softmax", _rows, "float32", 2),
    ("layer_norm", _rows, "float32", 2),
)


def training_workloads(seed: int = 2) -> list[Workload]:
    """The workloads, the same for a seed; kinds in turn, so that a part has all of them."""
    rng = np.random.default_rng(seed)
    judged = {(one.op, one.shape, one.dtype) for one in JUDGED}
    kinds = []
    for op, draw, dtype, count in _DRAWN:
        shapes: list[tuple[int, ...]] = []
        while len(shapes) < count:
            shape = draw(rng)
            if shape not in shapes and (op, shape, dtype) not in judged:
                shapes.append(shape)
        kinds.append([
            Workload(f"{op}_{'x'.join(map(str, shape))}_{dtype}", op, shape, dtype)
            for shape in shapes
        ])  # fmt: skip
    longest = max(len(kind) for kind in kinds)
    return [kind[i] for i in range(longest) for kind in kinds if i < len(kind)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    collecting = actions.add_parser("collect")
    collecting.add_argument("--output", required=True)
    collecting.add_argument("--trials", type=int, default=96)
    collecting.add_argument("--space")
    training = actions.add_parser("train")
    training.add_argument("datasets", nargs="+")
    training.add_argument("--output", required=True)
    arguments = parser.parse_args()
    if arguments.action == "collect":
        collect(
            training_workloads(),
            host_target(),
            arguments.output,
            trials=arguments.trials,
            space=arguments.space,
            say=lambda text: print(text, flush=True),
        )
        return
    for row in pretrain(arguments.datasets, arguments.output):
        print(row)


if __name__ == "__main__":
    main()
