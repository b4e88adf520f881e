import dataclasses

import pytest

import train
from tinybert_jax.distill import Finetune, Intermediate, Prediction
from tinybert_jax.errors import UserError
from tinybert_jax.run.recipes import RECIPES, Stage


def test_every_recipe_is_named_after_itself_and_says_its_command():
    for name, recipe in RECIPES.items():
        assert recipe().name == name
        assert f"`python train.py {name} " in (recipe.__doc__ or "")


def test_the_card_s_recipe_has_the_card_s_figures():
    recipe = RECIPES["tinybert-6l-768d-squad2"]()
    intermediate, prediction = recipe.stages
    assert isinstance(intermediate.objective, Intermediate)
    assert prediction.objective == Prediction(temperature=1.0, soft_weight=1.0)
    for stage in recipe.stages:
        assert (stage.batch_size, stage.epochs, stage.warmup) == (26, 5, 0.2)
    assert (intermediate.learning_rate, prediction.learning_rate) == (5e-5, 3e-5)
    assert (intermediate.augmented, prediction.augmented) == (True, False)
    assert (recipe.windows.max_seq_len, recipe.windows.doc_stride, recipe.windows.max_question_len) == (384, 128, 64)
    assert (recipe.teacher, recipe.student) == (
        "deepset/bert-base-uncased-squad2",
        "huawei-noah/TinyBERT_General_6L_768D",
    )


def test_flags_reach_nested_figures():
    arguments = ["tinybert-6l-768d-squad2", "--stages.0.learning-rate", "1e-4", "--stages.1.objective.temperature", "2"]
    recipe, _ = train.parse([*arguments, "--stages.0.objective.layer-map", "1", "3", "5", "--output", "x"])
    assert recipe.stages[0].learning_rate == 1e-4
    assert recipe.stages[0].objective == Intermediate(compare="probabilities", layer_map=(1, 3, 5))
    assert recipe.stages[1].objective == Prediction(temperature=2.0)
    assert recipe.stages[1].learning_rate == 3e-5


def test_a_stage_ends_at_the_sooner_of_epochs_and_max_steps():
    stage = Stage(objective=Finetune(), epochs=3)
    assert stage.steps(10) == 30
    assert dataclasses.replace(stage, max_steps=25).steps(10) == 25
    assert dataclasses.replace(stage, max_steps=99).steps(10) == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": ()}, "at least one stage"),
        ({"teacher": None}, "needs a teacher"),
        ({"dev_questions": 0}, "dev_questions must be at least 1, got 0"),
    ],
)
def test_impossible_recipes_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RECIPES["quickstart"](), **change)
