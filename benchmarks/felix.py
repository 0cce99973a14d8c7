"""Felix: how fast features and descents are, and whether gradients find what other searches miss.

    python benchmarks/felix.py speed
    python benchmarks/felix.py search DATASET [DATASET …] --seeds 5
    python benchmarks/felix.py rank DATASET [DATASET …] --held-out 3

``speed`` prints microseconds a candidate of features in batches, and of what TVM does for the same
(replay, postprocs, its C++ extractor), and the CPU seconds of a descent of 32 seeds and 64 steps.

``search`` lets FelixMLP learn half of the recorded trials of each task and searches with it three
ways: by gradient descent, by constrained evolution, and at random. All three may score the same
number of points, relaxed ones counted; compared is the mean predicted score of the best 64 that
each has found, paired by seed. It is a claim about searches, not about latencies.

``rank`` trains FelixMLP on all tasks but some and ranks the trials of these, beside TVM's XGBModel,
taught the same trials of the same tasks, and HeronXGB, which cannot learn from other tasks and
therefore gets a quarter of the held-out task's own trials.

One process, one thread; run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.feature_extractor import PerStoreFeature

from mschedx import workloads
from mschedx.bench import opened_tasks
from mschedx.cost import FelixConfig, HeronXGB, Measured
from mschedx.cost.learned.felix_features import FelixFeatures
from mschedx.cost.learned.felix_mlp import FelixMLPModel
from mschedx.cost.learned.metrics import pairwise_accuracy, top_k_mean
from mschedx.record.dataset import TaskTrials, read_datasets
from mschedx.search import Descent, DescentConfig
from mschedx.search.constrained_evolution import ConstrainedCrossover, Keys
from mschedx.search.history import History
from mschedx.search.points import Points, SketchSet
from mschedx.search.pool import Scored, gather
from mschedx.search.population import evolve
from mschedx.search.request import Request
from mschedx.search.scoring import ArrayScorer
from mschedx.space import sketches
from mschedx.space.sketch import Sketch

CPU = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
GPU = tvm.target.Target("nvidia/nvidia-a100")
WORKLOADS = (
    ("gemm", (512, 512, 512), "float32", CPU),
    ("conv2d", (1, 64, 56, 56, 64, 3, 1, 1), "float32", CPU),
    ("gemm", (1024, 1024, 1024), "float16", GPU),
)
TOP = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    speed = commands.add_parser("speed")
    speed.add_argument("--configs", type=int, default=2048)
    speed.add_argument("--replayed", type=int, default=32)
    speed.set_defaults(run=lambda a: [report_speed(*w, a.configs, a.replayed) for w in WORKLOADS])
    search = commands.add_parser("search")
    search.add_argument("datasets", nargs="+")
    search.add_argument("--seeds", type=int, default=5)
    search.add_argument("--tasks", type=int, default=None, help="only the first so many")
    search.set_defaults(run=lambda a: compare_searches(opened(a.datasets, a.tasks), a.seeds))
    rank = commands.add_parser("rank")
    rank.add_argument("datasets", nargs="+")
    rank.add_argument("--held-out", type=int, default=3, help="the last so many tasks")
    rank.add_argument("--steps", type=int, default=2000)
    rank.set_defaults(run=lambda a: compare_ranks(opened(a.datasets, None), a.held_out, a.steps))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.run(arguments)


# Speed.


def report_speed(
    op: str, shape: tuple[int, ...], dtype: str, target: tvm.target.Target, n: int, replayed: int
) -> None:
    """Print what one workload costs."""
    every = sketches(workloads.make(op, shape, dtype), target)
    sketch, rng = every[0], np.random.default_rng(0)
    configs = sketch.sample(n, rng)
    features = FelixFeatures.of(sketch)
    features(configs[:2])
    own = timed(lambda: features(configs)) / n
    extracted(sketch, configs[:1])  # loads intrinsics, which takes seconds
    tvm_s = timed(lambda: extracted(sketch, configs[:replayed])) / replayed
    print(f"{op} {shape} {dtype} {target.kind.name}: {len(every)} sketches")
    print(f"  features  {own * 1e6:9.1f} us a candidate")
    print(f"  TVM       {tvm_s * 1e6:9.1f} us a candidate ({tvm_s / own:.0f} times as long)")
    for chosen in ([sketch], every):
        space = SketchSet(chosen)
        scorer, history = taught(space, rng)
        search = Descent(DescentConfig(n_seeds=32, n_steps=64, later_steps=64))
        seconds = timed(lambda: search.propose(Request(TOP, space, history, scorer, rng)))  # noqa: B023
        print(f"  32 seeds, 64 steps, {len(chosen)} sketches: {seconds:.2f} s")


def extracted(sketch: Sketch, configs: np.ndarray) -> None:
    """Do what TVM does for the features of configs."""
    PerStoreFeature().extract_from(tune_context(sketch), candidates_of(sketch, configs)[0])


def tune_context(sketch: Sketch) -> ms.TuneContext:
    return ms.TuneContext(sketch.design.mod, target=sketch.design.target, num_threads=1)


def candidates_of(
    sketch: Sketch, configs: np.ndarray
) -> tuple[list[ms.MeasureCandidate], np.ndarray]:
    """Candidates as TVM's models read them, and the positions of their configs."""
    made = sketch.schedules(configs, 1)
    kept = [i for i, one in enumerate(made) if isinstance(one, tvm.s_tir.Schedule)]
    candidates = [
        ms.MeasureCandidate(made[i], ms.arg_info.ArgInfo.from_entry_func(made[i].mod, True))
        for i in kept
    ]
    return candidates, np.array(kept, dtype=int)


