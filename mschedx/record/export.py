"""A winning schedule as files that stock TVM reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvm.s_tir import Schedule
    from tvm.target import Target

_HEADER = '''"""A schedule of {latency_us:.1f} us on {target}, found by mschedx.

``apply(sch)`` turns a tvm.s_tir.Schedule of the unscheduled module into the tuned one; the
result is shown in scheduled.py. Compile with tvm.compile(sch.mod, target=TARGET).
"""

import tvm
from tvm.tirx import IntImm, FloatImm  # constants in the lines below
from tvm.script import tirx as T

TARGET = {target}


def apply(sch):
'''


_INTRINSICS = "import mschedx.intrinsics  # registers those that the lines below name"


def save_schedule(
    directory: Path, schedule: Schedule, target: Target, latency_s: float
) -> dict[str, Path]:
    """Write ``schedule.py``, ``trace.json`` and ``scheduled.py``; give their paths by name."""
    directory.mkdir(parents=True, exist_ok=True)
    trace = schedule.trace
    lines = [str(line) for line in trace.as_python()]
    header = _HEADER
    if any("mschedx_" in line for line in lines):
        header = header.replace("import tvm\n", f"{_INTRINSICS}\nimport tvm\n", 1)
    target_text = json.dumps(json.loads(str(target)))
    files = {
        "schedule": (
            directory / "schedule.py",
            header.format(latency_us=latency_s * 1e6, target=target_text)
            + "".join(f"    {line}\n" for line in lines),
        ),
        "trace": (directory / "trace.json", json.dumps(_plain(trace.as_json())) + "\n"),
        "scheduled": (directory / "scheduled.py", schedule.mod.script() + "\n"),
    }
    for path, text in files.values():
        path.write_text(text)
    return {name: path for name, (path, _) in files.items()}


def _plain(value: object) -> object:
    """Turn TVM's containers into JSON's."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    if hasattr(value, "value"):
        return value.value
    return [_plain(item) for item in value]  # type: ignore[attr-defined]
