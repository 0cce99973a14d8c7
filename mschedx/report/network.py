"""One page for a folder of several tasks: what each takes, and what it adds to its network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from mschedx.files import write_atomic
from mschedx.record.contents import Contents, read_contents
from mschedx.record.trials import Run, run_of
from mschedx.record.work_dir import read_manifest

from .analysis import group_stages
from .figures import time_spent
from .html import document, figure_section, section, table, tiles
from .progress import format_seconds


@dataclass(frozen=True)
class Row:
    """A task of a folder.

    Parameters
    ----------
    run : Run
    name : str
    calls : dict of str to int
        By network, how often one run of it calls the task.
    """

    run: Run
    name: str
    calls: dict[str, int]

    @property
    def best_s(self) -> float:
        best = self.run.best
        return best.latency_s if best is not None and best.latency_s is not None else math.inf


@dataclass(frozen=True)
class FolderReport:
    """All tasks of a folder that were measured, and the networks that were tuned in it.

    Parameters
    ----------
    path : Path
    rows : tuple of Row
    networks : dict of str to int
        How many tasks each has, those without a record too.
    """

    path: Path
    rows: tuple[Row, ...]
    networks: dict[str, int]

    def of(self, network: str) -> list[Row]:
        """The tasks of a network that were measured."""
        return [row for row in self.rows if network in row.calls]

    def latency_s(self, network: str) -> float:
        """Sum of calls times best latency; inf where a task of the network has none."""
        rows = self.of(network)
        if len(rows) < self.networks[network]:
            return math.inf
        return sum(row.calls[network] * row.best_s for row in rows)

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of tuning all tasks by stage, as `group_stages` gives them."""
        seconds: dict[str, float] = {}
        for row in self.rows:
            for stage, spent in row.run.stages.items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
        return group_stages(seconds)


def count_workloads(path: str | Path) -> int:
    """How many workloads of a folder have records."""
    return len({record[0] for record in read_contents(Path(path)).records})


def analyse_folder(path: str | Path) -> FolderReport:
    """Read every task of a work_dir.

    Raises
    ------
    ValueError
        If there are no trials in it.
    """
    directory = Path(path)
    contents = read_contents(directory)
    used = sorted({record[0] for record in contents.records})
    if not used:
        raise ValueError(f"{directory} has no trials yet")
    networks = _networks(directory)
    rows = tuple(_row(directory, contents, number, networks) for number in used)
    return FolderReport(directory, rows, {name: len(calls) for name, calls in networks.items()})


def _row(
    directory: Path, contents: Contents, number: int, networks: dict[str, dict[str, int]]
) -> Row:
    run = run_of(directory, contents, number)
    name = next((t.task for t in run.trials if t.task != "main"), f"workload {number}")
    key = str(contents.workloads[number][0])
    return Row(run, name, {n: calls[key] for n, calls in networks.items() if key in calls})


def _networks(directory: Path) -> dict[str, dict[str, int]]:
    """Calls of each workload, by its structural hash, in each network of the manifest."""
    found = read_manifest(directory).get("networks", {})
    if not isinstance(found, dict):
        return {}
    return {str(name): _calls(calls) for name, calls in found.items() if isinstance(calls, dict)}


def _calls(entry: dict[Any, Any]) -> dict[str, int]:
    return {str(key): count for key, count in entry.items() if isinstance(count, int)}


def build_folder_page(report: FolderReport) -> str:
    """Give the page's text."""
    trials = sum(len(row.run.trials) for row in report.rows)
    failed = sum(sum(row.run.failures().values()) for row in report.rows)
    shown = [
        *(_tile(report, name) for name in report.networks),
        (str(len(report.rows)), "tasks"),
        (str(trials), "trials"),
        (str(failed), "failed"),
    ]
    body = tiles(shown) + "".join(_network(report, name) for name in report.networks)
    alone = [row for row in report.rows if not row.calls]
    if alone:
        body += section("Tasks of no network", "", _table([(row, 1) for row in alone], math.nan))
    spent = time_spent(report.stages)
    if spent is not None:
        body += figure_section(spent)
    return document(f"Tuning {len(report.rows)} tasks", escape(str(report.path)), body)


def _tile(report: FolderReport, network: str) -> tuple[str, str]:
    rows, tasks = report.of(network), report.networks[network]
    if len(rows) < tasks:
        return f"{len(rows)} of {tasks}", f"tasks of {network} measured"
    return format_seconds(report.latency_s(network)), f"{network}, by its tasks"


def write_folder_page(report: FolderReport, path: Path) -> Path:
    """Write the page; gives its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, build_folder_page(report))
    return path


def _network(report: FolderReport, name: str) -> str:
    rows = [(row, row.calls[name]) for row in report.of(name)]
    rows.sort(key=lambda pair: -pair[0].best_s * pair[1])
    text = (
        "What takes most comes first. A workload's own page: mschedx report WORK_DIR --workload N."
    )
    return section(name, text, _table(rows, report.latency_s(name)))


def _table(rows: list[tuple[Row, int]], whole_s: float) -> str:
    head = ("task", "workload", "calls", "trials", "failed", "best", "all calls", "share")
    return table(head, [_cells(row, calls, whole_s) for row, calls in rows])


def _cells(row: Row, calls: int, whole_s: float) -> list[str]:
    seconds = row.best_s * calls
    known = math.isfinite(seconds) and math.isfinite(whole_s)
    return [
        row.name,
        str(row.run.workload),
        str(calls),
        str(len(row.run.trials)),
        str(sum(row.run.failures().values())),
        format_seconds(row.best_s),
        format_seconds(seconds),
        f"{seconds / whole_s:.1%}" if known else "-",
    ]
