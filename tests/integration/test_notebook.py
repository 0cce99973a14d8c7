"""The notebook runs from its first cell to its last."""

import json
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).parents[2] / "examples" / "network.ipynb"


def test_every_cell_runs(tmp_path):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 8
    assert all(not cell.get("outputs") for cell in cells), "committed without outputs"
    script = "\n".join(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "in place" in done.stdout
    assert "output checked: True" in done.stdout
