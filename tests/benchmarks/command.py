"""Runs a benchmark's command line, as the tests beside this do."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# LLVM's optimisations of these programs take as long as everything else here.
SETTINGS = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}


def run(name, *arguments):
    command = [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | SETTINGS, capture_output=True, text=True, timeout=900)
