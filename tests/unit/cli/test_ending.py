import subprocess
import sys

LEAVING = """
import atexit, os, signal, sys, threading, time
from mschedx.cli.ending import leave

class TakenApart:
    def __del__(self, end=os._exit):
        end(77)

sys.kept = TakenApart()  # as objects of libraries are, until the interpreter is taken apart
atexit.register(print, "exit function")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
sys.stdout.write("unflushed ")
{end}
"""


def run(end):
    return subprocess.run(
        [sys.executable, "-c", LEAVING.format(end=end)], capture_output=True, text=True
    )


def test_the_command_does_all_but_take_the_interpreter_apart():
    left = run("leave(130)")
    assert (left.returncode, left.stderr) == (130, "")
    assert left.stdout == "unflushed thread\nexit function\n"
    assert run("sys.exit(130)").returncode == 77, "what leave avoids"


def test_ctrl_c_at_the_very_end_changes_nothing():
    end = "atexit.register(signal.raise_signal, signal.SIGINT); leave(130)"
    assert run(end).returncode == 130
