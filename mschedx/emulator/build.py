"""From source to a library by the host's C++ compiler: the runtime once, kernels each."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .source import Program
from .translate import INCLUDE, translate

RUNTIME = Path(__file__).parent / "runtime"

# The instrumentation calls functions of ours; the sanitizer's own library is not linked.
_KERNEL = (
    "-O1",
    "-g1",
    "-w",
    "-fsanitize=thread",
    "--param=tsan-instrument-func-entry-exit=0",
    "-fno-tree-sra",  # keeps vectors whole: one access each
    "-fno-strict-aliasing",
    "-fno-exceptions",
    "-I",
    str(INCLUDE),
)
_COMMON = ("-std=c++20", "-fPIC", "-ffp-contract=off", "-U_FORTIFY_SOURCE")


class CompilationError(RuntimeError):
    """The host's compiler rejects what the translation made; the message is its own."""


@dataclass(frozen=True, slots=True)
class Library:
    """Compiled kernels of one program.

    Attributes
    ----------
    path : Path
        A shared object; whoever built it removes it.
    program : Program
    """

    path: Path
    program: Program


@functools.cache
def compiler() -> str:
    """Path of g++ 12 or newer.

    Raises
    ------
    RuntimeError
        If there is none.
    """
    path = shutil.which("g++")
    if path is None:
        raise RuntimeError(
            "no g++ on the path: the emulator compiles kernels with it (12 or newer)"
        )
    version = subprocess.run([path, "-dumpversion"], capture_output=True, text=True, check=True)
    if int(version.stdout.split(".")[0]) < 12:
        raise RuntimeError(f"expected g++ 12 or newer, got {version.stdout.strip()} ({path})")
    return path


def build(program: Program, folder: Path) -> Library:
    """Translate and compile a program's kernels into ``folder``.

    Raises
    ------
    UnsupportedSource
        See :func:`.translate.translate`.
    CompilationError
        If the compiler rejects it.
    """
    text = translate(program.source)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    source, library = folder / f"{name}.cc", folder / f"{name}.so"
    if not library.exists():
        source.write_text(text, encoding="utf-8")
        partial = folder / f"{name}.o"
        prefix = ("-I", str(prepared()), "-include", "prefix.h")
        _compile(*_COMMON, *_KERNEL, *prefix, "-c", str(source), "-o", str(partial))
        # Linked apart, without -fsanitize: nothing of the sanitizer's comes in.
        _compile("-shared", str(partial), "-o", str(library))
        partial.unlink()
    return Library(library, program)


@functools.cache
def prepared() -> Path:
    """Compile what all kernels share, once for every state of its sources, into the user's cache.

    Returns
    -------
    Path
        A folder with ``runtime.so``, and ``prefix.h``, the headers of a kernel, precompiled.
    """
    sources = sorted(path for path in (*RUNTIME.iterdir(), *INCLUDE.iterdir()) if path.is_file())
    key = hashlib.sha256(repr((compiler(), _COMMON, _KERNEL)).encode())
    for path in sources:
        key.update(path.read_bytes())
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mschedx" / "emulator"
    )
    folder = cache / key.hexdigest()[:16]
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=cache))
        try:
            _prepare(partial, [str(path) for path in sources if path.suffix == ".cc"])
            with suppress(OSError):  # another process was first
                os.replace(partial, folder)  # whole, or not there
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _prepare(folder: Path, runtime: list[str]) -> None:
    _compile(*_COMMON, "-O2", "-shared", *runtime, "-o", str(folder / "runtime.so"))
    prefix = folder / "prefix.h"
    prefix.write_text('#include "emulator.h"\n#include "mma.h"\n', encoding="utf-8")
    _compile(*_COMMON, *_KERNEL, "-x", "c++-header", str(prefix), "-o", f"{prefix}.gch")


def _compile(*options: str) -> None:
    done = subprocess.run([compiler(), *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CompilationError(done.stderr[:2000])
