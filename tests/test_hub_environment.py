"""Whole processes that know of the hub, and of where to keep things, from their environment alone."""

import json
import os
import subprocess
import sys

import pytest

from tests.tiny_run import write_model
from tinybert_jax.synthetic.generate import SyntheticConfig, make_squad


def run(environment, *arguments):
    """Runs a command with nothing of this machine's own that the hub's clients look at."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "JAX_COMPILATION"))}
    command = [sys.executable, "-m", "tinybert_jax", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=kept | environment)


def environment_of(hub_server, folder):
    homes = {"HF_HOME": str(folder / "hf"), "XDG_CACHE_HOME": str(folder / "xdg")}
    return {"HF_ENDPOINT": hub_server.url, "HF_HUB_DISABLE_XET": "1", **homes}


@pytest.mark.usefixtures("compiled_quickly")
def test_what_is_fetched_and_made_is_kept_where_the_environment_says(hub_server, tmp_path):
    data, _ = make_squad(SyntheticConfig(train_articles=2, dev_articles=1, paragraphs_per_article=1))
    write_model(tmp_path / "model", data, seed=0)
    repo = hub_server.add("ada/tiny", tmp_path / "model")
    repo.refs["v1"] = repo.refs.pop("main")
    rows = [
        {"id": qa["id"], "question": qa["question"], "context": paragraph["context"], "answers": qa["answers"]}
        for article in data["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    hub_server.add("ada/set", {"dev.jsonl": lines}, kind="datasets")
    ended = run(
        environment_of(hub_server, tmp_path),
        *("evaluate", "ada/tiny@v1", "--data", "ada/set@main:validation", "--windows.max-seq-len", "128"),
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["total"] == len(rows)
    assert {path.name for path in (tmp_path / "hf").iterdir()} >= {"hub", "datasets"}
    assert {path.name for path in (tmp_path / "xdg").iterdir()} == {"tinybert_jax"}
    assert any((tmp_path / "xdg" / "tinybert_jax" / "xla").iterdir())


def test_an_unreachable_hub_is_one_line_and_status_2(hub_server, tmp_path):
    environment = environment_of(hub_server, tmp_path)
    hub_server.close()
    ended = run(environment, "convert", "ada/tiny@v1", str(tmp_path / "out"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: 'ada/tiny@v1' is neither a folder here nor a model that ")
    assert ended.stderr.endswith("refused\n") and len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
