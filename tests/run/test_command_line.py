"""Where a recipe comes from, and what the flags make of it."""

import dataclasses
from pathlib import Path

import pytest

from tinybert_jax.distill import Finetune, Relations
from tinybert_jax.errors import UserError
from tinybert_jax.run.command_line import parse
from tinybert_jax.run.presets import PRESETS
from tinybert_jax.run.recipe import with_preset
from tinybert_jax.run.recipe_file import write_recipe
from tinybert_jax.run.recipes import RECIPES


@pytest.fixture
def own(tmp_path):
    """A recipe that no name stands for, and its file."""
    recipe = dataclasses.replace(RECIPES["minilm-3l-squad2"](), name="mine", seed=7, teacher_stages=())
    write_recipe(tmp_path / "my_recipe.json", recipe)
    return recipe, str(tmp_path / "my_recipe.json")


def test_a_file_is_a_recipe_that_flags_override(own):
    recipe, path = own
    assert parse([path, "--output", "x"]) == (recipe, Path("x"), ())
    changed, *_ = parse([path, "--seed", "1", "--stages.1.objective.temperature", "3", "--output", "x"])
    stage = dataclasses.replace(
        recipe.stages[1], objective=dataclasses.replace(recipe.stages[1].objective, temperature=3.0)
    )
    assert changed == dataclasses.replace(recipe, seed=1, stages=(recipe.stages[0], stage))


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_preset_changes_the_recipe_and_flags_override_the_preset(own, place):
    recipe, path = own
    preset, flag = ["--preset", "haystack"], ["--stages.0.objective.padding", "masked"]
    got, *_ = parse([path, *(preset + flag if place == "first" else flag + preset), "--output", "x"])
    expected = with_preset(recipe, PRESETS["haystack"])
    objective = dataclasses.replace(expected.stages[0].objective, padding="masked")
    stages = (dataclasses.replace(expected.stages[0], objective=objective), expected.stages[1])
    assert got == dataclasses.replace(expected, stages=stages)


@pytest.mark.parametrize("place", ["first", "last"])
def test_kinds_of_objectives_are_exchanged_and_flags_override_the_new_ones(own, place):
    recipe, path = own
    kinds, flag = ["--objectives", "relations", "prediction"], ["--stages.0.objective.heads", "4"]
    got, *_ = parse([path, *(kinds + flag if place == "first" else flag + kinds), "--output", "x"])
    first, second = recipe.stages
    assert got == dataclasses.replace(recipe, stages=(dataclasses.replace(first, objective=Relations(heads=4)), second))


def test_a_kind_that_a_stage_has_already_keeps_its_settings(own):
    _, path = own
    got, *_ = parse([path, "--preset", "haystack", "--objectives", "intermediate", "finetune", "--output", "x"])
    assert got.stages[0].objective == PRESETS["haystack"].objectives["intermediate"]
    assert got.stages[1].objective == Finetune()


@pytest.mark.parametrize("kinds", [["relations"], ["relations", "predictions"]], ids=["too-few", "unknown"])
def test_every_stage_needs_a_kind_that_there_is(own, kinds):
    with pytest.raises(UserError, match=rf"each of the recipe's 2 stages, .* got {' '.join(kinds)}$"):
        parse([own[1], "--objectives", *kinds, "--output", "x"])


def test_a_python_file_is_one_too(tmp_path):
    source = tmp_path / "some_recipes.py"
    source.write_text("from tinybert_jax.run.recipes import quickstart\nmine = quickstart\n")
    recipe, *_ = parse([f"{source}:mine", "--seed", "3", "--output", "x"])
    assert recipe == dataclasses.replace(RECIPES["quickstart"](), seed=3)


@pytest.mark.parametrize("source", ["nothing", "nothing.txt", "file.py", ":recipe"])
def test_anything_else_is_refused_with_what_there_is(source):
    with pytest.raises(UserError, match=rf"unknown recipe '{source}': one of quickstart, .* recipe\.json, or FILE\.py"):
        parse([source, "--output", "x"])


@pytest.mark.parametrize("arguments", [["--output", "x", "quickstart"], ["--preset", "paper"]], ids=["flag", "alone"])
def test_flags_before_the_recipe_are_refused_with_the_order(arguments):
    with pytest.raises(UserError, match=rf"the recipe must come first, got {arguments[0]}: tinybert train RECIPE \["):
        parse(arguments)


