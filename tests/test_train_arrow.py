"""Training and evaluation on .arrow files, as a whole and in part, plain and augmented."""

import dataclasses
from pathlib import Path

import pytest

from tests.data.windows_by_hand import assert_same
from tinybert_jax import train
from tinybert_jax.data import read_squad
from tinybert_jax.data.squad_writer import write_squad
from tinybert_jax.errors import UserError
from tinybert_jax.run.prepare import augment_training_data, prepare
from tinybert_jax.scoring import squad_metrics
from tinybert_jax.store.files import read_json

pytestmark = [
    pytest.mark.usefixtures("quick_runs"),
    pytest.mark.filterwarnings("ignore:no GloVe vectors were given"),
]


@pytest.fixture
def recipe(augmenting_recipe, paragraphs, tmp_path):
    """Trained and scored on .arrow files."""
    files = {name: str(tmp_path / f"{name}.arrow") for name in ("train", "dev")}
    for path in files.values():
        write_squad(Path(path), paragraphs)
    augment = dataclasses.replace(augmenting_recipe.augment, copies=2)
    return dataclasses.replace(augmenting_recipe, **files, augment=augment)


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
