"""What a run needs, against numbers that are counted by hand."""

import dataclasses
import shutil
import warnings
from collections import namedtuple

import jax
import pytest

from tinybert_jax import errors
from tinybert_jax.run.needs import Needs, needs_of, tell
from tinybert_jax.run.order import work_of
from tinybert_jax.run.prepare import prepare
from tinybert_jax.run.stages import check_stages


def numbers(model):
    return sum(leaf.size for leaf in jax.tree.leaves(model.params))


@pytest.fixture
def augmenting(augmenting_recipe, tmp_path):
    """A recipe of three stages, and what it is made of."""
    recipe = dataclasses.replace(augmenting_recipe, compare_undistilled=True)
    return recipe, prepare(recipe, tmp_path / "run")


def test_stages_are_in_the_order_of_the_run(augmenting):
    recipe, ingredients = augmenting
    assert [work.name for work in work_of(recipe, ingredients)] == [
        "student/1-intermediate",
        "student/2-prediction",
        "student_without_distillation/1-finetune",
    ]


def test_disk_cache_and_memory(augmenting, tmp_path):
    recipe, ingredients = augmenting
    size, windows = 4 * numbers(ingredients.student), ingredients.train.windows
    state = 3 * size + 4 + 2 * 4  # parameters, two moments; the step, and the optimiser's two
    needs = needs_of(recipe, ingredients, tmp_path / "run")
    # at its most while the last of three stages trains, behind the models of the two before it, and its own
    assert needs.folder == 3 * state + 3 * size
    logits = 4 * 2 * len(windows.tokens)  # float32
    copies = 5 * sum(column.nbytes for column in vars(windows).values())
    assert needs.cache == logits + copies  # four, and the originals
    assert needs.memory == state + size  # with the teacher, which is as large, beside stage 1

    scored = dataclasses.replace(recipe, hold_out_questions=0.5, eval_every=1)
    assert needs_of(scored, ingredients, tmp_path / "run").folder == 4 * state + 3 * size  # the best is kept
    for folder in ("student/1-intermediate/final", "student/2-prediction/final"):
        (tmp_path / "run" / folder).mkdir(parents=True)
    here = tmp_path / "run" / "student_without_distillation" / "1-finetune" / "checkpoints"
    here.mkdir(parents=True)
    (here / "5").write_bytes(bytes(1000))
    assert needs_of(recipe, ingredients, tmp_path / "run") == Needs(3 * state + size - 1000, 0, state)


def test_nothing_is_compiled_for_it(augmenting, tmp_path):
    recipe, ingredients = augmenting
    waits = dataclasses.replace(recipe.stages[0], augmented=False), recipe.stages[1]  # each is checked as a run begins
    recipe, compiled = dataclasses.replace(recipe, stages=waits, augment=None), []
    ingredients = ingredients._replace(candidates=None)
    check_stages(recipe, ingredients)
    jax.monitoring.register_event_duration_secs_listener(lambda event, _, **more: compiled.append((event, more)))
    needs_of(recipe, ingredients, tmp_path / "run")
    assert not [event for event in compiled if "backend_compile" in event[0]]
    jax.jit(lambda x: x * 3)(1.0)  # which is heard
    assert [event for event in compiled if "backend_compile" in event[0]]


def test_less_room_than_is_needed_is_said_before_anything_is_trained(augmenting_recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(5_000_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell(Needs(3_000_000, 2_000_000, 7), augmenting_recipe, tmp_path / "run")
    assert capsys.readouterr().err.startswith("this run needs 3.0 MB on the disk for models and checkpoints, 2.0 MB in")
    with pytest.warns(UserWarning, match=r"run has 5\.0 MB free, and this run needs 5\.1 MB there: make room\. Once"):
        tell(Needs(3_000_000, 2_100_000, 7), augmenting_recipe, tmp_path / "run")
    assert errors.room(tmp_path / "not" / "there") == "5.0 MB"
