"""Whether a run of many steps stays as it begins: memory, live arrays, compiled programs and time a step.

    python -m tests.long_run --steps 20000

A little model is fine-tuned on generated data, as the tests do, with a line and a checkpoint every 100 steps.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from tests.tiny_run import make_recipe
from tinybert_jax.run.hooks import Hook
from tinybert_jax.run.runtime import configure
from tinybert_jax.train import train


class Watch(Hook):
    """Prints a row of the table every so many steps."""

    def __init__(self, every: int) -> None:
        self.every, self._compiled, self._since = every, 0, time.perf_counter()
        jax.monitoring.register_event_duration_secs_listener(self._count)

    def _count(self, event: str, seconds: float, **_: Any) -> None:
        self._compiled += event == "/jax/core/compile/backend_compile_duration"

    def step(self, done: int, state: Any, metrics: Any) -> None:
        """Reads what the process holds."""
        jax.block_until_ready(state)
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        resident = int(status["VmRSS"].split()[0]) / 1024
        now = time.perf_counter()
        each = (now - self._since) / self.every * 1000
        print(f"| {done} | {resident:.1f} | {len(jax.live_arrays())} | {self._compiled} | {each:.2f} |", flush=True)
        self._since = now


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        recipe = make_recipe(Path(folder), log_every=100, checkpoint_every=100)
        stage = dataclasses.replace(recipe.stages[0], max_steps=steps, epochs=steps, learning_rate=1e-4)
        configure(recipe.cache)
        print("| step | resident, MB | live arrays | programs compiled | ms a step |\n| --- | --- | --- | --- | --- |")
        watch = Watch(every=max(steps // 10, 1))
        train(dataclasses.replace(recipe, stages=(stage,)), Path(folder) / "run", hooks=(watch,))


if __name__ == "__main__":
    main()
