"""CPU seconds to go on in a folder of many records, beyond those in a folder of few.

    python benchmarks/resume.py --records 2000

A 512³ GEMM in mschedx's space; nothing is built or run, and the winner is not checked. Each of the
two runs has a process of its own, after its imports; user and system time, threads included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

_FEW, _MORE = 8, 8


def tuned_s(folder: Path, trials: int, strategy: Any = None) -> float:
    """CPU seconds of one call of `mschedx.tune`."""
    from dummy import NoBuilder, NoRunner, gemm

    import mschedx
    import mschedx.cost
    import mschedx.search

    begin = time.process_time()
    mschedx.tune(
        gemm(512, 512, 512),
        trials=trials,
        work_dir=folder,
        strategy=strategy,
        builder=NoBuilder(),
        runner=NoRunner(),
        verify=False,
        progress=False,
    )
    return time.process_time() - begin


def resumed_s(records: int) -> float:
    """CPU seconds of going on in a new folder of so many records, in a process of its own."""
    from mschedx.search import ConstrainedRandom

    with tempfile.TemporaryDirectory(prefix="mschedx-") as folder:
        tuned_s(Path(folder), records, ConstrainedRandom())
        again = [sys.executable, __file__, "--records", str(records + _MORE), "--folder", folder]
        found = subprocess.run(again, check=True, capture_output=True, text=True)
    return float(found.stdout.split()[-1])


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--records", type=int, default=2000)
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.folder:
        print(tuned_s(arguments.folder, arguments.records))
        return
    few, many = resumed_s(_FEW), resumed_s(arguments.records)
    print(f"{_FEW} records {few:.2f} s, {arguments.records} records {many:.2f} s of CPU")


if __name__ == "__main__":
    main()
