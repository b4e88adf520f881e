"""Tries an installed wheel from an empty folder: `.ci/wheel` runs it in an environment that holds nothing else."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **os.environ,
    "XDG_CACHE_HOME": str(Path.cwd() / "cache"),
    "PYTHONPATH": "",
    "HF_HUB_OFFLINE": "1",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",  # compiled in half of the time: that commands work is tried, not speed
}
SMALL = (
    "--teacher-stages.0.max-steps 3 --stages.0.max-steps 2 --stages.1.max-steps 2 --no-compare-undistilled "
    "--synthetic.data.train-articles 4 --synthetic.data.dev-articles 2 --buckets 80 "
    "--synthetic.teacher.num-hidden-layers 2 --synthetic.student.num-hidden-layers 1"
)


def run(*command: str) -> str:
    """What a command says on stdout; it must end well."""
    ended = subprocess.run([BIN / command[0], *command[1:]], capture_output=True, text=True, env=ENVIRONMENT)
    if ended.returncode:
        sys.exit(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def processor_seconds() -> float:
    """What all commands so far have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(*command: str) -> float:
    """What a command uses of a processor: wheels are tried side by side, so that it may wait for one."""
    before = processor_seconds()
    run(*command)
    return processor_seconds() - before


def main() -> None:
    """Starts every command; trains, evaluates and converts."""
    fastest = min(seconds("tinybert", "--version") for _ in range(5))
    assert fastest < 0.5, f"tinybert --version took {fastest:.2f} s of a processor's"
    listed = run("tinybert", "--help").partition("commands:")[2].strip("\n").partition("\n\n")[0]
    commands = [line.split()[0] for line in listed.splitlines()]
    assert {"train", "evaluate", "convert", "augment", "cache"} <= set(commands), commands
    for command in commands:
        assert run("tinybert", command, "--help"), command
    assert run("python", "-m", "tinybert_jax.convert", "--help")
    began, worked = time.perf_counter(), processor_seconds()
    run("tinybert", "train", "quickstart", "--output", "run", *SMALL.split())
    scores = json.loads(run("tinybert", "evaluate", "run/export", "--data", "run/synthetic/dev.json"))
    results = json.loads(Path("run/results.json").read_text())
    assert abs(scores["f1"] - results["student"]["f1"]) < 0.01, (scores, results)
    run("tinybert", "convert", "run/export", "orbax", "--to", "orbax")
    assert {path.name for path in Path("orbax").iterdir()} >= {"config.json", "params.orbax"}
    worked = processor_seconds() - worked
    took = f"train to convert {time.perf_counter() - began:.0f} s, {worked:.0f} of a processor's"
    print(f"wheel: --version {fastest:.2f} s, {len(commands)} commands, {took}", flush=True)


main()
