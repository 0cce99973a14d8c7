"""The figures of benchmarks/house.py on packages of a few lines."""

import re
import subprocess

import pytest
from house import (
    LONG,
    ROOT,
    Module,
    imported,
    in_cycles,
    long_functions,
    open_types,
    revision,
    room_graph,
    sizes,
    summary,
    wide_functions,
    working_tree,
)

FILES = {
    "mschedx/__init__.py": "from mschedx.top import f\n",
    "mschedx/top.py": "def f():\n    from . import low\n    return low\n",
    "mschedx/low/__init__.py": "from .inner import *\nimport numpy\n",
    "mschedx/low/inner.py": "from ..other import deep\nimport mschedx.other.deep as d\n",
    "mschedx/other/__init__.py": "",
    "mschedx/other/deep.py": "from mschedx import low\n",
}


@pytest.fixture
def modules():
    return [Module.of(path, text) for path, text in FILES.items()]


def test_imports_are_found_however_they_are_written(modules):
    names = [module.name for module in modules]
    found = {module.name: list(imported(module, names)) for module in modules}
    assert found == {
        "mschedx": ["mschedx.top"],
        "mschedx.top": ["mschedx.low"],
        "mschedx.low": ["mschedx.low.inner"],
        "mschedx.low.inner": ["mschedx.other.deep", "mschedx.other.deep"],
        "mschedx.other": [],
        "mschedx.other.deep": ["mschedx.low"],
    }


def test_a_cycle_is_found_and_who_only_leads_to_it_is_not_in_it(modules):
    graph = room_graph(modules)
    assert graph == {"__init__": {"top"}, "top": {"low"}, "low": {"other"}, "other": {"low"}}
    assert in_cycles(graph) == ["low", "other"]


def test_any_is_counted_where_it_is_said_and_not_where_it_is_imported():
    text = "from typing import Any\ndef f(x: Any) -> dict[str, Any]:\n    y: Any = 1\n"
    assert open_types(Module.of("mschedx/a.py", text)) == 3


def test_a_docstring_makes_no_function_long():
    text = 'def f():\n    """Say.\n\n    More.\n    """\n    return 1\n'
    module = Module.of("mschedx/a.py", text)
    assert list(long_functions(module, 1)) == [("mschedx.a.f", 2)]
    assert list(long_functions(module, 2)) == []


def test_what_must_be_named_and_the_object_of_a_method_make_no_function_wide():
    text = "def f(a, b, *, c): ...\nclass A:\n    def g(self, a, b, c=1): ...\n"
    module = Module.of("mschedx/a.py", text)
    assert list(wide_functions(module, 2)) == [("mschedx.a.g", 3)]
    assert list(wide_functions(module, 1)) == [("mschedx.a.f", 2), ("mschedx.a.g", 3)]


def test_only_what_follows_an_operator_has_many_parameters():
    """Operators of workloads have their sizes, decompositions the parameters of torch's."""
    wide = {name for module in working_tree() for name, _ in wide_functions(module)}
    operators = ("mschedx.workloads.", "mschedx.networks.decompositions.")
    assert wide
    assert {name for name in wide if not name.startswith(operators)} == set()


PAGE = " ".join((ROOT / "docs/architecture.md").read_text().split())


def most_lines():
    """Of a module, as the page says."""
    (most,) = re.findall(r"no module is longer than (\d+), nor is one of the tests", PAGE)
    return int(most)


def test_no_function_and_no_module_is_longer_than_the_page_says():
    assert f"no function is longer than {LONG} lines" in PAGE
    modules = working_tree()
    assert [pair for module in modules for pair in long_functions(module)] == []
    assert sizes(modules)[-1] <= most_lines()


def test_no_module_of_the_tests_is_longer_either():
    paths = (ROOT / "tests").rglob("*.py")
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert lines
    assert {path for path, count in lines.items() if count > most_lines()} == set()


def prose(page):
    """Lines of a page outside of its tables and code, with their numbers."""
    in_code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code and not line.lstrip().startswith("|"):
            yield number, line


def test_lines_of_prose_are_short_enough_to_be_compared():
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    named = {str(page.relative_to(ROOT)): page for page in pages}
    lines = [
        f"{name}:{number}"
        for name, page in named.items()
        for number, line in prose(page)
        if len(line) > 120 and " " in line.strip()  # a single word cannot be wrapped
    ]
    assert named
    assert lines == []


def test_sizes_are_lines(modules):
    assert sizes(modules) == [0, 1, 1, 2, 2, 3]
    assert summary(modules)["lines of a module: p50 / p90 / max"] == "2 / 2 / 3"


def test_a_revision_reads_what_was_committed(tmp_path):
    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True)

    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    committed = {module.name: module.text for module in working_tree(tmp_path)}
    (tmp_path / "mschedx/top.py").write_text("changed = 1\n")
    assert {module.name: module.text for module in revision("HEAD", tmp_path)} == committed
    with pytest.raises(SystemExit, match="expected a revision with mschedx/, got 'nowhere'"):
        revision("nowhere", tmp_path)
