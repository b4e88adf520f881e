"""A run reports what happened: of these ingredients, in this folder, by this process, with updates that were made."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import pytest

from tests.tiny_run import Copies, Kill, equal, final, make_recipe, write_model
from tinybert_jax import train
from tinybert_jax.distill import Finetune
from tinybert_jax.errors import UserError
from tinybert_jax.run.hooks import Hook
from tinybert_jax.run.recipe_file import write_recipe

pytestmark = pytest.mark.usefixtures("quick_runs")

ROOT = Path(__file__).parents[1]


@pytest.fixture
def recipe(tmp_path):
    return make_recipe(tmp_path)


def changed_stage(recipe, **changes):
    return dataclasses.replace(recipe, stages=(dataclasses.replace(recipe.stages[0], **changes),))


# --- updates ---------------------------------------------------------------------------------------------------------


def test_the_tail_of_an_accumulation_is_applied_and_a_kill_in_its_middle_changes_nothing(recipe, tmp_path):
    grouped = changed_stage(recipe, accumulate=5)  # of twelve batches: updates after 5, 10 and 12
    copies = Copies()
    train.train(grouped, tmp_path / "whole", hooks=(copies,))
    moved = [step for step in range(2, 13) if not equal(copies.params[step - 1], copies.params[step])]
    assert moved == [5, 10, 12]
    with pytest.raises(KeyboardInterrupt):
        train.train(grouped, tmp_path / "killed", hooks=(Kill(8),))
    train.train(grouped, tmp_path / "killed")
    assert equal(final(tmp_path / "killed"), final(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warmup": 1.0, "max_steps": 1}, "must change its parameters, got rate 0 in each of its 1 updates: 1 batches"),
        ({"warmup": 1.0, "accumulate": 20}, r"in each of its 1 updates: 12 batches, accumulate 20, warmup 1,"),
        ({"learning_rate": 1e-60}, "got rate 0 in each of its 12 updates"),
    ],
)
def test_a_stage_that_would_change_nothing_is_refused_before_anything_is_written(recipe, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        train.train(changed_stage(recipe, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_accumulation_longer_than_the_stage_makes_one_update(recipe, tmp_path):
    copies = Copies()
    train.train(changed_stage(recipe, accumulate=50), tmp_path / "run", hooks=(copies,))
    assert equal(copies.params[1], copies.params[11])
    assert not equal(copies.params[11], copies.params[12])


@dataclasses.dataclass(frozen=True)
class Idle(Finetune):
    """An objective whose author forgot the model."""

    tag: ClassVar[str] = "idle"

    def loss(self, inputs):
        return jnp.ones(()), {}


def test_a_stage_that_changed_nothing_after_all_exports_nothing(recipe, tmp_path):
    with pytest.raises(UserError, match=r"stage student/1-idle has changed no parameter .* raise learning_rate"):
        train.train(changed_stage(recipe, objective=Idle(), max_steps=2), tmp_path / "run")
    assert not (tmp_path / "run" / "export").exists()
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize("buckets", [(64,), (128, 64)])
def test_buckets_that_some_data_would_not_fit_are_refused_before_anything_is_written(recipe, tmp_path, buckets):
    with pytest.raises(UserError, match="bucket"):
        train.train(dataclasses.replace(recipe, buckets=buckets), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- ingredients -----------------------------------------------------------------------------------------------------


def edit_train(folder):
    content = json.loads((folder / "train.json").read_text())
    content["data"][0]["paragraphs"][0]["qas"][0]["question"] += " Please?"
    (folder / "train.json").write_text(json.dumps(content))


def edit_dev(folder):
    """Another gold answer: no window changes, the score may."""
    content = json.loads((folder / "dev.json").read_text())
    for paragraph in content["data"][0]["paragraphs"]:
        for qa in paragraph["qas"]:
            qa["answers"] = qa["answers"][:1]
    (folder / "dev.json").write_text(json.dumps(content))


def replace_student(folder):
    write_model(folder / "student", json.loads((folder / "train.json").read_text()), seed=1)


def edit_tokenizer(folder):
    path = folder / "student" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": False}))


EDITS = {"train": edit_train, "dev": edit_dev, "student": replace_student, "tokenizer": edit_tokenizer}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run's recipe, the folder of its ingredients, and its results."""
    folder = tmp_path_factory.mktemp("finished")
    recipe = make_recipe(folder)
    recipe = changed_stage(recipe, max_steps=2)
    return recipe, folder, train.train(recipe, folder / "run")


