"""Recipes on disk: what is written reads back equal, and what could not is refused by its field."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert_jax.distill import Finetune, Intermediate, Prediction, Relations
from tinybert_jax.errors import UserError
from tinybert_jax.run.presets import PRESETS
from tinybert_jax.run.recipe import Recipe, Stage, with_preset
from tinybert_jax.run.recipe_file import differing_fields, read_recipe, run_recipe_file, to_json, write_recipe
from tinybert_jax.run.recipes import RECIPES

QUICKSTART = RECIPES["quickstart"]()


def through_a_file(recipe: Recipe, folder: Path) -> Recipe:
    write_recipe(folder / "recipe.json", recipe)
    return read_recipe(folder / "recipe.json")


@pytest.mark.parametrize("preset", [None, *PRESETS])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_reads_back_equal(tmp_path, name, preset):
    recipe = RECIPES[name]() if preset is None else with_preset(RECIPES[name](), PRESETS[preset])
    assert through_a_file(recipe, tmp_path) == recipe


positive = st.floats(min_value=1e-300, max_value=3e38)
not_negative = st.floats(min_value=0, max_value=3e38)
counts = st.integers(1, 2**31 - 1)
objectives = st.one_of(
    st.builds(Finetune),
    st.builds(
        Intermediate,
        hidden_map=st.sampled_from(["uniform", "last", (1,), (2, 4)]),
        hidden_weight=not_negative,
        embeddings=st.booleans(),
    ),
    st.builds(Prediction, temperature=positive, null_weight=not_negative),
    st.builds(Relations, heads=st.none() | counts),
)
stages = st.builds(
    Stage,
    objective=objectives,
    learning_rate=positive,
    clip_norm=positive | st.just(math.inf),
    max_steps=st.none() | counts,
    augmented=st.booleans(),
)
recipes = st.builds(
    dataclasses.replace,
    st.sampled_from([recipe() for recipe in RECIPES.values() if recipe().teacher and recipe().train]),
    student=st.text(),
    stages=st.lists(stages, min_size=1, max_size=3).map(tuple),
    buckets=st.sets(counts, max_size=4).map(sorted).map(tuple),
    cache=st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).map(Path),
    train_questions=st.none() | counts,
)


# What checks types draws at random which items of a container it looks at.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@given(recipe=recipes)
def test_any_recipe_reads_back_equal(tmp_path_factory, recipe):
    again = through_a_file(recipe, tmp_path_factory.getbasetemp())
    assert again == recipe
    for one, other in zip(again.stages, recipe.stages, strict=True):
        assert type(one.objective) is type(other.objective)


def test_objectives_have_a_readable_tag():
    content = to_json(QUICKSTART)
    assert [stage["objective"]["type"] for stage in content["stages"]] == ["intermediate", "prediction"]
    assert content["teacher_stages"][0]["objective"] == {"type": "finetune"}
    assert content["stages"][0]["objective"]["projection"]["kind"] == "per-state"


def test_it_is_json_of_the_standard(tmp_path):
    stage = dataclasses.replace(QUICKSTART.stages[1], clip_norm=math.inf)
    recipe = dataclasses.replace(QUICKSTART, stages=(stage,))
    write_recipe(tmp_path / "recipe.json", recipe)
    json.loads((tmp_path / "recipe.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert read_recipe(tmp_path / "recipe.json") == recipe


def test_what_is_no_number_is_refused():
    answers = dataclasses.replace(QUICKSTART.answers)
    object.__setattr__(answers, "null_threshold", math.nan)  # which its own check would refuse
    with pytest.raises(UserError, match=r"answers\.null_threshold must be a number, got nan"):
        to_json(dataclasses.replace(QUICKSTART, answers=answers))


def edited(tmp_path, edit) -> Path:
    """The quickstart's file with something changed by hand."""
    content = to_json(QUICKSTART)
    edit(content)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    return path


