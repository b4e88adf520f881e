import dataclasses
from pathlib import Path

import pytest

from tinybert_jax import train
from tinybert_jax.augment.rules import AugmentConfig, AugmentRules
from tinybert_jax.data import WindowConfig
from tinybert_jax.distill import Finetune, Intermediate, OptimizerConfig, Prediction, Projection, UpdateRule
from tinybert_jax.errors import UserError
from tinybert_jax.run.presets import HAYSTACK, PRESETS
from tinybert_jax.run.recipe import Stage, with_preset
from tinybert_jax.run.recipes import RECIPES, minilm_3l_squad2
from tinybert_jax.scoring import AnswerConfig


def test_every_recipe_is_named_after_itself_and_says_its_command():
    for name, recipe in RECIPES.items():
        assert recipe().name == name
        assert f"`python train.py {name} " in (recipe.__doc__ or "")


def test_the_card_s_recipe_has_the_card_s_figures():
    recipe = RECIPES["tinybert-6l-768d-squad2"]()
    intermediate, prediction = recipe.stages
    assert (intermediate.objective, prediction.objective) == tuple(HAYSTACK.objectives.values())
    assert (prediction.objective.temperature, prediction.objective.soft_weight) == (1.0, 1.0)
    for stage in recipe.stages:
        assert (stage.batch_size, stage.epochs, stage.warmup) == (26, 5, 0.2)
        assert stage.rule == HAYSTACK.rule
    assert recipe.buckets == (384,)  # haystack's plain means are over this length
    assert (intermediate.learning_rate, prediction.learning_rate) == (5e-5, 3e-5)
    assert (intermediate.augmented, prediction.augmented) == (True, False)
    assert recipe.augment == AugmentConfig(copies=20, probability=0.4, rules=HAYSTACK.augment)
    assert recipe.windows == WindowConfig(384, 128, 64, stride_means="step")
    assert (recipe.teacher, recipe.student) == (
        "deepset/bert-base-uncased-squad2",
        "huawei-noah/TinyBERT_General_6L_768D",
    )


def test_flags_reach_nested_figures():
    arguments = ["tinybert-6l-768d-squad2", "--stages.0.learning-rate", "1e-4", "--stages.1.objective.temperature", "2"]
    arguments += ["--stages.0.objective.hidden-map", "1", "3", "5", "--stages.0.objective.attention-map", "last"]
    arguments += ["--stages.0.objective.projection.kind", "shared", "--stages.1.rule.clip", "tensor"]
    recipe, *_ = train.parse([*arguments, "--output", "x"])
    intermediate, prediction = recipe.stages
    assert intermediate.learning_rate == 1e-4
    assert intermediate.objective == dataclasses.replace(
        HAYSTACK.objectives["intermediate"], hidden_map=(1, 3, 5), attention_map="last", projection=Projection("shared")
    )
    assert prediction.objective == dataclasses.replace(HAYSTACK.objectives["prediction"], temperature=2.0)
    assert prediction.learning_rate == 3e-5
    assert prediction.rule == dataclasses.replace(HAYSTACK.rule, clip="tensor")


def test_flags_reach_the_augmentation():
    arguments = ["tinybert-6l-768d-squad2", "--augment.copies", "3", "--augment.glove", "glove.zip"]
    recipe, *_ = train.parse([*arguments, "--augment.rules.answers", "empty", "--output", "x"])
    expected = AugmentConfig(copies=3, glove=Path("glove.zip"), rules=HAYSTACK.augment)
    assert recipe.augment == expected