def test_help_lists_the_recipes_and_a_recipe_s_help_its_flags(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--help"], "What it does.")
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith("What it does.")
    assert all(name in said for name in RECIPES)
    with pytest.raises(SystemExit) as ended:
        parse(["quickstart", "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(
        flag in said for flag in ("--preset", "--objectives", "--output", "--stages.0.learning-rate", "--eval-every")
    )
    assert "A generated task, end to end" in said


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--stages.0.learning-rate", "nan"),
        ("--stages.0.learning-rate", "inf"),
        ("--stages.0.batch-size", "1e9"),
        ("--stages.1.objective.temperature", "inf"),
        ("--stages.0.objective.hidden-weight", "1e300"),
        ("--stages.0.rule.eps", "inf"),
        ("--stages.0.epochs", "99999999999"),
        ("--seed", "-1"),
        ("--seed", "2147483648"),
        ("--buckets", "-8"),
        ("--windows.doc-stride", "99999999999"),
        ("--answers.max-answer-len", "1000000000"),
        ("--answers.null-threshold", "-inf"),
        ("--hold-out-questions", "nan"),
        ("--max-seconds", "nan"),
    ],
)
def test_a_figure_out_of_range_is_refused_before_there_is_a_folder(own, tmp_path, capsys, flag, value):
    with pytest.raises((UserError, SystemExit)) as ended:
        parse([own[1], flag, value, "--output", str(tmp_path / "run")])
    said = str(ended.value) + capsys.readouterr().err
    assert flag.split(".")[-1].strip("-").replace("-", "_") in said.replace("-", "_")
    assert not (tmp_path / "run").exists()


def test_a_misspelt_flag_ends_with_status_2(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["quickstart", "--sead", "1", "--output", "x"])
    assert ended.value.code == 2
    assert "--sead" in capsys.readouterr().err


def test_a_push_is_no_part_of_the_recipe(own):
    recipe, path = own
    arguments = [path, "--output", "x", "--push-to-hub", "ada/student", "--private"]
    got, _, hooks = parse(arguments)
    assert got == recipe
    assert [type(hook).__name__ for hook in hooks] == ["Push"]
    with pytest.raises(UserError, match="--private says how to push: give --push-to-hub ID too"):
        parse([path, "--output", "x", "--private"])


def test_a_limit_of_time_is_no_part_of_the_recipe(own):
    recipe, path = own
    got, _, hooks = parse([path, "--output", "x", "--max-seconds", "60"])
    assert got == recipe
    assert [type(hook).__name__ for hook in hooks] == ["TimeLimit"]


@pytest.mark.parametrize(
    ("flags", "message", "read_with"),
    [
        (
            ["--student", "a/b"],
            "--student a/b would not be read, as student_from_teacher 3",
            "--student-from-teacher None",
        ),
        (["--augmented", "x"], "--augmented x would not be read, as no stage asks for", "--stages.0.augmented"),
        (["--undistilled.learning-rate", "1"], r"--undistilled\.\* would not be read", "--compare-undistilled"),
        (["--corpus-column", "x"], "--corpus-column x would not be read, as there is no corpus: leave it out", None),
    ],
    ids=["student", "augmented", "undistilled", "column"],
)
def test_a_flag_that_the_recipe_would_not_read_is_refused(own, flags, message, read_with):
    _, path = own
    arguments = [path, "--no-compare-undistilled", *flags, "--output", "x"]
    with pytest.raises(UserError, match=message):
        parse(arguments)
    if read_with is not None:
        parse([path, *flags, *read_with.split(), "--output", "x"])


def test_figures_of_an_augmentation_are_for_copies_that_are_still_to_be_made():
    arguments = ["tinybert-6l-768d-squad2", "--augment.copies", "5", "--output", "x"]
    assert parse(arguments)[0].augment.copies == 5
    with pytest.raises(UserError, match=r"--augment\.\* would not be read, as a\.arrow has the copies"):
        parse([*arguments, "--augmented", "a.arrow"])


@pytest.mark.parametrize("name", ["student", "teacher", "train", "dev"])
def test_models_and_data_in_place_of_generated_ones_are_refused(name):
    with pytest.raises(UserError, match=f"--{name} my/own would not be read, as quickstart generates its models"):
        parse(["quickstart", f"--{name}", "my/own", "--output", "x"])


def test_a_teacher_s_stage_may_be_the_one_that_asks_for_copies():
    arguments = ["minilm-3l-squad2", "--augmented", "x", "--teacher-stages.0.augmented", "--output", "x"]
    assert parse(arguments)[0].augmented == "x"
