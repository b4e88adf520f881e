"""The step benchmark at a size that takes seconds: the peers compute what we compute, and the command reports."""

import importlib.util
import json
from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks import command

SIZES = "--layers-teacher 2 --layers-student 1 --hidden 16 --heads 2 --intermediate 24 --batch 3 --vocab 100"

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the peers need PyTorch")


run = partial(command.run, "step.py", *SIZES.split())


@needs_torch
def test_peers_compute_the_same_losses_and_gradients():
    ended = run("--check", "--length", "24")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = [line.split(" | ") for line in ended.stdout.splitlines() if line.startswith(("| A", "| C"))]
    assert len(rows) == 12  # A and C; stage 1, stage 2, stage 2 cached; loss and gradient norm
    assert all(float(row[-1].strip(" |")) <= 1e-4 for row in rows)
    assert all(float(row[1]) > 0.1 for row in rows)  # something was compared


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("step") / "step.json"
    options = "--length 136 --stage 1 --systems C,ours-recommended-float32 --rounds 2 --steps 1 --matmul 64"
    ended = run(*options.split(), "--output", str(path))
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, json.loads(path.read_text())


def test_reports_as_markdown_and_json(report):
    printed, written = report
    (job,) = written["results"]
    rows = {row["system"]: row for row in job["systems"]}
    assert "| ours, recommended, float32 |" in printed
    ours = rows["ours-recommended-float32"]
    assert ours["windows_per_second"] == pytest.approx(3 * ours["steps_per_second"])
    assert ours["real_tokens_per_second"] < ours["padded_tokens_per_second"]
    assert ours["temp_bytes"] > 0
    if importlib.util.find_spec("torch") is None:
        assert "A, B and C are skipped: torch is not installed" in printed
    else:
        ratio = ours["windows_per_second"] / rows["C"]["windows_per_second"]
        assert f"| over C |\n| --- | --- |\n| ours, recommended, float32 | {ratio:.2f}× |" in printed


def test_a_bucketed_step_is_the_mean_over_the_epochs_batches(report):
    (job,) = report[1]["results"]
    (row,) = (row for row in job["systems"] if row["system"] == "ours-recommended-float32")
    first, second = job["measured"]["ours-recommended-float32"]["rounds"]
    assert first.keys() == second.keys() == {"128", "136"}
    fastest = min(answer["seconds"] for one in (first, second) for answer in one.values())
    slowest = max(answer["seconds"] for one in (first, second) for answer in one.values())
    assert 1 / slowest <= row["steps_per_second"] <= 1 / fastest


def test_says_what_is_wrong():
    for arguments, message in (
        (["--systems", "D"], "systems must be among"),
        (["--rounds", "0"], "rounds must be at least 1, got 0"),
        (["--heads", "3"], "heads must divide hidden, got 3 and 16"),
        (["--data", "squad.json"], "--data and --tokenizer go together"),
    ):
        ended = run(*arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert message in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_gpu_that_is_not_there_is_an_error():
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is a GPU")
    ended = run("--device", "gpu")
    assert ended.returncode == 2
    assert "--device gpu needs a GPU, and jax" in ended.stderr
    assert "Traceback" not in ended.stderr
