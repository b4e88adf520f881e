"""Runs a benchmark's command line, as the tests beside this do."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(script, *arguments):
    # LLVM's optimisations of these programs take as long as everything else here.
    settings = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "benchmarks" / script, *arguments]
    return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=300)
