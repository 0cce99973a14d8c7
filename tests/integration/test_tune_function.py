"""The example of a function of one's own, with two trials."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "tune_function.py"


def test_a_function_is_tuned_both_ways_and_computes(tmp_path):
    command = [sys.executable, str(EXAMPLE), "--trials", "2", "--work-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("equal to NumPy") == 2
    for name in ("one_call", "tune_tir"):
        records = (tmp_path / name / "database_tuning_record.json").read_text()
        assert len(records.splitlines()) == 2
