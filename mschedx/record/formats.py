"""What lines of a work_dir must look like, and what TVM must be able to make of them.

TVM reads its files without mercy: a line of another shape ends the process or the run. So each is
held against its shape here, which needs no TVM, and then against TVM itself. Both answer with the
reason for which a line cannot be used, or None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from mschedx import compat
from mschedx.error_text import last_line

from .checks import CHECKED, holds
from .intrinsics import intrinsics_of, require_intrinsics

_ENTRIES: dict[str, dict[str, tuple[type, ...]]] = {
    "session": {},
    "trial": {"index": (int,), "record": (int, type(None))},
    "disqualified": {"record": (int,)},
    "verified": {"record": (int,)},
    "end": {"stages": (dict,)},
    "workload": {"workload": (int,), "content": (list,)},
    "written": {"workload": (int,), "record": (int,), "digest": (int,), "seconds": (list,)},
}
_TILES = ("SamplePerfectTile", "SamplePartitionedTile")
"""Instructions that return as many factors as their first attribute says."""
_OPTIONAL: dict[str, tuple[type, ...]] = {
    "workload": (int,),
    "round": (int,),
    "session": (int,),
    "latency_s": (int, float, type(None)),
    "elapsed_s": (int, float, type(None)),
    "predicted": (int, float, type(None)),
    "reason": (str, type(None)),
    "error": (str, type(None)),
    "task": (str,),
    "unscheduled": (bool,),
    "program": (int, type(None)),
}


def workload_fault(content: Any) -> str | None:
    """Check ``[structural hash, module]``, both texts."""
    whole = isinstance(content, list) and [type(x) for x in content] == [str, str]
    return None if whole and content[0].isdigit() else "not [hash, module]"


def record_fault(content: Any, workloads: int) -> str | None:
    """Check ``[workload, [trace, seconds, target, arguments]]`` against the number of workloads."""
    if not (_is_list(content, 2) and _is_int(content[0]) and _is_list(content[1], 4)):
        return "not [workload, [trace, seconds, target, arguments]]"
    missing = missing_workload(content, workloads)
    if missing is not None:
        return missing
    trace, seconds, target, arguments = content[1]
    if not _is_list(trace, 2) or not all(isinstance(part, list) for part in trace):
        return "its trace is not [instructions, decisions]"
    if not all(map(_is_instruction, trace[0])):
        return "an instruction is not [kind, inputs, attributes, outputs]"
    if not all(_is_decision(one, trace[0]) for one in trace[1]):
        return "a decision is not [instruction, what it may return]"
    if not isinstance(seconds, list) or not all(map(_is_number, seconds)):
        return "its seconds are not a list of numbers"
    if not isinstance(target, dict) or not isinstance(target.get("kind"), str):
        return "its target names no kind"
    if not isinstance(arguments, list) or not all(map(_is_argument, arguments)):
        return 'an argument is not ["TENSOR", dtype, shape]'
    return None


def missing_workload(content: list[Any], workloads: int) -> str | None:
    """Check the workload's number alone, of a record that is whole otherwise."""
    return None if 0 <= content[0] < workloads else f"its workload {content[0]} is not there"


def entry_fault(content: Any) -> str | None:
    """Check an entry of the journal; kinds of a later version pass."""
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        return 'not an object with "kind"'
    required = _ENTRIES.get(content["kind"])
    if required is None:
        return None
    for key, types in required.items():
        if key not in content or not _is_one_of(content[key], types):
            return f"a {content['kind']} without a valid {key!r}"
    for key, types in _OPTIONAL.items():
        if key in content and not _is_one_of(content[key], types):
            return f"{key!r} is {content[key]!r}"
    if content["kind"] in CHECKED and not holds(content):
        return "its check does not hold"
    if content["kind"] == "end" and not all(map(_is_number, content["stages"].values())):
        return "seconds of a stage are no number"
    return None


