"""Imports between rooms go one way; docs/architecture.md draws it."""

import ast
from pathlib import Path

import pytest
from house import imported, working_tree

# A room may import itself, those named with it, and what those may import.
ALLOWED = {
    "version": (),
    "files": (),
    "error_text": (),
    "latency": (),
    "ranks": (),
    "kernel": ("compat", "error_text"),
    "cgroups": (),
    "compat": ("cgroups", "ranges"),
    "collector": (),
    "ranges": (),
    "user_warnings": (),
    "run_stages": (),
    "intrinsics": (),
    "hardware": ("compat", "files"),
    "workloads": (),
    "inputs": ("hardware", "ranges", "user_warnings", "error_text"),
    "space": ("compat", "hardware", "intrinsics", "collector", "error_text"),
    "cost": (
        "space",
        "files",
        "latency",
        "ranks",
        "hardware",
        "ranges",
        "run_stages",
        "user_warnings",
    ),
    "search": ("cost", "record"),
    "measure": ("compat", "ranges"),
    "emulator": ("measure",),
    "record": (
        "measure",
        "files",
        "intrinsics",
        "latency",
        "user_warnings",
        "version",
        "error_text",
    ),
    "report": ("record", "ranks", "hardware"),
    "winner": ("record",),
    "process_state": (),
    "unscheduled": ("record", "search"),
    "plan": ("record",),
    "recorder": ("plan", "unscheduled", "report"),
    "session": ("search", "recorder", "process_state"),
    "ranking": ("search", "inputs"),
    "tune_result": ("report", "kernel", "search"),
    "ranked_result": ("ranking", "plan", "tune_result"),
    "tuning": ("session", "winner", "inputs", "tune_result", "ranking", "ranked_result"),
    "models": (),
    "networks": ("tuning", "models"),
    "bench": ("networks", "workloads"),
    "cli": ("bench", "networks"),
    "__main__": ("cli",),
    "__init__": ("networks", "workloads"),
}
WITHIN_SPACE = {
    "errors": (),
    "algebra": ("errors",),
    "sampling": ("algebra",),
    "annotation_keys": (),
    "postprocs": ("annotation_keys",),
    "miscompiled": (),
    "trace": ("sampling", "postprocs", "miscompiled"),
    "rules": ("errors", "annotation_keys", "miscompiled"),
    "task": (),
    "statements": ("algebra",),
    "analysis": ("trace", "statements"),
    "or_as_it_is": ("trace", "task"),
    "target": ("rules", "postprocs", "or_as_it_is"),
    "design_spaces": ("target", "trace"),
    "describe": ("statements",),
    "sketch": ("trace", "analysis", "describe", "task"),
    "opening": ("sketch", "design_spaces"),
    "resolver": ("opening",),
    "__init__": ("resolver",),
}
WITHIN_ANALYSIS = {
    "model": (),
    "policy": (),
    "read": ("model", "policy"),
    "fit": ("read",),
    "mirror": ("fit",),
    "derive": ("mirror",),
    "compose": ("derive",),
    "analyse": ("compose",),
    "replayed": ("fit",),
    "exactness": ("derive",),
    "__init__": ("analyse",),
}


MODULES = working_tree()
NAMES = [module.name for module in MODULES]


def _reachable(allowed):
    closed = {}

    def close(room):
        if room not in closed:
            closed[room] = {room}.union(*(close(below) for below in allowed[room]))
        return closed[room]

    for room in allowed:
        close(room)
    return closed


def _room(module, inside):
    """The part of a module's path below ``inside``; None outside, "__init__" for itself."""
    if module == inside:
        return "__init__"
    return module[len(inside) + 1 :].split(".")[0] if module.startswith(f"{inside}.") else None


@pytest.mark.parametrize(
    ("inside", "allowed"),
    [
        ("mschedx", ALLOWED),
        ("mschedx.space", WITHIN_SPACE),
        ("mschedx.space.analysis", WITHIN_ANALYSIS),
    ],
)
def test_no_import_runs_up(inside, allowed):
    closed = _reachable(allowed)
    wrong = [
        f"{module.name} imports {name}"
        for module in MODULES
        for name in imported(module, NAMES)
        if (room := _room(module.name, inside)) and (other := _room(name, inside))
        if other not in closed[room]
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("base", "inside"),
    [("PyPostproc", "mschedx.space.postprocs"), ("PyScheduleRule", "mschedx.space.rules")],
)
def test_postprocs_and_rules_lie_in_rooms_of_their_own(base, inside):
    rooms = {
        module.name.rpartition(".")[0]
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and base in map(ast.unparse, node.bases)
    }
    assert rooms == {inside}


@pytest.mark.parametrize("room", ["", "networks.", "search.", "space.rules."])
def test_the_page_names_every_module_of_the_top_and_of_the_largest_rooms(room):
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    inside = f"mschedx.{room}"
    names = [name.removeprefix(inside) for name in NAMES if name.startswith(inside)]
    if not room:
        names = [name for name in names if "." not in name]
    names = [name.replace(".", "/") for name in names]
    missing = [name for name in names if f"`{name}`" not in page and f"`{name}/`" not in page]
    assert not missing


def test_a_test_named_after_a_module_lies_where_the_module_does():
    root = Path(__file__).parents[2]
    unit, package = root / "tests" / "unit", root / "mschedx"
    misplaced = []
    for path in unit.rglob("test_*.py"):
        folder, name = path.parent.relative_to(unit), path.stem.removeprefix("test_")
        if folder == Path("benchmarks"):
            continue
        named = {found.parent.relative_to(package) for found in package.rglob(f"{name}.py")}
        deeper = {other for other in named if folder in other.parents}
        if not (package / folder).is_dir() or (deeper and folder not in named):
            misplaced.append(f"{path.relative_to(root)}: expected in {sorted(map(str, deeper))}")
    assert not misplaced


def test_every_module_has_a_room():
    for inside, allowed in (
        ("mschedx", ALLOWED),
        ("mschedx.space", WITHIN_SPACE),
        ("mschedx.space.analysis", WITHIN_ANALYSIS),
    ):
        rooms = {_room(name, inside) for name in NAMES} - {None}
        assert rooms == set(allowed)
