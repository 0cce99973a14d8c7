"""The same script in fresh processes, under other hash seeds."""

import os
import subprocess
import sys

_WITHOUT_TORCH = """
from mschedx import compat
with compat.without_torch():
    import tvm
"""


def printed_under_hash_seeds(script: str, *folders: str) -> set[str]:
    """What ``script`` prints under two hash seeds; ``folders`` are on its path too.

    TVM is imported before it without PyTorch, which takes more than half of the time.
    """
    path = os.pathsep.join([*folders, *sys.path])
    return {
        subprocess.run(
            [sys.executable, "-c", _WITHOUT_TORCH + script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
