"""How a trained model ranks held-out tasks, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from .pretrain_metrics import TOP, Ranking


def metrics_table(tested: Sequence[Ranking]) -> Table:
    """Make a row of every task, and one of all."""
    table = Table(title="held-out tasks")
    table.add_column("task")
    for name in ("trials", "pairs", "rank corr.", *(f"top-{k}" for k in TOP)):
        table.add_column(name, justify="right")
    for k in TOP:
        table.add_column(f"top-{k} by time", justify="right")
    for k in TOP:
        table.add_column(f"best-{k} of a quarter", justify="right")
    for number, one in enumerate(tested, start=1):
        table.add_row(
            one.name,
            str(one.trials),
            f"{one.pairs:.3f}",
            f"{one.correlation:.2f}",
            *(f"{value:.3f}" for value in one.top_mean),
            *(f"{value:.3f}" for value in one.top_sum),
            *(f"{value:.3f}" for value in one.best),
            end_section=number == len(tested) - 1,
        )
    return table
