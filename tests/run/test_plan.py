"""A plan against the run that it plans."""

import dataclasses
import json

import jax
import pytest

from tests.tiny_run import final, make_recipe
from tinybert_jax import train
from tinybert_jax.errors import UserError
from tinybert_jax.run.command_line import parse
from tinybert_jax.run.hooks import Hook
from tinybert_jax.run.plan import in_words, plan
from tinybert_jax.store.cache import size_of


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return make_recipe(tmp_path_factory.mktemp("planned"), buckets=(96, 128))


@pytest.fixture(scope="module")
def planned(recipe):
    return plan(recipe)


class Seen(Hook):
    def __init__(self, folder):
        self.folder, self.disk = folder, 0

    def start(self, run, publish):
        self.run = run

    def step(self, done, state, metrics):
        self.state_bytes = sum(array.nbytes for array in jax.tree.leaves(state))
        self.disk = max(self.disk, size_of(self.folder / "student"))


def test_it_is_what_the_run_then_does(recipe, planned, tmp_path, capsys):
    train.train(recipe, tmp_path / "run", (seen := Seen(tmp_path / "run"),))
    assert f"this run needs {planned.needs}; --dry-run says" in capsys.readouterr().err
    (stage,) = planned.stages
    assert (stage.name, stage.steps) == ("student/1-finetune", seen.run.steps)
    assert sum(stage.batches.values()) == -(-stage.windows // 4) and set(stage.batches) <= {96, 128}  # an epoch's
    assert planned.needs.memory == seen.state_bytes < stage.memory  # and gradients and activations
    model = sum(leaf.nbytes for leaf in jax.tree.leaves(final(tmp_path / "run")))
    assert planned.needs[:2] == (3 * seen.state_bytes + model, 0)
    assert 0.5 * planned.needs.folder < seen.disk + model < planned.needs.folder + 100_000  # words beside the numbers
    assert 0 < stage.seconds < 60 and stage.cached == 0
    assert planned.questions == len(json.loads((tmp_path / "run" / "student" / "predictions.json").read_text()))


def test_it_says_what_to_change_where_memory_falls_short(planned):
    assert "will not fit" not in in_words(planned)
    said = in_words(planned._replace(memory=planned.stages[0].memory))
    assert "student/1-finetune will not fit: halve its batch_size and double its accumulate" in said


def test_what_a_run_refuses_a_plan_refuses(recipe):
    with pytest.raises(UserError, match="does not exist"):
        plan(dataclasses.replace(recipe, train="nowhere.json"))


def test_a_dry_run_needs_no_folder_and_a_run_does(tmp_path):
    assert parse(["quickstart", "--dry-run"])[1:] == (None, ())
    assert parse(["quickstart", "--dry-run", "--output", str(tmp_path / "x")])[1:] == (None, ())
    with pytest.raises(UserError, match="give --output DIR, or --dry-run"):
        parse(["quickstart"])


def test_the_command_prints_the_plan_and_runs_nothing(recipe, planned, monkeypatch, capsys):
    monkeypatch.setattr(train, "parse", lambda *_: (recipe, None, ()))
    monkeypatch.setattr(train, "configure", lambda cache: None)  # the process is the tests'
    monkeypatch.setattr(train, "plan", lambda given: planned)
    monkeypatch.setattr(train, "train", lambda *_: pytest.fail("begun"))
    train.main()
    assert capsys.readouterr().out == in_words(planned) + "\n"
