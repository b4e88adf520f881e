"""A recipe's models and data in a vocabulary trimmed to its training data."""

import dataclasses

import numpy as np
import pytest

from tests.tiny_run import equal, make_recipe
from tinybert_jax.data import read_squad
from tinybert_jax.data.squad_writer import paragraphs_of, write_squad
from tinybert_jax.distill import Prediction
from tinybert_jax.inference import JaxNetwork, predict_logits
from tinybert_jax.model import load_pretrained
from tinybert_jax.run.prepare import prepare
from tinybert_jax.run.recipe import Stage
from tinybert_jax.run.student import how_made


@pytest.fixture(scope="module", params=["json", "arrow"])
def recipe(request, tmp_path_factory):
    """A model that learns from itself on the first paragraphs of its data."""
    folder = tmp_path_factory.mktemp("trimmed")
    recipe = make_recipe(folder)
    some = folder / f"some.{request.param}"
    write_squad(some, list(paragraphs_of(read_squad(recipe.train)))[:2])
    stages = (Stage(objective=Prediction(), batch_size=4, max_steps=2),)
    models = {"teacher": recipe.student, "more_teachers": (recipe.student,), "dtype": "float32"}
    return dataclasses.replace(recipe, stages=stages, train=str(some), **models)


def test_models_and_training_data_are_the_same_in_fewer_tokens(recipe, tmp_path):
    whole = prepare(recipe, tmp_path)
    trimmed = prepare(dataclasses.replace(recipe, trim_vocabulary=True), tmp_path)
    pieces = whole.tokenizer.convert_ids_to_tokens(range(len(whole.tokenizer)))
    ours = trimmed.tokenizer.convert_ids_to_tokens(range(len(trimmed.tokenizer)))
    assert len(ours) < len(pieces) - 50
    kept = np.array([pieces.index(piece) for piece in ours])
    np.testing.assert_array_equal(kept[trimmed.train.windows.tokens], whole.train.windows.tokens)
    np.testing.assert_array_equal(trimmed.train.windows.offsets, whole.train.windows.offsets)
    assert trimmed.augmented is trimmed.train
    assert len(trimmed.dev.windows.tokens) > len(whole.dev.windows.tokens)  # some words are now in shorter pieces
    for model in (trimmed.student, trimmed.teacher, *trimmed.more_teachers):
        assert model.config == dataclasses.replace(whole.student.config, vocab_size=len(ours))
    logits = [predict_logits(JaxNetwork(found.teacher), found.train.windows) for found in (whole, trimmed)]
    np.testing.assert_array_equal(*logits)
    assert equal(load_pretrained(recipe.teacher)[1], whole.teacher.params)


def test_the_card_says_how_the_models_were_changed(recipe):
    assert how_made(recipe) == {}
    changed = dataclasses.replace(recipe, student_from_teacher="first:1", student_width=8, trim_vocabulary=True)
    assert how_made(changed) == {
        "Cut from the teacher": "layers first:1, width 8",
        "Vocabulary": "trimmed to the tokens of the training data",
    }
