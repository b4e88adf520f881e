"""A run whose student goes to the hub."""

import pytest

from tests.hub_server import READER, WRITER
from tests.tiny_run import make_recipe
from tinybert_jax.errors import UserError
from tinybert_jax.run.push import Push
from tinybert_jax.train import train

pytestmark = pytest.mark.usefixtures("quick_runs")


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_export_is_pushed_and_a_push_that_failed_is_made_up_for(hub_server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    recipe, output, hooks = make_recipe(tmp_path), tmp_path / "run", [Push("ada/student", private=True)]
    hub_server.broken = "/commit/"
    with pytest.raises(UserError, match=r"`hf upload ada/student .*/run/export` tries again"):
        train(recipe, output, hooks)
    exported = files_of(output / "export")
    assert (output / "results.json").exists()
    hub_server.broken = None
    train(recipe, output, hooks)  # the same run, though it was begun with no such flag
    repo = hub_server.repos["models", "ada/student"]
    assert repo.private
    assert repo.files == {".gitattributes": b"", **files_of(output / "export")}
    assert repo.files["model.safetensors"] == exported["model.safetensors"]
    assert f"pushed to {hub_server.url}/ada/student\n" in capsys.readouterr().err


@pytest.mark.parametrize(("token", "message"), [(None, "needs a token: run"), (READER, "may only read")])
def test_a_push_that_cannot_go_well_ends_the_run_before_it_begins(hub_server, tmp_path, monkeypatch, token, message):
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=message):
        train(make_recipe(tmp_path), tmp_path / "run", [Push("ada/student")])
    assert not (tmp_path / "run").exists()