def test_a_figure_changed_by_hand_is_read(tmp_path):
    path = edited(tmp_path, lambda content: content["stages"][1].update(learning_rate=1, max_steps=None))
    stage = dataclasses.replace(QUICKSTART.stages[1], learning_rate=1.0, max_steps=None)
    assert read_recipe(path) == dataclasses.replace(QUICKSTART, stages=(QUICKSTART.stages[0], stage))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content.pop("seed"), "missing: seed"),
        (lambda content: content["stages"][0].pop("rule"), r"missing: stages\.0\.rule"),
        (lambda content: content["stages"][1]["objective"].update(tau=2), r"unknown: stages\.1\.objective\.tau"),
        (lambda content: content.update(sead=1, train_data="x"), "unknown: sead, train_data"),
        (lambda content: content["stages"][0]["objective"].update(type="magic"), r"type must be one of finetune, .*'m"),
        (lambda content: content["stages"][0]["objective"].pop("type"), r"objective\.type must be one of .* got None"),
        (lambda content: content.update(seed="1"), "seed must be an integer, got '1'"),
        (lambda content: content.update(seed=True), "seed must be an integer, got True"),
        (lambda content: content.update(buckets=[64, "80"]), r"buckets\.1 must be an integer, got '80'"),
        (
            lambda content: content.update(dtype="float8"),
            r'dtype must be "float32" or "bfloat16" or "auto", got .float8',
        ),
        (lambda content: content["stages"][0].update(epochs=0), r"stages\.0: epochs must be at least 1, got 0"),
        (lambda content: content.update(stages=[]), "the recipe: a recipe needs at least one stage"),
        (lambda content: content.update(stages={}), "stages must be a list, got {}"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_with_its_path_and_the_field(tmp_path, edit, message):
    with pytest.raises(UserError, match=rf"mine\.json.*{message}"):
        read_recipe(edited(tmp_path, edit))


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(UserError, match=r"list\.json: the recipe must be an object, got \[1\]"):
        read_recipe(tmp_path / "list.json")
    with pytest.raises(UserError, match="cannot read"):
        read_recipe(tmp_path / "none.json")


def test_differences_are_named_by_their_path():
    stage = dataclasses.replace(QUICKSTART.stages[0], learning_rate=1.0, max_steps=7)
    other = dataclasses.replace(QUICKSTART, stages=(stage, QUICKSTART.stages[1]), seed=1)
    found = differing_fields(to_json(QUICKSTART), to_json(other))
    assert found == ["stages.0.learning_rate", "stages.0.max_steps", "seed"]
    shorter = dataclasses.replace(QUICKSTART, stages=QUICKSTART.stages[:1])
    assert differing_fields(to_json(QUICKSTART), to_json(shorter)) == ["stages.1"]
    finetuned = dataclasses.replace(QUICKSTART, stages=(Stage(objective=Finetune()),), teacher_stages=())
    assert "stages.0.objective.type" in differing_fields(to_json(QUICKSTART), to_json(finetuned))


MODULE = """
import dataclasses
from tinybert_jax.run.recipes import RECIPES

@dataclasses.dataclass(frozen=True)
class Mine:  # looks for its module when it is made
    seed: int = 5

def recipe():
    return dataclasses.replace(RECIPES["quickstart"](), seed=Mine().seed)

value = dataclasses.replace(recipe(), seed=6)
number = 3
"""


def test_a_python_file_gives_a_recipe(tmp_path):
    path = tmp_path / "my_recipe.py"
    path.write_text(MODULE)
    assert run_recipe_file(path, "recipe") == dataclasses.replace(QUICKSTART, seed=5)
    assert run_recipe_file(path, "value") == dataclasses.replace(QUICKSTART, seed=6)
    with pytest.raises(UserError, match=r"my_recipe\.py defines no 'other'"):
        run_recipe_file(path, "other")
    with pytest.raises(UserError, match=r"my_recipe\.py: number must be a Recipe, .* got 3"):
        run_recipe_file(path, "number")
    with pytest.raises(UserError, match=r"there is no file .*gone\.py"):
        run_recipe_file(tmp_path / "gone.py", "recipe")