@pytest.mark.filterwarnings("ignore:.*can never be produced")
@pytest.mark.parametrize("name", EDITS)
def test_a_changed_ingredient_is_refused_by_name(finished, name):
    recipe, folder, results = finished
    before = {path: path.read_bytes() for path in folder.rglob("*.json") if "cache" not in path.parts}
    weights = (folder / "student" / "model.safetensors").read_bytes()
    EDITS[name](folder)
    try:
        with pytest.raises(UserError, match=rf"run of other ingredients: {name} changed since it began, .* --fork NEW"):
            train.train(recipe, folder / "run")
        assert (folder / "run" / "results.json").read_bytes() == before[folder / "run" / "results.json"]
    finally:
        for path, content in before.items():
            path.write_bytes(content)
        (folder / "student" / "model.safetensors").write_bytes(weights)
    again = train.train(recipe, folder / "run")
    assert {**again, "seconds": 0} == {**results, "seconds": 0}


def test_a_fork_begins_again_with_what_is_there_now(finished, tmp_path):
    recipe, folder, _ = finished
    write_recipe(tmp_path / "recipe.json", recipe)
    command = [str(tmp_path / "recipe.json"), "--output", str(folder / "run"), "--fork", str(tmp_path / "new")]
    assert train.parse(command) == (recipe, tmp_path / "new", ())
    with pytest.raises(UserError, match="holds a run of another recipe, different in seed"):
        train.parse([*command, "--seed", "9"])
    with pytest.raises(UserError, match="there is none: leave --fork out"):
        train.parse([command[0], "--output", str(tmp_path / "none"), "--fork", str(tmp_path / "new")])
    with pytest.raises(UserError, match="must name another folder"):
        train.parse([command[0], "--output", str(folder / "run"), "--fork", str(folder / "run")])


def test_a_damaged_result_of_a_stage_is_refused_by_file(finished):
    recipe, folder, _ = finished
    weights = folder / "run" / "student" / "1-finetune" / "final" / "model.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    try:
        with pytest.raises(UserError, match=r"1-finetune/final is damaged: model\.safetensors changed .* remove the"):
            train.train(recipe, folder / "run")
    finally:
        weights.write_bytes(sound)


# --- one process at a time -------------------------------------------------------------------------------------------


class Second(Hook):
    """Starts the same run once more, from within."""

    refused = ""

    def __init__(self, recipe, output):
        self.again = recipe, output

    def step(self, done, state, metrics):
        if not self.refused:
            with pytest.raises(UserError) as refusal:
                train.train(*self.again)
            self.refused = str(refusal.value)


def test_a_second_run_in_the_same_folder_is_refused_and_the_first_goes_on(recipe, tmp_path):
    second = Second(recipe, tmp_path / "run")
    results = train.train(recipe, tmp_path / "run", hooks=(second,))
    assert f"is being written to by process {os.getpid()} on " in second.refused
    assert "at work since 20" in second.refused
    assert set(results) == {"student", "seconds"}
    assert not (tmp_path / "run" / ".owner.json").exists()


HOLD = """
import sys, time
from pathlib import Path
from typing import ClassVar
from tinybert_jax.run.folder import claimed
from tinybert_jax.run.recipes import quickstart
with claimed(quickstart(), Path(sys.argv[1])):
    print("claimed", flush=True)
    time.sleep(600)
"""


def test_a_killed_process_holds_no_folder(recipe, tmp_path):
    from tinybert_jax.run.folder import claimed
    from tinybert_jax.run.recipes import quickstart

    output = tmp_path / "run"
    command, environment = [sys.executable, "-c", HOLD, str(output)], os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "claimed\n"
            with pytest.raises(UserError, match=f"by process {process.pid} on"), claimed(quickstart(), output):
                pytest.fail("claimed twice")
        finally:
            process.kill()
    assert (output / ".owner.json").exists()  # nobody was left to remove it
    began = time.monotonic()
    with claimed(quickstart(), output):
        assert time.monotonic() - began < 5
        assert json.loads((output / ".owner.json").read_text())["pid"] == os.getpid()


def test_a_refused_run_leaves_a_folder_as_it_was(recipe, tmp_path):
    bad = dataclasses.replace(recipe, train=str(tmp_path / "missing.json"))
    with pytest.raises(UserError, match=r"missing\.json"):
        train.train(bad, tmp_path / "deep" / "run")
    assert not (tmp_path / "deep" / "run").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"missing\.json"):
        train.train(bad, tmp_path / "empty")
    assert {path.name for path in (tmp_path / "empty").iterdir()} <= {".lock"}
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds no run of ours"):
        train.train(recipe, tmp_path / "thesis")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


def test_a_figure_that_is_no_number_is_refused(recipe, tmp_path):
    answers = dataclasses.replace(recipe.answers)
    object.__setattr__(answers, "null_threshold", float("nan"))  # which its own check would refuse
    with pytest.raises(UserError, match=r"answers\.null_threshold must be a number, got nan"):
        train.train(dataclasses.replace(recipe, answers=answers), tmp_path / "run")
    assert not (tmp_path / "run").exists()
