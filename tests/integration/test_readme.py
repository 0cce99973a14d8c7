"""What the README shows runs as it is written, with fewer trials."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def fewer(text):
    """The same with four trials, one for each task of a network, and smaller products."""
    text = text.replace("512", "128")
    text = re.sub(r"(trials(?:_global)?(?:=| ))[1-9]\d*", r"\g<1>4", text)
    return re.sub(r"(trials_per_task\"?(?:=|: ))[1-9]\d*", r"\g<1>1", text)


def test_the_python_blocks_run_in_their_order(tmp_path):
    shown = blocks("python")
    assert len(shown) >= 4
    script = fewer("\n".join(shown))
    assert script.count("=4") == 3
    check = "\nassert np.allclose(c, a @ b, rtol=1e-3), 'the compiled winner computes'\n"
    done = subprocess.run(
        [sys.executable, "-c", script + check], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "decisions" in done.stdout
    assert list((tmp_path / "w" / "best").glob("*/schedule.py"))
    assert (tmp_path / "network.so").exists()
    assert "in place" in done.stdout


def test_the_shell_commands_run_and_end_in_their_table(tmp_path):
    (lines,) = (block.strip().splitlines() for block in blocks("") if block.startswith("mschedx "))
    for line in lines:
        command = [sys.executable, "-m", *fewer(line.split("#")[0]).split()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        if "tune" in line:
            assert "output checked" in done.stdout
            rows = ["unscheduled", "mschedx", "torch"]
            # NumPy has no bfloat16, and the peak is one of float32.
            rows += [] if "bfloat16" in line else ["NumPy", "peak, measured"]
            for row in rows:
                assert re.search(rf"{row}.*\d", done.stdout), row
