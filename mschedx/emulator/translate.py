"""From the CUDA that nvcc gets to C++ for the host, line by line.

Three things are rewritten, everything else stays and means what the headers of ``include/`` make
of it:

- ``asm("name operands" : outputs : inputs)`` becomes ``emulator::ptx::name(operands)``: the
  instruction's name with dots as underscores, the operands in the order in which the text names
  them. Constants in the text are operands too.
- ``__shared__ T name[n];`` becomes a reference to an array of the emulated shared memory, and
  ``extern __shared__ T name[];`` a pointer to its dynamic part.
- Every ``__global__`` function gets a second entry, ``emulated_<name>``, that takes its arguments
  as one array of pointers.

No line is added or removed before the entries, so a line of the result is a line of the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

INCLUDE = Path(__file__).parent / "include"

_ASM = re.compile(r"\b(?:__asm__|asm)\s*(?:__volatile__|volatile)?\s*\(")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_OPERAND = re.compile(r"%(\d+)|(?<![\w.%])(\d+)\b")
_DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s+)?([\w ]+?)\s+(\w+)\[\];")
_STATIC = re.compile(r"__shared__\s+(?:alignas\((\d+)\)\s+)?([\w: ]+?)\s+(\w+)\[(\d+)\];")
_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(([^)]*)\)\s*\{")


class UnsupportedSource(ValueError):
    """A program that the emulator does not know; the message names the line and what to do."""


def translate(source: str) -> str:
    """Rewrite CUDA source, as TVM generates it, for the host's compiler.

    Raises
    ------
    UnsupportedSource
        For an instruction that ``include/ptx.h`` does not have, a kernel argument that is no
        pointer, or shared memory that is declared in another way.
    """
    entries = [_entry(name, parameters) for name, parameters in _KERNEL.findall(source)]
    text = _without_asm(source)
    text = _DYNAMIC.sub(
        r"\1* const \2 = static_cast<\1*>(emulator::dynamic_shared_memory());", text
    )
    text = _STATIC.sub(_shared_array, text)
    if (left := re.search(r"^(?!\s*(//|#)).*\b__shared__\b.*$", text, re.MULTILINE)) is not None:
        raise UnsupportedSource(
            f"line {_line(text, left.start())}: expected `[extern] __shared__ type name[size];`, "
            f"got `{left[0].strip()}`"
        )
    return text + "\n" + "".join(entries)


def instructions() -> frozenset[str]:
    """Names of the PTX instructions that there are, dots as underscores."""
    text = (INCLUDE / "ptx.h").read_text(encoding="utf-8").partition("namespace ptx")[2]
    names = set(re.findall(r"void (\w+)\(", text))
    shapes = re.findall(r"^EMULATOR_MMA\d\((\w+)", text, re.MULTILINE)
    names |= {f"mma_sync_aligned_{shape}" for shape in shapes}
    suffixes = re.findall(r"^EMULATOR_LDMATRIX\((\w+)", text, re.MULTILINE)
    loads = re.findall(r"void (\w+)##suffix\(", text)
    names |= {load + suffix for load in loads for suffix in suffixes}
    return frozenset(names)


_INSTRUCTIONS: frozenset[str] = instructions()


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _shared_array(found: re.Match[str]) -> str:
    alignment, element, name, size = found.groups()
    array = f"{element}[{size}]"
    return (
        f"{element} (&{name})[{size}] = *static_cast<{element} (*)[{size}]>("
        f'emulator::shared_array("{name}", sizeof({array}), {alignment or 16}));'
    )


def _entry(name: str, parameters: str) -> str:
    arguments = []
    for i, parameter in enumerate(filter(None, map(str.strip, parameters.split(",")))):
        declared = parameter.replace("__restrict__", "").rsplit(None, 1)[0].strip()
        if not declared.endswith("*"):
            raise UnsupportedSource(
                f"kernel {name}: expected pointers as arguments, got `{parameter}`; "
                "bind dynamic shapes to constants first"
            )
        arguments.append(f"static_cast<{declared}>(arguments[{i}])")
    return (
        f'extern "C" void emulated_{name}(void** arguments) {{ {name}({", ".join(arguments)}); }}\n'
    )


def _without_asm(source: str) -> str:
    """Replace every asm statement by a call, keeping its line breaks."""
    pieces, end = [], 0
    for found in _ASM.finditer(source):
        close = _closing(source, found.end())
        call = _call(source[found.end() : close], _line(source, found.start()))
        breaks = source.count("\n", found.start(), close)
        pieces += [source[end : found.start()], call, "\n" * breaks]
        end = close + 1
    return "".join([*pieces, source[end:]])


def _call(statement: str, line: int) -> str:
    text, *sections = _split(statement, ":")
    instruction = "".join(_STRING.findall(text)).replace("\\n", "").strip(" ;")
    known = re.match(r"[\w.]+", instruction)
    name = known[0].replace(".", "_") if known else instruction
    if name not in _INSTRUCTIONS or ";" in instruction:
        raise UnsupportedSource(
            f"line {line}: the PTX `{instruction}` is not emulated; add a function "
            f"`{name}` to include/ptx.h"
        )
    expressions = [
        operand[operand.index('"', 1) + 1 :].strip()
        for section in sections[:2]
        for operand in map(str.strip, _split(section, ","))
        if operand
    ]
    operands = [
        expressions[int(number)] if number else constant
        for number, constant in _OPERAND.findall(instruction[len(name) :])
    ]
    return f"emulator::ptx::{name}({', '.join(operands)})"


def _characters(text: str, start: int = 0) -> Iterator[tuple[int, str, int]]:
    """Yield place, character and depth of parentheses, outside of strings."""
    depth, i = 0, start
    while i < len(text):
        if text[i] == '"':
            i = _STRING.match(text, i).end()  # type: ignore[union-attr]
            continue
        depth -= text[i] in ")]}"
        yield i, text[i], depth
        depth += text[i] in "([{"
        i += 1


def _closing(text: str, start: int) -> int:
    return next(
        i for i, character, depth in _characters(text, start) if depth < 0 and character == ")"
    )


def _split(text: str, separator: str) -> list[str]:
    """Split at separators outside of parentheses and strings; of `::` the part between is empty."""
    parts, begin = [], 0
    for i, character, depth in _characters(text):
        if character != separator or depth != 0:
            continue
        parts.append(text[begin:i])
        begin = i + 1
    return [*parts, text[begin:]]
