"""The data set that the shipped CPU model is trained on, and its training.

    python benchmarks/pretraining.py collect --output cpu.jsonl [--seed 2] [--trials 96]
    python benchmarks/pretraining.py crossvalidate cpu.jsonl ...
    python benchmarks/pretraining.py train cpu.jsonl ... --output cpu.safetensors --accuracy 0.73
    python benchmarks/pretraining.py train other.jsonl ... --start cpu --output other.safetensors
    python benchmarks/pretraining.py skill other.jsonl ...

The shapes are drawn at random, odd sizes among them; none is one of those that
``benchmarks/pruner.py`` judges. Collecting goes on where it was cut short.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pruner import JUDGED

from mschedx.bench.collect import collect
from mschedx.bench.opened_tasks import OpenedTask, open_task
from mschedx.bench.pretrain import fitted, new_model, pretrain
from mschedx.cost.consensus import WEIGHT
from mschedx.cost.learned.metrics import pairwise_accuracy, rank_correlation
from mschedx.cost.learned.pam import PAMModel
from mschedx.cost.learned.shipped import weights_path
from mschedx.cost.psa import PSAModel
from mschedx.hardware import host_target
from mschedx.record.dataset import read_datasets
from mschedx.search.blend import Scale
from mschedx.workloads import Workload

EPOCHS = 40
KS = (1, 2, 4, 8)


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


@dataclass(frozen=True)
class Opened:
    """A task with PSA's opinion of its trials.

    Parameters
    ----------
    task : OpenedTask
    prior : float64 array [n]
        ln(1 / PSA's seconds), sketch after sketch.
    latency_s : float64 array [n]
        Ten times the slowest for a trial that failed.
    """

    task: OpenedTask
    prior: np.ndarray
    latency_s: np.ndarray


def open_all(paths: list[str]) -> list[Opened]:
    """Read data sets, with PSA's opinion beside the features."""
    found = []
    for trials in read_datasets(paths, print):
        task = open_task(trials)
        if task.ran < 2:
            continue
        psa = PSAModel()
        found_s = [psa.latency_s(None, one.sketch, one.configs) for one in task.measured]
        prior, seconds = -np.log(np.concatenate(found_s)), task.latency_s
        slowest = seconds[np.isfinite(seconds)].max()
        found.append(Opened(task, prior, np.where(np.isfinite(seconds), seconds, 10 * slowest)))
    return found


def crossvalidate(paths: list[str], models: list[str], epochs: int, folds: int = 3) -> None:
    """Print how PSA and networks that have not seen the task rank the trials of tasks."""
    opened = open_all(paths)
    rows: dict[str, list[list[float]]] = {}
    for fold, held_out in enumerate(folds_of([one.task for one in opened], folds)):
        others = [one.task for one in opened if one.task.workload not in held_out]
        trained = {}
        for name in models:
            model = new_model(name, epochs=epochs, published=False, seed=0)
            print(f"fold {fold}, {name}: {fitted(model, others)}", flush=True)
            trained[name] = model
        for one in (one for one in opened if one.task.workload in held_out):
            opinions = {"PSA": one.prior, "random": np.random.default_rng(0).random(len(one.prior))}
            for name, model in trained.items():
                opinions[name] = one.task.scores(model)
                if name == "pam":
                    opinions["PSA and pam"] = logits_of(opinions[name]) + WEIGHT * one.prior
            for name, score in opinions.items():
                correlation = rank_correlation(one.latency_s, score)
                pairs = pairwise_accuracy(one.latency_s, score)
                rows.setdefault(name, []).append(
                    [*best_of_first(score, one.latency_s), pairs, correlation]
                )
    print(f"{len(opened)} tasks; best of the first {KS} of their trials, geometric mean")
    for name, table in rows.items():
        array = np.array(table)
        mean = np.exp(np.log(array[:, :-2]).mean(axis=0))
        tenth = np.percentile(array[:, 0], 10)
        print(
            f"{name:12} {' '.join(f'{x:.3f}' for x in mean)}; 10th percentile at 1: {tenth:.3f}; "
            f"pairs: {np.nanmean(array[:, -2]):.3f}; "
            f"Spearman, median: {np.nanmedian(array[:, -1]):.2f}"
        )


def folds_of(tasks: Sequence[OpenedTask], folds: int) -> list[set[str]]:
    """The workloads of each fold: what was measured of one, wherever, is not parted."""
    names = list(dict.fromkeys(task.workload for task in tasks))
    order = np.random.default_rng(0).permutation(len(names))
    return [{names[i] for i in order[fold::folds]} for fold in range(folds)]


def skills(paths: list[str]) -> None:
    """Print how PSA, the shipped model and their blend rank tasks, which it has not seen."""
    model = PAMModel()
    model.load(weights_path("cpu"))
    rows: dict[str, list[list[float]]] = {}
    for one in open_all(paths):
        psa, learned = np.exp(one.prior), one.task.scores(model)
        opinions = {
            "PSA": psa,
            "the model": learned,
            "both, standardised logarithms": Scale.of(psa)(psa) + Scale.of(learned)(learned),
            f"both, logits and {WEIGHT:g} ln(1 / PSA)": logits_of(learned) + WEIGHT * one.prior,
        }
        for name, score in opinions.items():
            pairs = pairwise_accuracy(one.latency_s, score)
            rows.setdefault(name, []).append([pairs, *best_of_first(score, one.latency_s)])
    for name, table in rows.items():
        pairs, *best = np.array(table).T
        mean = " ".join(f"{np.exp(np.log(k).mean()):.3f}" for k in best)
        print(
            f"{name}: {len(table)} tasks, pairs {pairs.mean():.3f}, best of the first {KS} {mean}"
        )


def logits_of(scores: np.ndarray) -> np.ndarray:
    """The logits x of which a network's scores [n] are ln(1 + e^x)."""
    return scores + np.log(-np.expm1(-scores))


def best_of_first(score: np.ndarray, latency_s: np.ndarray) -> list[float]:
    """The best latency over that of the best of the first k, for every k of `KS`."""
    order = np.argsort(-score, kind="stable")
    return [float(latency_s.min() / latency_s[order[:k]].min()) for k in KS]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    collecting = actions.add_parser("collect")
    collecting.add_argument("--output", required=True)
    collecting.add_argument("--trials", type=int, default=96)
    collecting.add_argument("--space")
    collecting.add_argument("--seed", type=int, default=2, help="another gives other shapes")
    validating = actions.add_parser("crossvalidate")
    validating.add_argument("datasets", nargs="+")
    validating.add_argument("--models", default="pam,tlp,one-shot,felix")
    validating.add_argument("--epochs", type=int, default=EPOCHS)
    training = actions.add_parser("train")
    training.add_argument("datasets", nargs="+")
    training.add_argument("--output", required=True)
    training.add_argument(
        "--accuracy", type=float, help="the share of pairs that `crossvalidate` says, for the card"
    )
    training.add_argument("--start", help="weights to go on from, of another processor")
    judging = actions.add_parser("skill")
    judging.add_argument("datasets", nargs="+")
    arguments = parser.parse_args()
    if arguments.action == "skill":
        skills(arguments.datasets)
        return
    if arguments.action == "collect":
        collect(
            training_workloads(arguments.seed),
            host_target(),
            arguments.output,
            trials=arguments.trials,
            space=arguments.space,
            say=lambda text: print(text, flush=True),
        )
        return
    if arguments.action == "crossvalidate":
        crossvalidate(arguments.datasets, arguments.models.split(","), arguments.epochs)
        return
    pretrain(
        arguments.datasets,
        arguments.output,
        held_out=0,
        accuracy=arguments.accuracy,
        epochs=EPOCHS if arguments.start is None else None,
        start=arguments.start,
    )


if __name__ == "__main__":
    main()