class TVMReader:
    """Whether this TVM reads workloads and records; what repeats is tried once.

    Loading a record takes two milliseconds, nearly all for its instructions and its target, of
    which a run has few. The remaining part, decisions and seconds, is checked by `record_fault`.
    """

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}
        self._workloads: dict[str, Any] = {}
        self._arguments: dict[str, list[Any]] = {}
        self._intrinsics: set[str] = set()

    def workload(self, content: list[Any]) -> str | None:
        """Say why this TVM cannot load a workload."""
        from tvm.s_tir.meta_schedule.database import Workload

        def load() -> None:
            self._workloads[content[1]] = Workload.from_json(content)

        return self._tried(content, load)

    def record(self, content: list[Any], workload: list[Any]) -> str | None:
        """Say why this TVM cannot load a record of a workload that it can.

        Raises
        ------
        WorkDirError
            If its tensor intrinsics are not registered here: the record is sound then.
        """
        from tvm.s_tir.meta_schedule.database import TuningRecord

        (instructions, _), _, target, arguments = content[1]
        key = [instructions, target, arguments]
        owner = self._workloads[workload[1]]
        if not self._fit(arguments, workload):
            return "its arguments are not those of its workload"
        require_intrinsics(intrinsics_of(content[1][0]) - self._intrinsics)
        self._intrinsics |= intrinsics_of(content[1][0])
        return self._tried(key, lambda: TuningRecord.from_json(content[1], owner))

    def _fit(self, arguments: list[Any], workload: list[Any]) -> bool:
        """Whether arguments have the dtypes and shapes of a workload's parameters.

        A parameter of free layout is an argument in the layout that the record gave it.
        """
        wanted = self._parameters(workload)
        if len(arguments) != len(wanted):
            return False
        (function,) = self._workloads[workload[1]].mod.functions.values()
        free = compat.free_layouts(function)
        return all(
            found[1] == dtype and (position in free or found[2] == shape)
            for position, (found, (dtype, shape)) in enumerate(zip(arguments, wanted))
        )

    def _parameters(self, workload: list[Any]) -> list[Any]:
        """Dtype and shape of a workload's parameters."""
        from tvm.s_tir.meta_schedule.arg_info import ArgInfo

        if workload[1] not in self._arguments:
            infos = ArgInfo.from_entry_func(self._workloads[workload[1]].mod, False)
            self._arguments[workload[1]] = [
                [str(dtype), [int(extent) for extent in shape]]
                for _, dtype, shape in (info.as_json() for info in infos)
            ]
        return self._arguments[workload[1]]

    def _tried(self, key: Any, load: Callable[[], Any]) -> str | None:
        text = json.dumps(key)
        if text not in self._known:
            try:
                load()
                self._known[text] = None
            except Exception as error:  # TVM raises whatever its parsers raise
                self._known[text] = last_line(error)[:200]
        return self._known[text]


def _is_list(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def _is_int(value: Any) -> bool:
    """Whether it is an integer that a machine has: what TVM writes, hashes included."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and -(1 << 63) <= value < 1 << 64


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _is_one_of(value: Any, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) and (not isinstance(value, int | float) or _is_number(value))


def _is_decision(decision: Any, instructions: list[Any]) -> bool:
    """Whether it is the place of an instruction that samples, and what that may return.

    Of anything else TVM raises, or ends the process, when it opens the database.
    """
    if not (_is_list(decision, 2) and _is_int(decision[0])):
        return False
    place, value = decision
    if not 0 <= place < len(instructions):
        return False
    kind, _, attributes, _ = instructions[place]
    first = attributes[0] if attributes else None
    if kind in _TILES:
        whole = isinstance(value, list) and len(value) == first
        return whole and all(_is_int(part) and part > 0 for part in value)
    if kind == "SampleCategorical":
        return isinstance(first, list) and _is_int(value) and 0 <= value < len(first)
    return kind.startswith("Sample") and _is_int(value)


def _is_instruction(value: Any) -> bool:
    return (
        _is_list(value, 4)
        and isinstance(value[0], str)
        and all(isinstance(part, list) for part in value[1:])
    )


def _is_argument(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(part, str) for part in value[:2])
        and isinstance(value[2], list)
        and all(map(_is_int, value[2]))
    )
