"""Turn the object files of one candidate into a shared library, by the quickest tool there is.

``ld -shared`` links a candidate in 3 ms where a compiler driver takes 13 ms and the archive that
TVM's own builder writes is linked later, in the runner. The runtime's functions are resolved when
the library is loaded; what the C library does not offer (helpers for 16-bit floats, for instance)
comes from libgcc where there is one.
"""

from __future__ import annotations

import functools
import glob
import os
import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence

from .failures import MachineTrouble


def link_shared(output: str, objects: Sequence[str], **_: object) -> None:
    """Link `objects` into the shared library `output`; fits ``export_library(fcompile=...)``.

    Raises
    ------
    RuntimeError
        With the linker's message if it refuses the objects.
    MachineTrouble
        If no linker is installed.
    """
    command = [*_linker(), "-shared", "-o", output, *objects]
    compiler_runtime = _compiler_runtime()
    if compiler_runtime is not None:
        command.append(compiler_runtime)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"linking failed: {' '.join(command)}\n{done.stderr.strip()}")


# TVM asks the function that links which kind of object it wants.
link_shared.object_format = "o"  # type: ignore[attr-defined]


@functools.cache
def _linker() -> tuple[str, ...]:
    """First of ``$MSCHEDX_LD``, ld, ld.lld, cc, gcc, clang that is there."""
    asked = os.environ.get("MSCHEDX_LD")
    for name in (asked,) if asked else ("ld", "ld.lld", "cc", "gcc", "clang"):
        path = shutil.which(name)
        if path is not None:
            return (path,)
    raise MachineTrouble(
        f"no linker found ({asked or 'ld, ld.lld, cc, gcc, clang'}). "
        "Install binutils or a C compiler, or name one in MSCHEDX_LD."
    )


@functools.cache
def _compiler_runtime() -> str | None:
    """Path of this machine's newest libgcc.a, or None; compilers for others may have theirs."""
    machine = (sysconfig.get_config_var("MULTIARCH") or platform.machine()).partition("-")[0]
    found = [
        path
        for folder in ("/usr/lib/gcc", "/usr/lib64/gcc")
        for path in glob.glob(f"{folder}/{machine}-*/*/libgcc.a")
    ]

    def version(path: str) -> list[int]:
        return [int(part) for part in path.split("/")[-2].split(".") if part.isdigit()]

    return max(found, key=version, default=None)
