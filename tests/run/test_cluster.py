"""Two processes with two devices each, over loopback, against one process with one; and what becomes of one without
the other. They find each other in each of the ways of docs/scale.md."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.run.metadata_server import metadata_server
from tests.store.one_by_one import contents
from tests.tiny_run import equal, make_recipe, write_model
from tinybert_jax import load_pretrained
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
    recipe = make_recipe(folder, stages=(stage,), log_every=1, checkpoint_every=10, **settings)
    write_model(folder / "teacher", json.loads((folder / "train.json").read_text()), seed=1)
    write_recipe(folder / "recipe.json", recipe)
    return recipe, folder


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# How two processes are told of each other: flags and environment of each.


@contextmanager
def ssh():
    """The flags say it."""
    flags = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process"]
    yield [([*flags, str(process)], {}) for process in (0, 1)]


@contextmanager
def slurm():
    """The environment says it, as `srun` sets it."""
    both = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    both["JAX_COORDINATOR_PORT"] = str(free_port())
    yield [(["--distributed"], both | {"SLURM_PROCID": str(process), "SLURM_LOCALID": "0"}) for process in (0, 1)]


@contextmanager
def tpu_slice():
    """Each host's metadata server says it, as on Cloud TPU VMs; that these are such is all that JAX has to be told."""
    hosts = {"worker-network-endpoints": ",".join(2 * ["unknown:unknown:127.0.0.1"]), "tpu-env": "TYPE: 'V4'\n"}
    both = {"JAX_COORDINATOR_PORT": str(free_port()), "NO_PROXY": "127.0.0.1"}
    with ExitStack() as servers:
        told = [{"agent-worker-number": str(process), **hosts} for process in (0, 1)]
        addresses = [servers.enter_context(metadata_server(host)) for host in told]
        yield [(["--distributed"], both | {"GCE_METADATA_IP": address}) for address in addresses]


class Ended(NamedTuple):
    """How a process ended."""

    status: int
    out: str
    err: str
    seconds: float  # after the other one, where that was first


class Command:
    """`tinybert train` with the recipe, in processes that `one_of_two.py` forks."""

    def __init__(self, recipe, folder):
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = {"JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
        forking = [sys.executable, str(Path(__file__).with_name("one_of_two.py"))]
        self._recipe, self._folder, self._numbers = recipe, folder, count()
        self._process = subprocess.Popen(forking, env=os.environ | settings, cwd=ROOT, **pipes)

    def alone(self, output, *flags):
        """In one process with one device."""
        (ended,) = self._run([([str(self._recipe), "--output", str(output), *flags], {})], devices=1)
        return ended

    def twice(self, output, way=ssh, trouble="", second=()):
        """In two processes with two devices each; `second` are flags of the second one alone."""
        flags = [str(self._recipe), "--output", str(output), "--lost-after", str(LOST_AFTER)]
        with way() as (first, other):
            processes = [(flags + first[0], first[1]), (flags + other[0] + list(second), other[1])]
            return self._run(processes, devices=2, trouble=trouble)

    def _run(self, processes, devices, trouble=""):
        flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
        tasks = []
        for arguments, environment in processes:
            said = {name: str(self._folder / f"{next(self._numbers)}.{name}") for name in ("out", "err")}
            environment = environment | {"XLA_FLAGS": flags}
            tasks.append({"arguments": arguments, "environment": environment, "trouble": trouble, **said})
        print(json.dumps(tasks), file=self._process.stdin, flush=True)
        how = json.loads(self._process.stdout.readline())
        said = [[Path(task[name]).read_text() for name in ("out", "err")] for task in tasks]
        return [Ended(status, *words, seconds) for (status, seconds), words in zip(how, said, strict=True)]

    def end(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


@pytest.fixture(scope="module")
def command(recipe, tmp_path_factory):
    command = Command(recipe[1] / "recipe.json", tmp_path_factory.mktemp("said"))
    yield command
    command.end()


def losses(output):
    lines = [json.loads(line) for line in (output / "student" / "metrics.jsonl").read_text().splitlines()]
    return np.array([line["loss"] for line in lines if "loss" in line])


def answers(output):
    return json.loads((output / "student" / "predictions.json").read_text())


def final(output):
    return load_pretrained(output / "student" / "1-prediction" / "final")[1]


@pytest.fixture(scope="module")
def alone(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    ended = command.alone(folder / "run", "--cache", str(folder / "cache"))
    assert ended.status == 0, ended.err
    return folder / "run"


@pytest.fixture(scope="module")
def pair(command, tmp_path_factory):
    output = tmp_path_factory.mktemp("pair") / "run"
    return output, command.twice(output)


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


def test_a_signal_to_one_stops_both_at_one_step_and_any_layout_continues(command, alone, pair, tmp_path):
    output, copy = tmp_path / "run", tmp_path / "copy"
    ended = command.twice(output, trouble="1:SIGTERM:7")
    assert [process.status for process in ended] == [143, 143], ended[0].err + ended[1].err
    for process in ended:
        assert process.err.endswith("stopped: the same command continues\n")
    assert len(losses(output)) == 9  # they ask each other before every tenth step
    shutil.copytree(output, copy)
    continued = command.alone(copy)
    assert continued.status == 0, continued.err
    assert_as_good_as(alone, copy)

    left, killed = command.twice(output, slurm, "1:SIGKILL:15")  # the other one misses it
    assert (killed.status, left.status) == (-9, 69), left.err
    assert LOST in left.err
    assert left.seconds < 4 * LOST_AFTER

    own = ["--output", str(tmp_path / "elsewhere"), "--cache", str(tmp_path / "cache")]  # as on a host of its own
    ended = command.twice(output, tpu_slice, second=own)
    assert [process.status for process in ended] == [0, 0], ended[0].err + ended[1].err
    assert "process 1 of 2 makes files of its own" in ended[1].err
    assert not (tmp_path / "elsewhere").exists()
    assert equal(final(output), final(pair[0]))
    assert (output / "student" / "predictions.json").read_bytes() == (
        pair[0] / "student" / "predictions.json"
    ).read_bytes()


def test_what_one_is_refused_ends_the_other(command, tmp_path):
    (tmp_path / "somebody's").touch()
    first, second = command.twice(tmp_path)
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