def taught(space: SketchSet, rng: np.random.Generator) -> tuple[ArrayScorer, History]:
    """A model that has learnt latencies somebody made up; only its speed is of interest."""
    history = History.of(space)
    points = space.sample(64, rng).distinct()
    away = np.abs(np.log2(1.0 + np.maximum(points.configs, 0)) - 2).sum(axis=1)
    history.add(points, 1e-4 * np.exp(away / 8))
    scorer = ArrayScorer(FelixMLPModel(), space)
    scorer.learn(history)
    scorer.score(points)
    return scorer, history


def timed(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


# Recorded trials.


@dataclass(frozen=True)
class Recorded:
    """A task of a data set with its sketches open."""

    name: str
    space: SketchSet
    points: Points
    latency_s: np.ndarray

    def measured(self, which: np.ndarray) -> list[Measured]:
        """Trials at some positions, by sketch."""
        chosen, seconds = self.points.take(which), self.latency_s[which]
        return [
            Measured(self.space.sketches[s], configs, seconds[positions])
            for s, positions, configs in self.space.groups(chosen)
        ]


def opened(paths: Sequence[str], most: int | None) -> list[Recorded]:
    """Open the tasks of data sets."""
    return [open_task(trials) for trials in read_datasets(paths)[:most]]


def open_task(trials: TaskTrials) -> Recorded:
    """Open the sketches of a task; ``ValueError`` where they are not those that were measured."""
    task = opened_tasks.open_task(trials)
    space = SketchSet([one.sketch for one in task.measured])
    parts = [space.lift(s, one.configs) for s, one in enumerate(task.measured)]
    return Recorded(task.name, space, Points.concatenate(parts), task.latency_s)


# Searches that may score the same number of points.


class Counting(ArrayScorer):
    """Counts the points that were scored, relaxed ones too."""

    count = 0

    def score(self, points: Points) -> np.ndarray:
        self.count += len(points)
        return super().score(points)

    def relaxed_score(
        self, sketch: int, configs: torch.Tensor, width: float | None = None
    ) -> torch.Tensor:
        self.count += len(configs)
        return super().relaxed_score(sketch, configs, width)


def compare_searches(tasks: Sequence[Recorded], seeds: int) -> None:
    """Print, per task, how much better gradients are than the others in predicted score."""
    print("gain of gradients in ln(latency), mean over the best 64 [least, most of the seeds]")
    gains: dict[str, list[float]] = {"random": [], "evolution": []}
    for task in tasks:
        every = [searched(task, seed) for seed in range(seeds)]
        found = [one for one in every if one is not None]
        if len(found) < seeds:
            print(f"  {task.name:36} left out: it has too few programs that were not tried")
            continue
        own = {name: [one["gradients"] - one[name] for one in found] for name in gains}
        for name, values in own.items():
            gains[name] += values
            print(
                f"  {task.name:36} over {name:9} {np.mean(values):+.3f} "
                f"[{min(values):+.3f}, {max(values):+.3f}]"
            )
    for name, values in gains.items():
        better = np.mean(np.array(values) > 0)
        print(f"all: over {name:9} {np.mean(values):+.3f}, better in {better:.0%} of the pairs")


def searched(task: Recorded, seed: int) -> dict[str, float] | None:
    """Mean predicted score of the best 64 points of each search; None where a space has fewer."""
    rng = np.random.default_rng(seed)
    half = rng.permutation(len(task.points))[: len(task.points) // 2]
    model = FelixMLPModel(FelixConfig(), seed)
    model.learn(task.space.task, task.measured(half))
    history = History.of(task.space)
    history.add(task.points.take(half), task.latency_s[half])
    scorer = Counting(model, task.space)
    # What scores best, whatever it is: a batch that is measured is spread out.
    search = Descent(DescentConfig(epsilon=0.0, near_share=0.0, niche_share=1.0))
    proposed = search.propose(Request(TOP, task.space, history, scorer, rng))
    if len(proposed) < TOP:
        return None
    best = proposed.take(np.arange(TOP))
    budget = scorer.count
    plain = ArrayScorer(model, task.space)
    found = {"gradients": float(plain.score(best).mean())}
    drawn = Scored.by(plain, task.space.sample(budget, rng).distinct())
    found["random"] = float(drawn.untried(history.tried).best(TOP).scores.mean())
    found["evolution"] = evolved(task, history, plain, budget, rng)
    return found


def evolved(
    task: Recorded,
    history: History,
    scorer: ArrayScorer,
    budget: int,
    rng: np.random.Generator,
    size: int = 200,
) -> float:
    """The same of constrained evolution from the fastest trials and samples."""
    start = gather(history.best(32), task.space.sample(size, rng))
    seen, _ = evolve(
        Scored.by(scorer, start),
        task.space,
        scorer,
        ConstrainedCrossover(0.2, Keys.RANDOM),
        rng,
        size=size,
        generations=max(1, (budget - len(start)) // size),
        parents=100,
        elites=20,
    )
    return float(seen.untried(history.tried).best(TOP).scores.mean())


# Ranking of tasks that were held out.


def compare_ranks(tasks: Sequence[Recorded], held_out: int, steps: int) -> None:
    """Print pairwise accuracy, and what the best of the first k loses, of held-out tasks."""
    if not 0 < held_out < len(tasks):
        raise ValueError(f"expected 0 < held-out < {len(tasks)} tasks, got {held_out}")
    model = FelixMLPModel()
    known, asked = tasks[:-held_out], tasks[-held_out:]
    every_pair: dict[str, list[float]] = {}
    every = [(t.space.task, t.measured(np.arange(len(t.points)))) for t in known]
    print(f"trained on {len(known)} tasks, error {model.pretrain(every, steps):.3f}")
    xgb = taught_xgb(known)
    for task in asked:
        order = np.random.default_rng(0).permutation(len(task.points))
        quarter, rest = np.split(order, [len(order) // 4])
        trees = HeronXGB().model
        trees.learn(task.space.task, task.measured(quarter))
        real = task.latency_s[rest]
        points = task.points.take(rest)
        scores = {
            "FelixMLP": ArrayScorer(model, task.space).score(points),
            "XGB": xgb_scores(xgb, task, points),
            "HeronXGB": ArrayScorer(trees, task.space).score(points),
        }
        for name, own in scores.items():
            peaks = ", ".join(f"@{k} {top_k_mean([(real, own)], k):.2f}" for k in (1, 8))
            pairs = pairwise_accuracy(real, own)
            every_pair.setdefault(name, []).append(pairs)
            print(f"  {task.name:36} {name}: pairs {pairs:.3f}, of the best {peaks}")
    for name, pairs in every_pair.items():
        print(f"all: {name}: pairs {np.mean(pairs):.3f} in the mean of the tasks")


def taught_xgb(tasks: Sequence[Recorded]) -> ms.cost_model.XGBModel:
    """TVM's model with its own features, trained once on all trials of some tasks."""
    model = ms.cost_model.XGBModel(num_warmup_samples=0, num_tuning_cores=1)
    groups = [(task, *group) for task in tasks for group in task.space.groups(task.points)]
    for number, (task, s, positions, configs) in enumerate(groups, 1):
        sketch = task.space.sketches[s]
        candidates, kept = candidates_of(sketch, configs)
        results = [
            ms.runner.RunnerResult([float(seconds)], None)
            if np.isfinite(seconds)
            else ms.runner.RunnerResult(None, "failed")
            for seconds in task.latency_s[positions][kept]
        ]
        # It trains again when its data have grown by a fifth, and in the end.
        model.adaptive_training = number < len(groups)
        model.update(tune_context(sketch), candidates, results)
    return model


def xgb_scores(model: ms.cost_model.XGBModel, task: Recorded, points: Points) -> np.ndarray:
    """Scores of points; -inf for what does not materialise."""
    scores = np.full(len(points), -np.inf)
    for s, positions, configs in task.space.groups(points):
        sketch = task.space.sketches[s]
        candidates, kept = candidates_of(sketch, configs)
        scores[positions[kept]] = model.predict(tune_context(sketch), candidates)
    return scores


if __name__ == "__main__":
    main()
