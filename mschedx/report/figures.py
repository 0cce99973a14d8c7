"""The figures of a run: curve, time, failures, prediction, importance, roofline."""

from __future__ import annotations

import math

from mschedx.ranks import rank_correlation
from mschedx.record.trials import Trial, best_so_far, count_failures

from .analysis import Report
from .charts import BLUE, GREY, MOST_LABELLED, ORANGE, RED, Bars, Chart, Figure, padded
from .progress import format_seconds


def run_figures(report: Report) -> list[Figure]:
    """Draw what there is to show of a run, in the order of the page."""
    found = (
        curve(report),
        curve_by_time(report),
        time_spent(report.stages),
        failures(report.run.trials),
        prediction(report.run.trials),
        importance(report),
        roofline(report),
    )
    return [figure for figure in found if figure is not None]


def curve(report: Report) -> Figure:
    """Latency of every trial, and the best so far."""
    title, trials = "Tuning curve", report.run.trials
    ran = [t for t in trials if t.latency_s is not None]
    if not ran:
        return Figure("curve", title, "No trial ran.", None)
    latencies = [(t.latency_s or 0.0) * 1e3 for t in ran]
    chart = Chart(
        (0, max(2, len(trials))),
        padded(latencies),
        "trial",
        "latency, ms",
        "Latency of every trial and the best so far",
        log_y=True,
    )
    chart.points(
        [t.index + 1 for t in ran], latencies, BLUE, [_describe(t, report.flops) for t in ran]
    )
    chart.key("a trial", BLUE)
    so_far = best_so_far(trials)
    changes = {i for i, v in enumerate(so_far) if not i or v < so_far[i - 1]}
    places = sorted(changes | {len(so_far) - 1})
    best = [(i + 1, so_far[i] * 1e3) for i in places if math.isfinite(so_far[i])]
    chart.steps([x for x, _ in best], [y for _, y in best], ORANGE)
    chart.key("best so far", ORANGE)
    failed = [t for t in trials if t.reason is not None]
    if failed:
        chart.marks(
            [t.index + 1 for t in failed], RED, [f"trial {t.index}: {t.reason}" for t in failed]
        )
        chart.key("failed", RED)
    winner = report.run.best
    found = f"The best came with trial {winner.index + 1}. " if winner else ""
    hint = "Hover a dot for its trial." if len(ran) <= MOST_LABELLED else ""
    return Figure("curve", title, f"{found}{hint}", chart)


def curve_by_time(report: Report) -> Figure | None:
    """The best so far against seconds of tuning; None where times are not known."""
    timed = [(t.elapsed_s, t) for t in report.run.trials if t.elapsed_s is not None]
    best, points = math.inf, []
    for seconds, trial in sorted(timed, key=lambda pair: (pair[0], pair[1].index)):
        best = min(best, trial.latency_s or math.inf)
        if math.isfinite(best):
            points.append((seconds, best * 1e3))
    if not points or points[-1][0] <= 0:
        return None
    xs, ys = [x for x, _ in points], [y for _, y in points]
    chart = Chart(
        (0.0, xs[-1] * 1.02),
        padded(ys),
        "seconds of tuning",
        "best latency, ms",
        "Best so far against time",
        height=200,
        log_y=True,
    )
    chart.steps(xs, ys, ORANGE)
    labels = [f"after {format_seconds(x)}: {y:.4g} ms" for x, y in points]
    chart.points(xs, ys, ORANGE, labels)
    return Figure("curve_by_time", "Against time", "A dot is a round's end.", chart)


def _describe(trial: Trial, flops: float) -> str:
    latency = trial.latency_s or math.inf
    return f"trial {trial.index}: {format_seconds(latency)}, {flops / latency / 1e9:.1f} GFLOP/s"


def time_spent(stages: dict[str, float]) -> Figure | None:
    """Seconds by stage, as `group_stages` gives them; None where they are not known."""
    if not stages:
        return None
    total = sum(stages.values())
    rows = [(n, s, f"{s:.1f} s, {s / total:.0%}") for n, s in stages.items()]
    text = (
        f"{total:.1f} s in all. “draft” is an analytical model's part, “lower” makes programs of "
        "configs, “predict” and “train” are the cost model's, “search” is the rest of the search; "
        "“build” and “run” are what was waited for."
    )
    return Figure("time", "Where time went", text, Bars(rows, "Seconds by stage"))


