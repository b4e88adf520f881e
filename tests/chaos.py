"""A whole run, killed at random moments until it finishes, and compared with one that was let alone.

    python -m tests.chaos --kills 20

A kill is SIGKILL, at a moment of the run's work drawn evenly: while data are generated, windows and logits cached,
while either stage trains or a model answers, checkpoints, results and the export are written. What a run leaves must be
the same to the bit: every model's weights and answers, the scores, and each line of figures but for its steps a second.
A run that finishes before it is killed is compared as well, and the next one begins.

The uninterrupted run is the command itself. Those that are killed do what it does in processes forked from one that has
imported everything and computed nothing, and find their programs compiled: next to all of a kill's time goes into work
that leaves something on the disk. 200 kills take some 20 minutes of an idle core.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinybert_jax import train
from tinybert_jax.distill import Intermediate, Prediction
from tinybert_jax.errors import run_script
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.run.recipe_file import write_recipe
from tinybert_jax.run.recipes import quickstart
from tinybert_jax.synthetic.generate import SyntheticConfig
from tinybert_jax.tracking import METRICS_FILE

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

ROOT = Path(__file__).parents[1]
FORKS = multiprocessing.get_context("forkserver")
PRELOADED = [
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "orbax.checkpoint",
    "safetensors.numpy",
    "tokenizers",
    "tinybert_jax.train",
    "transformers.models.bert.tokenization_bert",
    "tyro",
]
_BITWISE = ["*.safetensors", "predictions.json", "metrics.json", "ingredients.json"]


def start(output: Path, cache: Path) -> "ForkServerProcess":
    """Starts the run, and waits until it is at work in its folder."""
    process = FORKS.Process(target=_train, args=(_arguments(output, cache), _said(output)))
    process.start()
    while process.is_alive() and not _is_at_work(process.pid, output):
        time.sleep(0.01)
    return process


def _train(arguments: list[str], said: Path) -> None:
    """What `python train.py` does; what it says goes into a file."""
    with said.open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = ["train.py", *arguments]
    run_script(train.main, "continues")


def _arguments(output: Path, cache: Path) -> list[str]:
    file = cache.with_suffix(".json")
    write_recipe(file, dataclasses.replace(_recipe(), cache=cache))
    return [str(file), "--output", str(output)]


def _said(output: Path) -> Path:
    return output.with_suffix(".log")


def _recipe() -> Recipe:
    """Generated data; a student that learns an untrained teacher's states, and then its logits, which are cached."""
    recipe = quickstart()
    assert recipe.synthetic is not None
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    models = {name: dataclasses.replace(getattr(recipe.synthetic, name), **shape) for name in ("teacher", "student")}
    data = SyntheticConfig(train_articles=2, dev_articles=1, paragraphs_per_article=3)
    length: dict[str, Any] = {"batch_size": 4, "epochs": 100, "max_steps": 24, "learning_rate": 1e-3}
    return dataclasses.replace(
        recipe,
        synthetic=dataclasses.replace(recipe.synthetic, data=data, **models),
        teacher_stages=(),
        stages=(Stage(objective=Intermediate(), **length), Stage(objective=Prediction(), **length)),
        compare_undistilled=False,
        windows=dataclasses.replace(recipe.windows, max_seq_len=128),
        buckets=(128,),
        dtype="float32",  # "auto" measures, and may not decide as the uninterrupted run did
        log_every=4,
        checkpoint_every=4,
    )


def _is_at_work(pid: int | None, output: Path) -> bool:
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


def check_same(output: Path, expected: dict[str, bytes | str]) -> None:
    """Checks that a run has left what the uninterrupted one has, and saw no damage."""
    found, said = content(output), _said(output).read_text()
    differing = [name for name in expected.keys() | found if expected.get(name) != found.get(name)]
    assert not differing, f"{output} is other than the uninterrupted run in {', '.join(differing)}"
    assert "damage" not in said, said


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{folder}/xla"  # its own: what a killed process wrote may be cut off
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"  # compiled in half of the time, and alike in all runs
        # Of the semaphores of processes that were killed, multiprocessing says at the end that they are left.
        os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker"
        FORKS.set_forkserver_preload(PRELOADED)
        kill_often(Path(folder), arguments.kills, random.Random(arguments.seed))


def kill_often(base: Path, most: int, rng: random.Random) -> None:
    """Kills runs in `base` so often, the last of which then finishes."""
    command = [sys.executable, "train.py", *_arguments(base / "whole", base / "cache")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    expected = content(base / "whole")
    process, began = start(base / "forked", base / "forked_cache"), time.monotonic()
    process.join()
    seconds = time.monotonic() - began
    check_same(base / "forked", expected)
    print(f"uninterrupted: {seconds:.1f} s of work, {len(expected)} things to compare", flush=True)
    kills, finished, began = 0, 0, time.monotonic()
    while kills < most or not finished:
        output = base / f"run{finished}"
        process, moment = start(output, base / f"cache{finished}"), rng.uniform(0, seconds)
        process.join(moment if kills < most else None)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
            print(f"kill {kills} after {moment:.1f} s", flush=True)
            continue
        assert process.exitcode == 0, _said(output).read_text()
        check_same(output, expected)
        finished += 1
    each = (time.monotonic() - began) / max(kills, 1)
    print(f"{kills} kills, {finished} runs finished: all as the uninterrupted one, to the bit; {each:.1f} s a kill")


if __name__ == "__main__":
    main()
