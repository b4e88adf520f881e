"""Training and evaluation on .arrow files, as a whole and in part, plain and augmented."""

import dataclasses

import pytest

from tests.data.windows_by_hand import assert_same
from tinybert_jax import train
from tinybert_jax.augment.rules import AugmentConfig
from tinybert_jax.data import read_squad
from tinybert_jax.data.squad_writer import write_squad
from tinybert_jax.data.windows import WindowConfig
from tinybert_jax.distill import Intermediate, Prediction
from tinybert_jax.errors import UserError
from tinybert_jax.model import BertForQuestionAnswering, save_pretrained
from tinybert_jax.run.prepare import augment_training_data, prepare
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.scoring import squad_metrics
from tinybert_jax.store.files import read_json

pytestmark = pytest.mark.filterwarnings("ignore:no GloVe vectors were given")


@pytest.fixture
def recipe(masked_lm_folder, masked_lm, paragraphs, random_params, tmp_path):
    """Both stages of distillation, trained and scored on .arrow files, the first on two copies of its file."""
    for name in ("train", "dev"):
        write_squad(tmp_path / f"{name}.arrow", paragraphs)
    weights = random_params(BertForQuestionAnswering(masked_lm.config), 0)
    save_pretrained(tmp_path / "model", masked_lm.config, weights, masked_lm.tokenizer)
    return Recipe(
        name="arrow",
        student=str(tmp_path / "model"),
        teacher=str(tmp_path / "model"),
        train=str(tmp_path / "train.arrow"),
        dev=str(tmp_path / "dev.arrow"),
        stages=(
            Stage(objective=Intermediate(), epochs=1, batch_size=8, augmented=True),
            Stage(objective=Prediction(), epochs=1, batch_size=8),
        ),
        augment=AugmentConfig(copies=2, model=str(masked_lm_folder), candidates=3, dtype="float32"),
        windows=WindowConfig(max_seq_len=40, doc_stride=8, max_question_len=8),
        buckets=(40,),
        cache=tmp_path / "cache",
    )


def test_arrow_files_are_augmented_trained_on_and_scored(recipe, tmp_path, paragraphs):
    results = train.train(recipe, tmp_path / "run")
    predictions = read_json(tmp_path / "run" / "student" / "predictions.json")
    assert list(predictions) == [example.id for paragraph in paragraphs for example in paragraph]
    metrics = squad_metrics(read_squad(recipe.dev), predictions)
    assert results["student"] == {name: round(metrics[name], 2) for name in ("exact", "f1")}


def test_arrow_files_give_what_json_does(recipe, tmp_path, paragraphs):
    write_squad(tmp_path / "train.json", paragraphs)
    of_json = dataclasses.replace(recipe, train=str(tmp_path / "train.json"))
    made = [augment_training_data(each, prepare(each, tmp_path / "run")) for each in (recipe, of_json)]
    for one, other in ((made[0].train, made[1].train), (made[0].augmented, made[1].augmented)):
        assert list(one.examples) == list(other.examples)
        assert_same(one.windows, other.windows)


def test_part_of_the_questions(recipe, tmp_path):
    part = dataclasses.replace(recipe, train_questions=6, dev_questions=3)
    ingredients = prepare(part, tmp_path / "run")
    assert [len(ingredients.train.examples), len(ingredients.dev.examples)] == [6, 3]
    augmented = augment_training_data(part, ingredients).augmented
    assert len(augmented.examples) > 6
    assert {example.id.partition("#")[0] for example in augmented.examples} == {
        example.id for example in ingredients.train.examples
    }


def test_a_bad_question_ends_it_before_anything_is_claimed(recipe, tmp_path):
    (first, *_), *others = [list(read_squad(recipe.train)[i : i + 2]) for i in range(0, 20, 2)]
    write_squad(tmp_path / "train.arrow", [[dataclasses.replace(first, answers=(("nowhere", 0),))], *others])
    with pytest.raises(UserError, match=r"train\.arrow: row 0\.qas\[0\], question '0a': the answer 'nowhere'"):
        train.train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
