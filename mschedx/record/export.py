"""A winning schedule as files that TVM alone reads, where mschedx is not installed.

What is written has been read back before: lines of a schedule are run, TVMScript is parsed, and
both must give the scheduled module. Where TVM's printer writes what its parser refuses (strings of
LLVM code, 16-bit constants), the file loads the same thing from the JSON beside it instead.
"""

from __future__ import annotations

import json
import runpy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mschedx import compat
from mschedx.files import write_atomic

from .intrinsics import intrinsics_of
from .schedules import trace_of

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.s_tir import Schedule
    from tvm.target import Target

_SCHEDULE = '''"""A schedule of {latency_us:.1f} us on {target}, found by mschedx {version}.

``apply(sch)`` turns a tvm.s_tir.Schedule of the unscheduled module (unscheduled.json) into the
tuned one, which scheduled.py shows. Compile with tvm.compile(sch.mod, target=TARGET).{about}
Needs TVM only, of the version that tuned ({tvm}).
"""

{imports}
import tvm
from tvm.script import tirx as T
from tvm.tirx import FloatImm, IntImm  # constants in the lines below

TARGET = {target}
{register}

def apply(sch):
{body}'''

_ABOUT_INTRINSICS = """
Importing this file registers the tensor intrinsics of intrinsics.json, which the schedule names:
{names}."""

_REGISTER = '''

def register_intrinsics():
    """Make the tensor intrinsics known that the schedule (and trace.json) names."""
    functions = json.loads(Path(__file__).with_name("intrinsics.json").read_text())
    for name, (description, implementation) in functions.items():
        if tvm.s_tir.TensorIntrin.get(name, allow_missing=True) is None:
            tvm.s_tir.TensorIntrin.register(
                name, tvm.ir.load_json(description), tvm.ir.load_json(implementation)
            )


register_intrinsics()
'''

_FROM_TRACE = """    trace = json.loads(Path(__file__).with_name("trace.json").read_text())
    tvm.s_tir.schedule.Trace.apply_json_to_schedule(trace, sch)
"""

_IMPORTS = """from tvm.script import ir as I
from tvm.script import tirx as T

"""

_FROM_JSON = '''"""The scheduled module, loaded from scheduled.json as ``Module``.

TVM's parser does not read what its printer writes for this one, so the script is text here.
"""

from pathlib import Path

import tvm

Module = tvm.ir.load_json(Path(__file__).with_name("scheduled.json").read_text())
SCRIPT = {script!r}

if __name__ == "__main__":
    print(SCRIPT)
'''


def save_schedule(
    directory: Path, schedule: Schedule, mod: IRModule, target: Target, latency_s: float
) -> dict[str, Path]:
    """Write a schedule and its program.

    Parameters
    ----------
    directory : Path
        Made if it is not there; files of an earlier call are replaced.
    schedule : Schedule
    mod : IRModule
        The unscheduled module.
    target : Target
    latency_s : float
        For the head of the file, seconds.

    Returns
    -------
    dict[str, Path]
        "schedule" (``schedule.py``, with ``apply(sch)``), "trace" (the same as JSON for
        ``Trace.apply_json_to_schedule``), "scheduled" (``scheduled.py``, with ``Module``),
        "unscheduled" and "scheduled_json" (modules for ``tvm.ir.load_json``), and "intrinsics"
        where the schedule names any.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    import tvm

    trace = _plain(trace_of(schedule).as_json())
    names = sorted(intrinsics_of(trace))
    texts = {
        "unscheduled": ("unscheduled.json", tvm.ir.save_json(mod)),
        "scheduled_json": ("scheduled.json", tvm.ir.save_json(schedule.mod)),
        "trace": ("trace.json", json.dumps(trace) + "\n"),
        "scheduled": ("scheduled.py", _scheduled(schedule.mod)),
        "schedule": ("schedule.py", _schedule(schedule, mod, target, latency_s, names)),
    }
    if names:
        texts["intrinsics"] = ("intrinsics.json", json.dumps(_intrinsics(names)) + "\n")
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.values():
        write_atomic(directory / name, text)
    return {key: directory / name for key, (name, _) in texts.items()}


def _schedule(
    schedule: Schedule, mod: IRModule, target: Target, latency_s: float, names: list[str]
) -> str:
    from .work_dir import versions

    lines = "".join(f"    {line}\n" for line in trace_of(schedule).as_python())
    runs = _runs(lines, mod, schedule)
    about = _ABOUT_INTRINSICS.format(names=", ".join(names)) if names else ""
    return _SCHEDULE.format(
        latency_us=latency_s * 1e6,
        target=repr(json.loads(str(target))),
        version=versions()["mschedx"],
        tvm=versions()["tvm"],
        about=about,
        imports="" if runs and not names else "import json\nfrom pathlib import Path\n",
        register=_REGISTER if names else "",
        body=lines if runs else _FROM_TRACE,
    )


def _runs(lines: str, mod: IRModule, schedule: Schedule) -> bool:
    """Whether the lines of a schedule do what its trace does."""
    import tvm_ffi
    from tvm.s_tir import Schedule
    from tvm.script import tirx  # pyright: ignore[reportMissingModuleSource]  # made at run time
    from tvm.tirx import FloatImm, IntImm

    scope: dict[str, Any] = {"T": tirx, "IntImm": IntImm, "FloatImm": FloatImm}
    again = Schedule(mod)
    try:
        exec(f"def apply(sch):\n{lines}", scope)
        scope["apply"](again)
    except Exception:  # whatever a printed line makes Python or TVM raise
        return False
    return bool(tvm_ffi.structural_equal(again.mod, schedule.mod))


def _scheduled(mod: IRModule) -> str:
    script = mod.script()
    text = f"{_IMPORTS}{script}\n"
    return text if _gives(text, mod) else _FROM_JSON.format(script=script)


def _gives(text: str, mod: IRModule) -> bool:
    """Whether a file with this text defines the module; TVMScript reads its own file."""
    import tvm_ffi

    with tempfile.TemporaryDirectory(prefix="mschedx-script-") as folder:
        file = Path(folder) / "scheduled.py"
        file.write_text(text)
        try:
            with compat.fast_script():
                found = runpy.run_path(str(file))["Module"]
        except Exception:  # whatever the parser raises
            return False
    return bool(tvm_ffi.structural_equal(found, mod))


def _intrinsics(names: list[str]) -> dict[str, list[str]]:
    """Description and implementation of each, as ``tvm.ir.save_json`` writes them."""
    import tvm
    from tvm.s_tir import TensorIntrin

    found = {}
    for name in names:
        intrinsic = TensorIntrin.get(name)
        assert intrinsic is not None, "get raises where there is none"
        found[name] = [tvm.ir.save_json(intrinsic.desc), tvm.ir.save_json(intrinsic.impl)]
    return found


def _plain(value: Any) -> Any:
    """Turn TVM's containers into JSON's."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    if hasattr(value, "value"):
        return value.value
    return [_plain(item) for item in value]
