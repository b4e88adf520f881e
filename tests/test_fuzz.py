"""Some inputs of `tests/fuzz.py`, which tries more of them by hand."""

import subprocess
import sys
from pathlib import Path


def test_bad_input_of_every_kind_is_refused_in_one_line_or_read():
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", "180"]
    ended = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "180 inputs, 0 failures"