def failures(trials: tuple[Trial, ...]) -> Figure:
    """Failed trials by reason, most frequent first."""
    counts = count_failures(trials)
    if not counts:
        return Figure("failures", "Failures", "None.", None)
    rows = [(why, float(n), f"{n} ({n / len(trials):.0%})") for why, n in counts.items()]
    text = f"{sum(counts.values())} of {len(trials)} trials failed."
    return Figure("failures", "Failures", text, Bars(rows, "Failed trials by reason", RED))


def prediction(trials: tuple[Trial, ...]) -> Figure | None:
    """Scores before measuring against latencies; None where fewer than five are known."""
    known = [t for t in trials if t.predicted is not None and t.latency_s is not None]
    if len(known) < 5:
        return None
    scores = [t.predicted or 0.0 for t in known]
    latencies = [(t.latency_s or 0.0) * 1e3 for t in known]
    width = max(scores) - min(scores) or 1.0
    chart = Chart(
        (min(scores) - 0.04 * width, max(scores) + 0.04 * width),
        padded(latencies),
        "score before measuring (higher is better)",
        "measured latency, ms",
        "Predicted score against measured latency",
        log_y=True,
    )
    chart.points(scores, latencies, BLUE, [f"trial {t.index}" for t in known], radius=3)
    rho = rank_correlation(scores, [-x for x in latencies])
    found = f"Rank correlation {rho:.2f} over {len(known)} trials (1 = right order)."
    if math.isnan(rho):
        found = f"All {len(known)} trials have one score, or one latency: nothing can be ranked."
    text = f"{found} These are the trials that the model itself chose, so their spread is small."
    return Figure("prediction", "Predicted and measured", text, chart)


def importance(report: Report) -> Figure | None:
    """What each decision explains of the spread; None where nothing can be said."""
    shown = report.importance[:12]
    if not shown:
        return None
    rows = [(i.name, i.share, f"{i.share:.0%}, best {i.best}") for i in shown]
    text = (
        "Share of the spread in log latency that a decision explains by itself, within the program "
        "structure measured most (adjusted R² of a parabola in the logarithm of its value). “best” "
        "is its value in the fastest trial."
    )
    chart = Bars(rows, "Importance of decisions")
    return Figure("importance", "Which decisions mattered", text, chart)


def roofline(report: Report) -> Figure | None:
    """All trials below the machine's roof; None where its rates for such data are not known."""
    bound, best = report.peak, report.run.best
    memory = report.hardware.dram_bytes_per_s if report.hardware else None
    if bound is None or memory is None or best is None or not best.latency_s or not report.flops:
        return None
    name, peak = bound
    intensity = report.flops / max(report.bytes_moved, 1)
    ridge = peak / memory
    x_low, x_high = min(intensity, ridge) / 8, max(intensity, ridge) * 8
    rates = [report.flops / t.latency_s / 1e9 for t in report.run.trials if t.latency_s is not None]
    floor = min(min(rates), x_low * memory / 1e9) / 1.5
    chart = Chart(
        (x_low, x_high),
        (floor, max(peak / 1e9, *rates) * 2),
        "arithmetic intensity, FLOP per byte of arguments",
        "GFLOP/s",
        "Roofline",
        log_x=True,
        log_y=True,
    )
    chart.line(
        [x_low, ridge, x_high], [x_low * memory / 1e9, peak / 1e9, peak / 1e9], GREY, dash="6 4"
    )
    chart.text(x_high, peak / 1e9, f"{name} {peak / 1e9:.0f} GFLOP/s", GREY)
    chart.text(ridge, ridge * memory / 1e9, f"memory {memory / 1e9:.1f} GB/s  ", GREY)
    chart.points([intensity] * len(rates), rates, BLUE)
    rate = report.flops / best.latency_s / 1e9
    chart.points([intensity], [rate], ORANGE, radius=6)
    chart.key("a trial", BLUE)
    chart.key("the winner", ORANGE)
    roof = min(peak, intensity * memory) / 1e9
    text = (
        f"{intensity:.3g} FLOP/byte if every argument moves once: the roof there is {roof:.1f} "
        f"GFLOP/s, and the winner reaches {rate / roof:.0%} of it."
    )
    return Figure("roofline", "Roofline", text, chart)