def test_half_of_teacher_takes_a_trained_teacher_as_it_is_and_needs_no_labels():
    arguments = ["half-of-teacher", "--teacher", "mine", "--train", "mine.jsonl", "--dev", "dev.json", "--output", "x"]
    recipe, *_ = train.parse(arguments)
    assert (recipe.teacher, recipe.teacher_stages, recipe.student_from_teacher) == ("mine", (), "half")
    assert not recipe.compare_undistilled
    assert not any(stage.objective.needs_labels or stage.augmented for stage in recipe.stages)
    assert [stage.objective for stage in recipe.stages] == [stage.objective for stage in minilm_3l_squad2().stages]
    assert [stage.learning_rate for stage in recipe.stages] == [3e-4, 1e-4]
    recipe, *_ = train.parse([*arguments, "--windows.max-seq-len", "512"])
    assert recipe.batch_lengths == (128, 192, 256, 384, 512)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (AnswerConfig, "no_answer"),
        (AugmentConfig, "dtype"),
        (AugmentRules, "answers"),
        (AugmentRules, "spacing"),
        (AugmentRules, "words"),
        (Intermediate, "attention_map"),
        (Intermediate, "compare"),
        (Intermediate, "heads"),
        (Intermediate, "hidden_map"),
        (Intermediate, "padding"),
        (OptimizerConfig, "schedule"),
        (Prediction, "padding"),
        (Projection, "kind"),
        (UpdateRule, "clip"),
        (UpdateRule, "decay"),
        (WindowConfig, "stride_means"),
    ],
)
def test_a_misspelt_name_in_python_is_refused_as_on_the_command_line(kind, field):
    settings = kind()
    object.__setattr__(settings, field, "mispelt")  # the constructors' types are checked in tests, and only there
    with pytest.raises(UserError, match=f"{field} must be one of .*, got 'mispelt'"):
        settings.__post_init__()


@pytest.mark.parametrize("field", ["keep", "dtype", "teacher_cache"])
def test_a_misspelt_name_of_a_recipe_is_refused(field):
    with pytest.raises(UserError, match=f"{field} must be one of .*, got 'mispelt'"):
        dataclasses.replace(RECIPES["quickstart"](), **{field: "mispelt"})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_what_the_student_s_stages_compare_and_nothing_else(name):
    preset, before = PRESETS[name], RECIPES["minilm-3l-squad2"]()
    arguments = ["minilm-3l-squad2", "--output", "x", "--preset", name, "--stages.0.objective.hidden-weight", "3"]
    recipe, *_ = train.parse(arguments)
    first, second = preset.objectives.values()
    assert [stage.objective for stage in recipe.stages] == [dataclasses.replace(first, hidden_weight=3.0), second]
    assert {stage.rule for stage in recipe.stages} == {recipe.undistilled.rule} == {preset.rule}
    assert {stage.dropout for stage in recipe.stages} == {preset.dropout}
    for stage, old in zip(recipe.stages, before.stages, strict=True):
        assert dataclasses.replace(stage, objective=old.objective, rule=old.rule, dropout=old.dropout) == old
    same = {"stages": before.stages, "undistilled": before.undistilled}
    assert dataclasses.replace(recipe, **same) == before


def test_a_preset_s_augmentation_comes_with_it_and_its_figures_stay():
    arguments = [
        "tinybert-6l-768d-squad2",
        "--preset",
        "huawei",
        "--augment.copies",
        "3",
        "--augment.rules.context",
        "64",
    ]
    recipe, *_ = train.parse([*arguments, "--output", "x"])
    assert recipe.augment == AugmentConfig(copies=3, rules=dataclasses.replace(PRESETS["huawei"].augment, context=64))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_a_preset_have_its_objectives_and_its_augmentation(name):
    recipe = RECIPES[name]()
    meaning = {
        "tinybert-6l-768d-squad2": "haystack",
        "tinybert-6l-768d-squad2-paper": "paper",
        "general-distillation": "paper",
    }
    preset = PRESETS[meaning.get(name, "recommended")]
    assert recipe == with_preset(recipe, preset)


def test_an_unknown_preset_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as ended:
        train.parse(["quickstart", "--preset", "magic", "--output", "x"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("magic", *PRESETS))


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
        ({"more_teachers": ("a", "b"), "teacher_cache": "off"}, "more_teachers .* got a, b with teacher_cache 'off'"),
        (
            {"more_teachers": ("a",), "stages": (Stage(objective=Intermediate()),)},
            "needs a stage that learns from logits, .* and 0 such stages",
        ),
        ({"dev_questions": 0}, "dev_questions must be at least 1, got 0"),
    ],
)
def test_impossible_recipes_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RECIPES["quickstart"](), **change)
