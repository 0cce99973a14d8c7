"""Pages repeat figures as they were measured, and name every script that measures."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "docs" / "benchmarks"


NETWORKS = ["ResNet-50", "MobileNet-v2", "BERT-base, 128 tokens", "ViT-B/32"]


def rows(path, under=""):
    """Cells of every row of a page's tables below a heading, without emphasis."""
    text = path.read_text()
    lines = text[text.index(under) :].replace("*", "").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]


def row(path, name, under=""):
    """The cells of the first row of this name below a heading, after its name."""
    return next(cells for first, *cells in rows(path, under) if first == name)


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


def test_how_good_a_random_program_is_said_to_be_is_what_was_measured():
    first, *_ = row(MEASURED / "own_space.md", "random")
    said = re.findall(r"a random one (0\.\d+)", (ROOT / "docs" / "benchmarks.md").read_text())
    assert said == [f"{float(first):.2f}"]


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_take_as_long_in_the_readme_as_where_they_were_measured(network):
    tuned, _, *others, tuning, _ = row(MEASURED / "networks.md", network)
    *latencies, seconds = row(ROOT / "README.md", network)
    rounded = [float(f"{float(ms):.3g}") for ms in [tuned, *others]]
    assert list(map(float, latencies)) == rounded
    assert seconds == f"{float(tuning.split()[0]):.0f} s"


def test_networks_take_as_long_on_another_processor_as_where_they_were_measured():
    table = [row(MEASURED / "networks.md", one, "## On another processor") for one in NETWORKS]
    columns = zip(*(cells[:4] for cells in table), strict=True)
    tuned, unmeasured, *runtimes = ([float(cell) for cell in column] for column in columns)
    ahead = [100 * (min(pair) / own - 1) for own, *pair in zip(tuned, *runtimes, strict=True)]
    text = " ".join((ROOT / "README.md").read_text().split())
    one = r"([\d.]+), ([\d.]+), ([\d.]+) and ([\d.]+)"
    said = re.search(
        rf"Zen 5 they take {one} ms \(.* takes (\d+) to (\d+) % more\), and {one} with", text
    )
    assert said is not None
    figures = [float(figure) for figure in said.groups()]
    assert figures == [*tuned, round(min(ahead)), round(max(ahead)), *unmeasured]


def test_every_benchmark_is_named_in_a_page():
    """By its command: what no page tells of nobody runs."""
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    scripts = [
        path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()
    ]
    assert scripts
    assert [path.name for path in scripts if path.name not in pages] == []
