"""Cells without the start-up of a process each: one process imports everything and forks them.

A forked cell is as fresh as a new process (nothing of another cell is in it, and it may die alone)
and starts in milliseconds instead of seconds. Its clock starts with the fork, so times of such
cells leave the imports out, those of all tuners alike; the stock pipeline, compared for its wall
time, always gets a process of its own.

`Host` is the harness's side, `_serve` what runs in the process: requests come in on its standard
input as JSON lines ``{"request": ..., "log": path}``, answers go out as lines with the exit
status and the seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from mschedx.measure.failures import MachineTrouble


class HostError(MachineTrouble):
    """The process that forks the cells has died."""


class Host:
    """A process that runs cells, one at a time; a context manager.

    It starts with the first cell, and again after it died.

    Parameters
    ----------
    environment : dict[str, str]
        Of the process and all its cells.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def run(self, request: str, log: Path) -> tuple[int, float]:
        """Run one cell, its output into `log`; gives its exit status and its wall seconds.

        Raises
        ------
        HostError
            If the process that forks could not start or died; a cell that dies is a status.
        """
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"request": request, "log": str(log)}) + "\n")
            process.stdin.flush()
            answer = self._answer(process)
        except BrokenPipeError:
            raise self._died(process) from None
        return answer["status"], answer["wall_s"]

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._answer(self._process)
        return self._process

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise self._died(process)
        return json.loads(line)

    def _died(self, process: subprocess.Popen[str]) -> HostError:
        return HostError(
            f"the process that runs the cells ended with exit status {process.wait()}; its own "
            "words are on standard error. Run again to go on, or without --warm"
        )


def _serve() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not look like an answer
    _import_all()
    _say(answers, {"ready": True})
    while line := sys.stdin.readline():
        asked = json.loads(line)
        begin = time.perf_counter()
        child = os.fork()
        if not child:
            answers.close()
            _cell(asked["request"], asked["log"])
        _, status = os.waitpid(child, 0)
        wall_s = time.perf_counter() - begin
        _say(answers, {"status": os.waitstatus_to_exitcode(status), "wall_s": wall_s})


def _import_all() -> None:
    """Import what any cell imports; nothing here may start a thread, or forking were unsafe."""
    import xgboost  # noqa: F401

    import mschedx.bench.compare.tuners
    import mschedx.cost
    import mschedx.search
    import mschedx.space
    import mschedx.tuning  # noqa: F401


def _say(file: Any, answer: dict[str, Any]) -> None:
    file.write(json.dumps(answer) + "\n")
    file.flush()


def _cell(request: str, log: str) -> None:
    """Run the cell in this forked process, and end the process."""
    from mschedx import measure

    from .cell_process import tune_cell

    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        tune_cell(request)
        status = 0
    except BaseException:  # nothing may return into the loop that serves
        traceback.print_exc()
    finally:
        measure.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
