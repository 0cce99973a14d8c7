"""Pages repeat figures as they were measured, and name every script that measures."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "docs" / "benchmarks"


def rows(path):
    """Cells of every row of a page's tables, without emphasis."""
    lines = path.read_text().replace("*", "").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]


def row(path, name):
    """The cells of the first row of this name after its name."""
    return next(cells for first, *cells in rows(path) if first == name)


@pytest.mark.parametrize(
    ("page", "names_random"),
    [("README.md", True), ("docs/benchmarks.md", False), ("docs/choosing.md", True)],
)
def test_how_good_a_ranking_is_said_to_be_is_what_was_measured(page, names_random):
    first, _, random_order, _ = row(MEASURED / "ranking.md", "1")
    text = " ".join((ROOT / page).read_text().split())
    said = re.findall(r"(0\.\d+) of the best of some 540 programs", text)
    assert said == [f"{float(first.split(',')[0]):.2f}"]
    of_random = [f"{float(random_order):.2f}"] if names_random else []
    assert re.findall(r"a random config (0\.\d+)", text) == of_random


@pytest.mark.parametrize(
    "network", ["ResNet-50", "MobileNet-v2", "BERT-base, 128 tokens", "ViT-B/32"]
)
def test_networks_take_as_long_in_the_readme_as_where_they_were_measured(network):
    tuned, _, *others, tuning, _ = row(MEASURED / "networks.md", network)
    *latencies, seconds = row(ROOT / "README.md", network)
    rounded = [float(f"{float(ms):.3g}") for ms in [tuned, *others]]
    assert list(map(float, latencies)) == rounded
    assert seconds == f"{float(tuning.split()[0]):.0f} s"


def test_every_benchmark_is_named_in_a_page():
    """By its command: what no page tells of nobody runs."""
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    scripts = [
        path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()
    ]
    assert scripts
    assert [path.name for path in scripts if path.name not in pages] == []
