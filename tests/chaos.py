"""A whole run, killed at random moments until it finishes, and compared with one that was let alone.

    python -m tests.chaos --kills 20

A kill is SIGKILL, at a moment of the run's work drawn evenly: while data are generated, windows and logits cached,
while a model trains or answers, checkpoints, results and the export are written. What a run leaves must be the same to
the bit: every model's weights and answers, the scores, and each line of figures but for its steps a second. A run that
finishes before it is killed is compared as well, and the next one begins.
"""

import argparse
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tinybert_jax.distill import Prediction
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.run.recipe_file import write_recipe
from tinybert_jax.run.recipes import quickstart
from tinybert_jax.synthetic.generate import SyntheticConfig
from tinybert_jax.tracking import METRICS_FILE

ROOT = Path(__file__).parents[1]
_BITWISE = ["*.safetensors", "predictions.json", "metrics.json", "ingredients.json"]


def start(output: Path, cache: Path) -> "subprocess.Popen[str]":
    """Starts the run, and waits until it is at work in its folder."""
    file = cache.with_suffix(".json")
    write_recipe(file, dataclasses.replace(_recipe(), cache=cache))
    command = [sys.executable, "train.py", str(file), "--output", str(output)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not _is_at_work(process.pid, output):
        time.sleep(0.01)
    return process


def _recipe() -> Recipe:
    """Generated data; a student that learns from an untrained teacher's logits, which are cached."""
    recipe = quickstart()
    assert recipe.synthetic is not None
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    models = {name: dataclasses.replace(getattr(recipe.synthetic, name), **shape) for name in ("teacher", "student")}
    data = SyntheticConfig(train_articles=2, dev_articles=1, paragraphs_per_article=3)
    return dataclasses.replace(
        recipe,
        synthetic=dataclasses.replace(recipe.synthetic, data=data, **models),
        teacher_stages=(),
        stages=(Stage(objective=Prediction(), batch_size=4, epochs=100, max_steps=60, learning_rate=1e-3),),
        compare_undistilled=False,
        windows=dataclasses.replace(recipe.windows, max_seq_len=128),
        buckets=(128,),
        log_every=5,
        checkpoint_every=5,
    )


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
