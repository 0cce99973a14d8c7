"""Ways in which the files of a work_dir are spoilt, and what must be true when it is reopened."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from stand_ins import Runner, gemm, quick
from tvm.s_tir import meta_schedule as ms

from mschedx.inputs import normalize_mod
from mschedx.record.contents import RECORDS, TRIALS, WORKLOADS
from mschedx.record.programs import program_hash
from mschedx.record.schedules import read_record, replay
from mschedx.record.trials import read_run
from mschedx.record.work_dir import MANIFEST
from mschedx.tuning import tune

FILES = (WORKLOADS, RECORDS, TRIALS, MANIFEST)
KINDS = ("cut", "flip", "blank", "duplicate", "foreign", "nan", "swap", "empty", "delete")
_TRIALS = 8
_NEW_MS = 50.0  # what a trial takes that is measured after the spoiling


@dataclass(frozen=True)
class Base:
    """A folder with the trials of two functions, and those of another run."""

    path: Path
    shown: dict[str, float]
    """Latency by the trace, JSON, of the first function's records."""
    programs: dict[int, float]
    """Latency by the scheduled program."""
    foreign: dict[str, bytes]
    """The files of another run."""


def make_base(folder: Path) -> Base:
    """Tune two functions in one folder and a third in another."""
    path, other = folder / "base", folder / "other"
    for function, first in ((gemm(), 4.0), (gemm(64), 30.0)):
        latencies = [first + 0.25 * i for i in range(_TRIALS)]
        tune(function, trials=_TRIALS, work_dir=path, **quick(Runner(latencies)))
    tune(gemm(48), trials=_TRIALS, work_dir=other, **quick(Runner([1.0] * _TRIALS)))
    shown = {trace: latency for trace, latency in _records(path, 0)}
    assert len(shown) == _TRIALS
    run = read_run(path, 0)
    workload = ms.database.Workload(normalize_mod(gemm()))
    programs = {}
    for record in run.records.values():
        replayed = replay(read_record(record, workload).trace, workload.mod)
        programs[program_hash(replayed.mod)] = float(record[1][0])
    return Base(path, shown, programs, {name: (other / name).read_bytes() for name in FILES})


def _records(path: Path, workload: int) -> list[tuple[str, float]]:
    lines = (path / RECORDS).read_text().splitlines()
    contents = [json.loads(line) for line in lines]
    return [(json.dumps(c[1][0]), float(c[1][1][0])) for c in contents if c[0] == workload]


def spoil(path: Path, name: str, kind: str, foreign: bytes, rng: np.random.Generator) -> set[int]:
    """Spoil a file; which of its lines are not as they were."""
    file = path / name
    data = file.read_bytes()
    lines = data.split(b"\n")[:-1]
    at = int(rng.integers(len(lines)))
    every = set(range(len(lines)))
    if kind == "delete":
        file.unlink()
        return every
    if kind == "empty":
        file.write_bytes(b"")
        return every
    if kind == "cut":
        place = int(rng.integers(len(data)))
        file.write_bytes(data[:place])
        return every - set(range(data[:place].count(b"\n")))
    if kind == "flip":
        place = int(rng.integers(len(data)))
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(bytes(changed))
        line = data[:place].count(b"\n")
        return {line, line + 1} if data[place] == 10 else {line}
    touched: set[int] = set()
    if kind == "blank":
        lines.insert(at, b"")
    elif kind == "duplicate":
        lines.insert(int(rng.integers(len(lines) + 1)), lines[at])
    elif kind == "foreign":
        others = foreign.split(b"\n")[:-1]
        lines.insert(at, others[int(rng.integers(len(others)))])
    elif kind == "nan":
        spoilt = json.dumps({"kind": "trial", "index": 0, "record": 0, "latency_s": math.nan})
        lines[at] = spoilt.encode()
        touched = {at}
    elif kind == "swap":
        other = int(rng.integers(len(lines)))
        lines[at], lines[other] = lines[other], lines[at]
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    return touched


def reopened(base: Base, folder: Path, name: str, kind: str, seed: int) -> list[str]:
    """Spoil a copy of the folder, tune on, and say what is not as it must be.

    - nothing raises;
    - every record of the function is still there, unless its own line was spoilt;
    - every record has the latency that its trace was measured with;
    - the schedule that comes back is that of the latency that comes back.
    """
    rng = np.random.default_rng([seed, FILES.index(name), KINDS.index(kind)])
    path = folder / "spoilt"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(base.path, path)
    order = [trace for trace, _ in _records(path, 0)]
    touched = spoil(path, name, kind, base.foreign[name], rng)
    gone = {trace for i, trace in enumerate(order) if name == RECORDS and i in touched}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = tune(
                gemm(), trials=_TRIALS, work_dir=path, **quick(Runner([_NEW_MS] * _TRIALS))
            )
        except Exception as error:  # whatever it is, it is what is looked for
            return [f"raised {type(error).__name__}: {str(error).strip()[-200:]}"]
    faults = []
    there = {t.record: t for t in result.history}
    number = result.best.workload if result.best is not None else 0
    records = [json.loads(line) for line in (path / RECORDS).read_text().splitlines()]
    found = {}
    for place, (workload, record) in enumerate(records):
        if workload == number:
            found[json.dumps(record[0])] = there[place].latency_s if place in there else None
    lost = set(base.shown) - gone - set(found)
    if lost:
        faults.append(f"lost {len(lost)} records")
    for trace, latency in found.items():
        wanted = base.shown.get(trace)
        wanted = _NEW_MS / 1000 if wanted is None or trace in gone else wanted
        if latency is None or not math.isclose(latency, wanted, rel_tol=1e-6):
            faults.append(f"a record says {latency}, measured was {wanted}")
    if result.schedule is None:
        faults.append("no schedule")
    else:
        own = program_hash(result.schedule.mod)
        wanted = base.programs.get(own, _NEW_MS / 1000)
        news = math.isclose(result.latency_s, _NEW_MS / 1000, rel_tol=1e-6)
        if not news and not math.isclose(result.latency_s, wanted, rel_tol=1e-6):
            faults.append(f"came back with {result.latency_s}, its schedule was {wanted}")
    return faults
