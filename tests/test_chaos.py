"""A few kills of `tests/chaos.py`, which does more of them by hand."""

import subprocess
import sys
from pathlib import Path


def test_a_run_killed_at_random_moments_ends_as_one_that_was_let_alone():
    command = [sys.executable, "-m", "tests.chaos", "--kills", "3"]
    ended = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("3 kills, ")
