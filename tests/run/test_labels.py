"""What needs labels is refused where there are none."""

import dataclasses

import pytest

from tinybert_jax.data import Dataset, Example
from tinybert_jax.distill import Finetune, Intermediate, Prediction
from tinybert_jax.errors import UserError
from tinybert_jax.inference import QASettings, write_settings
from tinybert_jax.run.labels import check_labels, teacher_s_answers, trained_on_unanswerable
from tinybert_jax.run.prepare import Ingredients
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.scoring import AnswerConfig

LABELLED = Dataset([Example("a", "q", "c", ())], None)
UNLABELLED = Dataset([Example("a", "q", "c", (), is_labelled=False)], None)
ALONE = Stage(objective=Intermediate()), Stage(objective=Prediction())
HARD = Stage(objective=Prediction(soft_weight=0.9))
TUNED = Stage(objective=Finetune())


def check(train, dev=LABELLED, augmented=None, teacher: str | None = "teacher", **changes):
    values = {"student": "s", "teacher": teacher, "train": "train.jsonl", "dev": "dev.jsonl", "stages": ALONE}
    ingredients = Ingredients(None, teacher, None, train, augmented or train, dev)
    check_labels(Recipe(name="r", **{**values, **changes}), ingredients)


def test_stages_that_learn_from_the_teacher_alone_need_none():
    check(UNLABELLED, UNLABELLED)
    check(UNLABELLED, LABELLED)
    check(LABELLED, UNLABELLED, stages=(*ALONE, HARD, TUNED), teacher_stages=(TUNED,), compare_undistilled=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": (*ALONE, HARD)}, "stage 3-prediction learns from labels, and train.jsonl has none"),
        ({"stages": (TUNED,)}, "stage 1-finetune learns from labels"),
        ({"compare_undistilled": True}, "compare_undistilled trains on labels alone, and train.jsonl has none"),
        ({"teacher_stages": (TUNED,)}, "teacher_stages train on labels"),
        ({"hold_out_questions": 0.1, "eval_every": 5}, "hold_out_questions scores on labels"),
    ],
    ids=["hard", "finetune", "undistilled", "teacher", "held out"],
)
def test_what_needs_labels_is_refused(changes, message):
    check(LABELLED, **changes)
    with pytest.raises(UserError, match=message):
        check(UNLABELLED, **changes)


def test_a_stage_is_asked_what_it_is_trained_on():
    augmented = dataclasses.replace(HARD, augmented=True)
    check(UNLABELLED, augmented=LABELLED, stages=(augmented,))
    with pytest.raises(UserError, match="stage 1-prediction"):
        check(LABELLED, augmented=UNLABELLED, stages=(augmented,))


def test_without_a_teacher_there_is_nothing_to_agree_with():
    with pytest.raises(UserError, match=r"dev\.jsonl has no labels to score on"):
        check(LABELLED, UNLABELLED, teacher=None, stages=(TUNED,))


@pytest.mark.parametrize("known", [True, False, None])
def test_without_labels_the_teacher_says_whether_questions_may_have_no_answer(tmp_path, known):
    write_settings(tmp_path, QASettings(trained_on_unanswerable=known))
    recipe = Recipe(name="r", student="s", teacher=str(tmp_path), train="t", dev="d", stages=ALONE)
    assert trained_on_unanswerable(recipe, Ingredients(None, None, None, UNLABELLED, UNLABELLED, LABELLED)) is known
    assert trained_on_unanswerable(recipe, Ingredients(None, None, None, LABELLED, LABELLED, LABELLED)) is True


def test_a_teacher_answers_by_its_own_settings_unless_the_run_trains_it(tmp_path):
    own, given = AnswerConfig(null_threshold=2.5, max_answer_len=9), AnswerConfig(null_threshold=-1.0)
    write_settings(tmp_path, QASettings(answers=own, tuned_on={"data": "dev.json"}))
    values = {"student": "s", "teacher": str(tmp_path), "train": "t", "dev": "d", "stages": ALONE, "answers": given}
    ingredients = Ingredients(None, None, None, LABELLED, LABELLED, UNLABELLED)
    assert teacher_s_answers(Recipe(name="r", **values), ingredients) == dataclasses.replace(own, no_answer="allow")
    trained = Recipe(name="r", teacher_stages=(TUNED,), **values)
    assert teacher_s_answers(trained, ingredients) == dataclasses.replace(given, no_answer="allow")
