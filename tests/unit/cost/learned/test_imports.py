"""Torch takes seconds to import: nobody pays for it who uses no learned model."""

import subprocess
import sys

CODE = """
import sys
from mschedx import compat
with compat.without_torch():
    import mschedx.cost, mschedx.search, mschedx.tuning
assert 'torch' not in sys.modules
# And whoever wants one later can still have it.
from mschedx.cost import PAM
assert 'torch' in sys.modules
PAM()
try:
    mschedx.cost.Nobody
except AttributeError as error:
    print(error)
"""


def test_learned_models_are_imported_when_asked_for():
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "module 'mschedx.cost' has no attribute 'Nobody'"
