"""The package in numbers: sizes of modules, long or wide functions, open types, imports of rooms.

    python benchmarks/house.py                   # the working tree
    python benchmarks/house.py --rev HEAD~100    # a revision, read from git

A room is a folder or a module at the top of the package (docs/architecture.md). Lines are all lines
of a file; a function's are those without its docstring. An open type is the name ``Any`` in code.
Rooms lie in a cycle when each imports the other, however far around.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "mschedx"
LONG = 60
"""Lines above which a function no longer fits a screen."""
MANY = 6
"""Parameters above which a call says no longer what is what, unless it names them."""


@dataclass(frozen=True, slots=True)
class Module:
    """A file of the package, read but not imported."""

    name: str
    is_package: bool
    text: str
    tree: ast.Module

    @staticmethod
    def of(path: str, text: str) -> Module:
        """Read the file at a path relative to the root, such as ``mschedx/space/sketch.py``."""
        parts = Path(path).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        return Module(name, is_package, text, ast.parse(text))

    @property
    def room(self) -> str:
        """What lies at the top of the package, ``__init__`` for the package itself."""
        return room_of(self.name)


def room_of(module: str) -> str:
    """The room of a module's name."""
    return ([*module.split("."), "__init__"])[1]


def working_tree(root: Path = ROOT) -> list[Module]:
    """Read the package as it lies on the disk."""
    paths = sorted((root / PACKAGE).rglob("*.py"))
    return [Module.of(str(path.relative_to(root)), path.read_text()) for path in paths]


def revision(rev: str, root: Path = ROOT) -> list[Module]:
    """Read the package of a git revision."""
    command = ["git", "-C", str(root), "archive", rev, PACKAGE]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        why = done.stderr.decode().strip()
        raise SystemExit(f"expected a revision with {PACKAGE}/, got {rev!r}: {why}")
    modules = []
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".py") else None
            if file is not None:
                modules.append(Module.of(member.name, file.read().decode()))
    return modules


def sizes(modules: Iterable[Module]) -> list[int]:
    """Lines of each module, ascending."""
    return sorted(len(module.text.splitlines()) for module in modules)


def open_types(module: Module) -> int:
    """How often the module says ``Any``, imports left out."""
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(module.tree))


def long_functions(module: Module, longest: int = LONG) -> Iterator[tuple[str, int]]:
    """Functions with more lines than ``longest``, with their lines."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assert node.end_lineno is not None, "the parser says where a function ends"
        lines = node.end_lineno - node.lineno + 1
        if ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            lines -= (first.end_lineno or first.lineno) - first.lineno + 1
        if lines > longest:
            yield f"{module.name}.{node.name}", lines


def wide_functions(module: Module, most: int = MANY) -> Iterator[tuple[str, int]]:
    """Functions with more than ``most`` parameters that may go unnamed, with how many.

    That of a method's object is not counted.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
            count = len(names) - (names[:1] in (["self"], ["cls"]))
            if count > most:
                yield f"{module.name}.{node.name}", count


def imported(module: Module, known: Iterable[str]) -> Iterator[str]:
    """Names among ``known`` of the modules that a module imports, wherever in it."""
    known = set(known)
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    above = package.split(".")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = above[: len(above) - node.level + 1] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            submodules = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in known else base for name in submodules]
        else:
            continue
        yield from (name for name in names if name in known)


def room_graph(modules: list[Module]) -> dict[str, set[str]]:
    """For each room, the other rooms that it imports."""
    names = [module.name for module in modules]
    graph: dict[str, set[str]] = {module.room: set() for module in modules}
    for module in modules:
        graph[module.room] |= {room_of(name) for name in imported(module, names)} - {module.room}
    return graph


def in_cycles(graph: Mapping[str, set[str]]) -> list[str]:
    """Rooms that reach themselves."""

    def below(room: str) -> set[str]:
        seen: set[str] = set()
        ahead = set(graph[room])
        while ahead:
            seen |= ahead
            ahead = {other for one in ahead for other in graph[one]} - seen
        return seen

    return sorted(room for room in graph if room in below(room))


def summary(modules: list[Module]) -> dict[str, str]:
    """Give the figures that the documents quote, by name."""
    lines = sizes(modules)
    middle, upper = np.percentile(lines, [50, 90])
    graph = room_graph(modules)
    return {
        "modules": str(len(lines)),
        "lines": f"{sum(lines):,}",
        "lines of a module: p50 / p90 / max": f"{middle:.0f} / {upper:.0f} / {lines[-1]}",
        f"functions longer than {LONG} lines": str(
            sum(1 for module in modules for _ in long_functions(module))
        ),
        f"functions of more than {MANY} unnamed parameters": str(
            sum(1 for module in modules for _ in wide_functions(module))
        ),
        "open types (`Any`)": str(sum(map(open_types, modules))),
        "open types per 1000 lines": f"{1000 * sum(map(open_types, modules)) / sum(lines):.1f}",
        "rooms": str(len(graph)),
        "rooms in a cycle of imports": str(len(in_cycles(graph))),
    }


def by_room(modules: list[Module]) -> str:
    """Say of every room how large it is, how open, and what it imports."""
    graph = room_graph(modules)
    files, lines, anys = Counter[str](), Counter[str](), Counter[str]()
    for module in modules:
        files[module.room] += 1
        lines[module.room] += len(module.text.splitlines())
        anys[module.room] += open_types(module)
    rows = ["| room | modules | lines | `Any` | imports |", "|---|---|---|---|---|"]
    rows += [
        f"| {room} | {files[room]} | {lines[room]:,} | {anys[room]} "
        f"| {', '.join(sorted(graph[room])) or '–'} |"
        for room in sorted(graph, key=lambda room: -lines[room])
    ]
    return "\n".join(rows)


def main() -> None:
    """Print the tables of one state of the package."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--rev", help="a git revision; the working tree when left out")
    rev = arguments.parse_args().rev
    modules = revision(rev) if rev else working_tree()
    print(f"| | {rev or 'working tree'} |\n|---|---|")
    print("\n".join(f"| {name} | {value} |" for name, value in summary(modules).items()))
    print(f"\n{by_room(modules)}\n")
    cycle = in_cycles(room_graph(modules))
    print(f"in a cycle: {', '.join(cycle) or 'none'}")
    longest = sorted((pair for m in modules for pair in long_functions(m)), key=lambda p: -p[1])
    print(f"longer than {LONG} lines:", *(f"\n  {lines:4} {name}" for name, lines in longest))
    widest = sorted((pair for m in modules for pair in wide_functions(m)), key=lambda p: -p[1])
    print(f"more than {MANY} parameters:", *(f"\n  {count:4} {name}" for name, count in widest))


if __name__ == "__main__":
    main()
