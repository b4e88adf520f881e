"""A whole run, killed at random moments until it finishes, and compared with one that was let alone.

    python -m tests.chaos --kills 20

A kill is SIGKILL, at a moment of the run's work drawn evenly: while data are generated, windows and logits cached, in
any stage of any model, while checkpoints, results and the export are written. What a run leaves must be the same to
the bit: every model's weights and answers, the scores, and each line of figures but for its steps a second. A run that
finishes before it is killed is compared as well, and the next one begins.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.test_train import ROOT, tiny_arguments
from tinybert_jax.tracking import METRICS_FILE

_STEPS = ["--stages.0.max-steps", "20", "--teacher-stages.0.max-steps", "10", "--stages.1.max-steps", "10"]
_BITWISE = ["*.safetensors", "predictions.json", "metrics.json", "ingredients.json"]


def start(output: Path, cache: Path) -> "subprocess.Popen[str]":
    """Starts the run, and waits until it is at work in its folder."""
    arguments = tiny_arguments(cache, *_STEPS, "--output", str(output))
    process = subprocess.Popen([sys.executable, "train.py", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not _is_at_work(process.pid, output):
        time.sleep(0.01)
    return process


def _is_at_work(pid: int, output: Path) -> bool:
    with suppress(FileNotFoundError):
        return json.loads((output / ".owner.json").read_text())["pid"] == pid
    return False


def content(output: Path) -> dict[str, bytes | str]:
    """What a finished run has left, by file, less the time that it took."""
    found: dict[str, bytes | str] = {}
    for pattern in _BITWISE:
        found |= {str(path.relative_to(output)): path.read_bytes() for path in output.rglob(pattern)}
    for path in output.rglob(METRICS_FILE):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found[str(path.relative_to(output))] = repr([{**line, "steps_per_second": 0} for line in lines])
    found["results.json"] = repr({**json.loads((output / "results.json").read_text()), "seconds": 0})
    found["folders"] = repr(sorted(path.name for path in output.rglob("*") if path.is_dir()))
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, kills, finished = random.Random(arguments.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(base / "xla"))
        process, began = start(base / "whole", base / "cache"), time.monotonic()
        _, said = process.communicate()
        assert process.returncode == 0, said
        seconds, expected = time.monotonic() - began, content(base / "whole")
        print(f"uninterrupted: {seconds:.1f} s of work, {len(expected)} things to compare", flush=True)
        while kills < arguments.kills or not finished:
            output, cache = base / f"run{finished}", base / f"cache{finished}"
            process, moment = start(output, cache), rng.uniform(0, seconds)
            try:
                _, said = process.communicate(timeout=moment if kills < arguments.kills else None)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                print(f"kill {kills} after {moment:.1f} s", flush=True)
                continue
            assert process.returncode == 0 and "damage" not in said, said
            found = content(output)
            differing = [name for name in expected.keys() | found if expected.get(name) != found.get(name)]
            assert not differing, f"after {kills} kills, other than the uninterrupted run's: {', '.join(differing)}"
            finished += 1
        print(f"{kills} kills, {finished} runs finished: all as the uninterrupted one, to the bit")


if __name__ == "__main__":
    main()
