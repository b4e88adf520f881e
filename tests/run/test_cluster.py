"""Two processes with two devices each, over loopback, against one process with one; and what becomes of one without
the other."""

import dataclasses
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.store.one_by_one import contents
from tests.tiny_run import equal, make_recipe, write_model
from tinybert_jax import load_pretrained, train
from tinybert_jax.distill import Prediction
from tinybert_jax.errors import UserError
from tinybert_jax.run.cluster import Cluster, Join
from tinybert_jax.run.recipe import Stage
from tinybert_jax.run.recipe_file import write_recipe

STEPS, LOST_AFTER = 20, 10
LOST = "error: a process of this run is lost, and the others cannot go on without it: the same command on every host"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Batches of six, which four devices do not divide; a teacher whose logits are cached; held-out questions."""
    folder = tmp_path_factory.mktemp("two")
    stage = Stage(objective=Prediction(), batch_size=6, max_steps=STEPS, learning_rate=1e-2)
    settings = {"teacher": str(folder / "teacher"), "hold_out_questions": 0.3, "eval_every": 10, "keep": "best"}
    recipe = make_recipe(folder, stages=(stage,), log_every=1, checkpoint_every=4, **settings)
    write_model(folder / "teacher", json.loads((folder / "train.json").read_text()), seed=1)
    write_recipe(folder / "recipe.json", recipe)
    return recipe, folder


class Ended(NamedTuple):
    """How a process ended."""

    status: int
    out: str
    err: str
    seconds: float  # after the other one, where that was first


def run_two(recipe, output, trouble="", environments=None, seconds=()):
    """Runs the command twice at once; `environments` say who they are, where the flags do not.

    `seconds` are flags of the second alone.
    """
    command = [sys.executable, str(Path(__file__).with_name("one_of_two.py")), str(recipe)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started = []
    for process in (0, 1):
        flags = ["--coordinator", address, "--processes", "2", "--process", str(process)]
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "TROUBLE": trouble,
        }
        if environments is not None:
            flags, environment = ["--distributed"], environment | environments[process]
        flags += ["--lost-after", str(LOST_AFTER), "--output", str(output), *(seconds if process else ())]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([*command, *flags], env=environment, cwd=ROOT, **pipes))
    first_end, ended = None, {}
    try:
        while len(ended) < 2:
            time.sleep(0.1)
            for process in {0, 1} - ended.keys():
                if started[process].poll() is not None:
                    first_end = first_end or time.monotonic()
                    seconds = time.monotonic() - first_end
                    ended[process] = Ended(started[process].returncode, *started[process].communicate(), seconds)
    finally:
        for process in started:
            process.kill()
    return ended[0], ended[1]


def losses(output):
    lines = [json.loads(line) for line in (output / "student" / "metrics.jsonl").read_text().splitlines()]
    return np.array([line["loss"] for line in lines if "loss" in line])


def answers(output):
    return json.loads((output / "student" / "predictions.json").read_text())


def final(output):
    return load_pretrained(output / "student" / "1-prediction" / "final")[1]


@pytest.fixture(scope="module")
def alone(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train.train(dataclasses.replace(recipe[0], cache=folder / "cache"), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def pair(recipe, tmp_path_factory):
    output = tmp_path_factory.mktemp("pair") / "run"
    return output, run_two(recipe[1] / "recipe.json", output)


def assert_as_good_as(one, other):
    assert len(losses(one)) == len(losses(other)) == STEPS
    np.testing.assert_allclose(losses(one)[0], losses(other)[0], rtol=1e-6)
    np.testing.assert_allclose(losses(one), losses(other), rtol=1e-4)
    assert answers(one) == answers(other)


def test_two_processes_train_what_one_does(recipe, alone, pair):
    output, ended = pair
    assert [process.status for process in ended] == [0, 0], ended[0].err + ended[1].err
    for number, process in enumerate(ended):
        assert f"process {number} of 2 makes its share of files with those that see the same cache" in process.err
        kinds = re.findall(rf"process {number} of 2 makes blocks \d+ to \d+ of \d+: (\w+)", process.err)
        assert set(kinds) == {"windows", "logits"}
    windows = [sorted((cache / "windows").iterdir()) for cache in (recipe[0].cache, alone.parent / "cache")]
    for one, other in zip(*windows, strict=True):
        assert contents(one) == contents(other)
    first, second = (json.loads(process.out[process.out.index("{") :]) for process in ended)  # Gloo has its word before
    assert first["student"] == second["student"] == json.loads((output / "results.json").read_text())["student"]
    assert_as_good_as(alone, output)


def test_a_signal_to_one_stops_both_at_one_step_and_any_layout_continues(recipe, alone, pair, tmp_path):
    output, copy = tmp_path / "run", tmp_path / "copy"
    ended = run_two(recipe[1] / "recipe.json", output, trouble="1:SIGTERM:7")
    assert [process.status for process in ended] == [143, 143], ended[0].err + ended[1].err
    for process in ended:
        assert process.err.endswith("stopped: the same command continues\n")
    assert len(losses(output)) == 9  # they ask each other before every tenth step
    shutil.copytree(output, copy)
    train.train(recipe[0], copy)
    assert_as_good_as(alone, copy)

    # As SLURM starts them. One is killed: the other one misses it.
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    tasks = [slurm | {"SLURM_PROCID": str(process), "SLURM_LOCALID": "0"} for process in (0, 1)]
    left, killed = run_two(recipe[1] / "recipe.json", output, "1:SIGKILL:15", tasks)
    assert (killed.status, left.status) == (-9, 69), left.err
    assert LOST in left.err
    assert left.seconds < 4 * LOST_AFTER

    own = ["--output", str(tmp_path / "elsewhere"), "--cache", str(tmp_path / "cache")]  # as on a host of its own
    ended = run_two(recipe[1] / "recipe.json", output, seconds=own)
    assert [process.status for process in ended] == [0, 0], ended[0].err + ended[1].err
    assert "process 1 of 2 makes files of its own" in ended[1].err
    assert not (tmp_path / "elsewhere").exists()
    assert equal(final(output), final(pair[0]))
    assert (output / "student" / "predictions.json").read_bytes() == (
        pair[0] / "student" / "predictions.json"
    ).read_bytes()


def test_what_one_is_refused_ends_the_other(recipe, tmp_path):
    (tmp_path / "somebody's").touch()
    first, second = run_two(recipe[1] / "recipe.json", tmp_path)
    refused = f"{tmp_path} exists and holds no run of ours: name a new or an empty folder\n"
    assert (first.status, first.err.splitlines(keepends=True)[-1]) == (2, f"error: {refused}")
    assert second.status == 2
    assert second.err.endswith(f"error: process 0 of 2 has ended: {refused}")


def test_flags_that_do_not_go_together_are_refused():
    assert Cluster().hooks() == ()
    assert [type(hook) for hook in Cluster(distributed=True).hooks()] == [Join]
    with pytest.raises(UserError, match=r"go together, or give --distributed .* got x:1, 2 and None"):
        Cluster(coordinator="x:1", processes=2).hooks()
    with pytest.raises(UserError, match=r"--process must be in \[0, 2\), got 2"):
        Cluster(coordinator="x:1", processes=2, process=2).hooks()
    with pytest.raises(UserError, match="--lost-after must be at least 5 seconds, got 1"):
        Cluster(distributed=True, lost_after=1).hooks()
