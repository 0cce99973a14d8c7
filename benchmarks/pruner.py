"""Ranking with no measurement: how good the first k configs are that PSA ranks.

    python benchmarks/pruner.py --output best_of_k.jsonl [--space post-order-apply] [--model cpu]
    python benchmarks/pruner.py --output others.jsonl --workloads gemm:96,640,320,mean:512,384
    python benchmarks/pruner.py --summary best_of_k.jsonl

No model was trained on the shapes, and nothing of PSA looked for on them, but for what it knows of
the loop around a tile (docs/benchmarks/psa.md), for which four were looked at in TVM's space. For
each, random valid configs are measured, the first 16 that `mschedx.rank` gives, and what Heron's
and Pruner's searches try. With ``--model`` the order by PSA and each of those models is measured
beside it, and in spaces where `rank` spreads its choice that of predictions alone. In the end what
was ranked and the fastest of all others are measured once more, in turn, and the fastest of these
is the best known: a machine may be slower for minutes, and a ratio of figures of different minutes
says nothing. Best-of-k is the best known over the fastest of the first k ranked; a random order
gives the expectation over the random configs, and the function as it is written, which is what
``tvm.compile`` makes of it, is the default that needs no choice at all.
Spearman's coefficient is between prediction and latency on the random configs, and Best-k the
fastest of them in the quarter that PSA has first, as a share of the fastest of all, beside a random
quarter's. The runner goes before other processes where that is allowed.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tvm
import tvm_ffi
from resuming import Row, Rows, options_of, rows_of
from scipy.stats import spearmanr
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

import mschedx
from mschedx import measure
from mschedx.bench.collect import measure_schedules, undisturbed
from mschedx.bench.suite import find_workloads
from mschedx.cost.consensus import ConsensusModel
from mschedx.cost.psa import PSAModel
from mschedx.latency import latency_of
from mschedx.ranking import best_of, deviation_in, opened
from mschedx.search.points import SketchSet
from mschedx.space.errors import InvalidSchedule
from mschedx.workloads import Workload

KS = (1, 2, 4, 8, 16)
BY_PREDICTION = "by_prediction_s"
AS_WRITTEN = "as_written_s"
FINALISTS, ROUNDS = 8, 3
"""Of the random configs and of each search, measured in the end; how often all of them are."""

SEARCHES = {
    "heron": lambda: (mschedx.ConstrainedEvolution(), mschedx.cost.HeronXGB()),
    "pruner": lambda: (mschedx.DraftVerify(), mschedx.cost.PAM()),
}


def _w(op: str, *shape: int, dtype: str = "float32") -> Workload:
    return Workload(f"{op}_{'x'.join(map(str, shape))}_{dtype}", op, shape, dtype)


JUDGED = (
    _w("gemm", 256, 256, 256),
    _w("gemm", 768, 512, 640),
    _w("gemm", 1000, 1000, 1000),
    _w("gemm", 120, 900, 333),
    _w("gemm_nt", 512, 768, 256),
    _w("gemm", 1, 4096, 4096),
    _w("batch_gemm", 12, 128, 64, 128),
    _w("batch_gemm", 4, 200, 64, 96),
    _w("batch_gemm_nt", 12, 128, 128, 64),
    _w("conv2d", 1, 64, 56, 56, 64, 3, 1, 1),
    _w("conv2d", 1, 128, 28, 28, 128, 3, 1, 1),
    _w("conv2d", 1, 256, 14, 14, 256, 3, 1, 1),
    _w("conv2d", 1, 512, 7, 7, 512, 3, 1, 1),
    _w("conv2d", 1, 256, 56, 56, 64, 1, 1, 0),
    _w("conv2d", 1, 1024, 14, 14, 256, 1, 1, 0),
    _w("conv2d", 1, 2048, 7, 7, 512, 1, 1, 0),
    _w("conv2d", 1, 3, 224, 224, 64, 7, 2, 3),
    _w("conv2d", 1, 128, 56, 56, 128, 3, 2, 1),
    _w("conv2d_nhwc", 1, 28, 28, 128, 128, 3, 1, 1),
    _w("depthwise_conv2d", 1, 128, 56, 56, 3, 1, 1),
    _w("depthwise_conv2d", 1, 144, 28, 28, 3, 2, 1),
    _w("gemm", 512, 512, 512, dtype="int8"),
    _w("conv2d_nhwc", 1, 28, 28, 128, 128, 3, 1, 1, dtype="int8"),
    _w("mean", 1024, 768),
    _w("softmax", 128, 768),
    _w("layer_norm", 128, 768),
)


def judged(workload: Workload, space: str | None, arguments: argparse.Namespace) -> Row:
    """Measure one workload."""
    target = mschedx.hardware.host_target()
    mod = tvm.IRModule({"main": workload.func()})
    sketches = opened(mod, target, space)
    builder = measure.LocalBuilder()
    runner = measure.LocalRunner(initializer=undisturbed)
    rng = np.random.default_rng(arguments.seed)
    # A space of two configs is two latencies, not the luckiest of a hundred repeats.
    points = SketchSet(sketches).sample(arguments.random, rng).distinct()
    psa = PSAModel()
    programs, drawn, predicted = [], [], []
    for s, _, configs in SketchSet(sketches).groups(points):
        made = sketches[s].schedules(configs)
        kept = [i for i, one in enumerate(made) if not isinstance(one, InvalidSchedule)]
        programs += [made[i] for i in kept]
        drawn.append(measure_schedules([made[i] for i in kept], target, builder, runner))
        predicted.append(psa.latency_s(None, sketches[s], configs)[kept])
    random, expected = np.concatenate(drawn), np.concatenate(predicted)
    searched = _searched(mod, target, space, arguments.trials, builder, runner)
    finalists = {"random_s": [programs[i] for i in np.argsort(random)[:FINALISTS]], **searched}
    usual = deviation_in(space)
    orders = {"ranked_s": (None, usual)}
    orders |= {BY_PREDICTION: (None, 0.0)} if usual else {}
    orders |= {f"with_{Path(m).stem}_s": (ConsensusModel(m), usual) for m in arguments.model}
    for name, (model, deviation) in orders.items():
        rng = np.random.default_rng(arguments.seed)
        ranked = best_of(sketches, max(KS), model, rng, deviation)
        finalists[name] = [one.schedule() for one in ranked]
    finalists[AS_WRITTEN] = [Schedule(mod)]
    measured = _in_turn(finalists, target, builder, runner)
    ran = np.isfinite(random)
    return {
        "workload": workload.name,
        "space": space or "mschedx",
        "best_s": min(ours.min(initial=np.inf) for ours in measured.values()),
        **{name: _plain(measured[name]) for name in (*rankings(measured), AS_WRITTEN)},
        "random_s": _plain(random),
        "expected_s": _plain(expected),
        "finalists_s": {name: float(ours.min(initial=np.inf)) for name, ours in measured.items()},
        "spearman": float(spearmanr(expected[ran], random[ran])[0]),
    }


def rankings(row: Mapping[str, object]) -> dict[str, str]:
    """What is ranked in a row, and by whom."""
    models = [name for name in row if name.startswith("with_")]
    by_models = {name: f"PSA and {name[len('with_') : -len('_s')]}" for name in models}
    alone = {"ranked_s": "PSA", BY_PREDICTION: "PSA, in the order of predictions"}
    return {**{name: title for name, title in alone.items() if name in row}, **by_models}


def _plain(seconds: np.ndarray) -> list[float | None]:
    return [s if np.isfinite(s) else None for s in seconds.tolist()]


def _seconds(plain: Sequence[float | None]) -> np.ndarray:
    return np.array([np.inf if s is None else s for s in plain])


def _in_turn(
    finalists: Mapping[str, Sequence[Schedule]],
    target: Target,
    builder: ms.Builder,
    runner: ms.Runner,
) -> dict[str, np.ndarray]:
    """Latencies of programs by where they come from: the least of several rounds of all of them."""
    schedules: dict[int, Schedule] = {}
    hashes: dict[str, list[int]] = {}
    for name, made in finalists.items():
        hashes[name] = [int(tvm_ffi.structural_hash(schedule.mod)) for schedule in made]
        schedules |= dict(zip(hashes[name], made))
    rounds = [
        measure_schedules(list(schedules.values()), target, builder, runner) for _ in range(ROUNDS)
    ]
    latency = dict(zip(schedules, np.min(rounds, axis=0)))
    return {name: np.array([latency[h] for h in own]) for name, own in hashes.items()}


def _searched(
    mod: tvm.IRModule,
    target: Target,
    space: str | None,
    trials: int,
    builder: ms.Builder,
    runner: ms.Runner,
) -> dict[str, list[Schedule]]:
    """The fastest programs that each search finds, by its name."""
    if not trials:
        return {}
    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.WARNING)
    found = {}
    for name, made in SEARCHES.items():
        strategy, cost_model = made()
        with tempfile.TemporaryDirectory() as folder:
            database = ms.tune_tir(
                mod,
                target,
                work_dir=folder,
                max_trials_global=trials,
                space=space or mschedx.space.for_target(target),
                strategy=strategy,
                cost_model=cost_model,
                builder=builder,
                runner=runner,
                seed=1,
            )
            best = sorted(database.get_all_tuning_records(), key=lambda r: latency_of(r.run_secs))
        found[name] = [_replayed(record) for record in best[:FINALISTS]]
    return found


def _replayed(record: ms.database.TuningRecord) -> Schedule:
    schedule = Schedule(record.workload.mod)
    record.trace.apply_to_schedule(schedule, remove_postproc=False)
    return schedule


def at_k(row: Row, k: int, ranking: str = "ranked_s") -> tuple[float, float]:
    """Best-of-k of the ranked, and expected of a random order."""
    ranked, random = _seconds(row[ranking]), np.sort(_seconds(row["random_s"]))
    n = len(random)
    # Chance that the i-th fastest is the fastest of k drawn without replacement.
    k = min(k, n)
    chance = np.ones(n)
    for j in range(1, k):
        chance *= np.clip((n - np.arange(n) - j) / (n - j), 0, None)
    chance *= k / n
    expected = float((chance * row["best_s"] / random).sum())
    return float(row["best_s"] / ranked[:k].min()), expected


def best_k(row: Row) -> tuple[float, float]:
    """The fastest of the random configs that PSA has in its first quarter; of a random quarter.

    As shares of the fastest of all of them (Best-k of Pruner's figure 6, k a quarter of the pool).
    """
    random, expected = _seconds(row["random_s"]), _seconds(row["expected_s"])
    k = max(len(random) // 4, 1)
    drafted = random[np.argsort(expected, kind="stable")[:k]].min()
    chance = at_k({**row, "best_s": random.min()}, k)[1]
    return float(random.min() / drafted), chance


def line(row: Row) -> str:
    """A workload's row, as text."""
    parts = [" ".join(f"{at_k(row, k, name)[0]:.2f}" for k in KS) for name in rankings(row)]
    return (
        f"{row['workload']:44} rho {row['spearman']:5.2f}  best-of-{KS}: {'; '.join(parts)}  "
        f"random-1 {at_k(row, 1)[1]:.2f}  best {row['best_s'] * 1e3:.4g} ms"
    )


def summary(rows: list[Row]) -> None:
    """Print every row, then what they come to by space and ranking."""
    print("\n".join(map(line, rows)))
    for space in sorted({row["space"] for row in rows}):
        own = [row for row in rows if row["space"] == space]
        rho = np.nanmedian([row["spearman"] for row in own])
        print(f"{space}: {len(own)} workloads, Spearman's coefficient {rho:.2f} in the median")
        titles = {name: title for row in own for name, title in rankings(row).items()}
        for ranking, title in titles.items():
            those = [row for row in own if ranking in row]
            print(f"  {title}, {len(those)} workloads")
            for k in KS:
                both = np.array([at_k(row, k, ranking) for row in those])
                mean, chance = np.exp(np.log(both).mean(axis=0))
                print(
                    f"    k = {k:2}: geometric mean {mean:.3f}, 10th percentile "
                    f"{np.percentile(both[:, 0], 10):.3f}; a random order {chance:.3f}"
                )
        drafts = np.array([best_k(row) for row in own if "expected_s" in row])
        if len(drafts):
            mean, chance = np.exp(np.log(drafts).mean(axis=0))
            ahead = int((drafts[:, 0] >= drafts[:, 1]).sum())
            print(
                f"  Best-k by PSA {mean:.3f}, of a random quarter {chance:.3f}; "
                f"no worse on {ahead} of {len(drafts)}"
            )
        written = [row["best_s"] / row[AS_WRITTEN][0] for row in own if AS_WRITTEN in row]
        if written:
            print(f"  as written: geometric mean {np.exp(np.log(written).mean()):.4f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", type=Path, help="file of JSON lines to append to, and resume")
    options.add_argument("--summary", nargs="+", type=Path, default=[])
    options.add_argument("--space", default=None)
    options.add_argument("--model", nargs="*", default=[], help="names of shipped ones, or files")
    options.add_argument("--without", nargs="*", default=[], help="workloads to leave out, by name")
    options.add_argument("--random", type=int, default=96)
    options.add_argument("--trials", type=int, default=64, help="of each search")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--workloads", help="others than the judged shapes, as `mschedx compare` takes them"
    )
    arguments = options.parse_args()
    chosen = options_of(arguments, "random", "trials", "seed", "model")
    own = Rows(arguments.output, chosen)
    given = [row for file in arguments.summary for row in rows_of(file)]
    if arguments.output:
        done = {(row["workload"], row["space"]) for row in [*given, *own.rows]}
        asked = find_workloads(arguments.workloads) if arguments.workloads else JUDGED
        for workload in asked:
            if (workload.name, arguments.space or "mschedx") in done:
                continue
            own.append(judged(workload, arguments.space, arguments))
            print(line(own.rows[-1]), flush=True)
    summary([row for row in [*given, *own.rows] if row["workload"] not in arguments.without])


if __name__ == "__main__":
    main()
