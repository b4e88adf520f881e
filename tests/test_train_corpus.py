"""General distillation: from text alone to an encoder that the next run starts from."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests.tiny_run import Kill, equal
from tinybert_jax import train
from tinybert_jax.data import read_squad
from tinybert_jax.errors import UserError
from tinybert_jax.model import (
    BertConfig,
    BertForQuestionAnswering,
    init_params,
    load_pretrained,
    load_qa_model,
    save_pretrained,
)
from tinybert_jax.model.pretrained import load_stored
from tinybert_jax.run.digests import digests
from tinybert_jax.run.prepare import prepare
from tinybert_jax.run.recipes import RECIPES
from tinybert_jax.synthetic.generate import SyntheticConfig, make_squad, train_tokenizer

pytestmark = pytest.mark.usefixtures("quick_runs")

LENGTH = 64


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Twelve steps of a layer cut from a teacher of two, on the contexts of a generated data set."""
    folder = tmp_path_factory.mktemp("corpus")
    data, _ = make_squad(SyntheticConfig(train_articles=3, dev_articles=1, paragraphs_per_article=2))
    (folder / "squad.json").write_text(json.dumps(data))
    contexts = dict.fromkeys(example.context for example in read_squad(folder / "squad.json"))
    (folder / "corpus.txt").write_text("\n\n".join([*contexts] * 4))
    tokenizer = train_tokenizer(data, 600)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "max_position_embeddings": LENGTH}
    config = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=2, **sizes)
    params = init_params(BertForQuestionAnswering(config), jax.random.key(0))
    save_pretrained(folder / "teacher", config, params, tokenizer)
    small = dataclasses.replace(config, num_hidden_layers=1)
    params = init_params(BertForQuestionAnswering(small), jax.random.key(1))
    save_pretrained(folder / "encoder", small, {"bert": params["bert"]}, tokenizer)
    recipe = RECIPES["general-distillation"]()
    stage = dataclasses.replace(recipe.stages[0], batch_size=4, max_steps=12, epochs=9, learning_rate=1e-2)
    return dataclasses.replace(
        recipe,
        teacher=str(folder / "teacher"),
        student=str(folder / "encoder"),
        corpus=(str(folder / "corpus.txt"),),
        stages=(stage,),
        windows=dataclasses.replace(recipe.windows, max_seq_len=LENGTH),
        buckets=(LENGTH,),
        cache=folder / "cache",
        checkpoint_every=5,
        dtype="float32",
    )


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    """A run killed on its way and continued."""
    output = tmp_path_factory.mktemp("run") / "gd"
    with pytest.raises(KeyboardInterrupt):
        train.train(recipe, output, hooks=(Kill(7),))
    return output, train.train(recipe, output)


def test_the_loss_on_rows_that_are_not_trained_on_falls(finished):
    output, results = finished
    assert results.keys() == {"student", "seconds"}
    (losses,) = results["student"].values()
    assert losses["before"].keys() == losses["after"].keys() == {"loss", "hidden", "attention"}
    assert losses["after"]["loss"] < 0.8 * losses["before"]["loss"]
    assert json.loads((output / "results.json").read_text()) == results


def test_a_run_that_was_continued_ends_with_the_same_bits(recipe, finished, tmp_path):
    train.train(recipe, tmp_path / "whole")
    assert equal(*(load_stored(output / "export").params for output in (finished[0], tmp_path / "whole")))
    whole = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert whole["student"] == finished[1]["student"]


@pytest.mark.filterwarnings("ignore:.* has no question-answering head")
def test_an_encoder_is_exported_as_one_and_the_next_run_starts_from_it(recipe, finished):
    export = finished[0] / "export"
    assert load_stored(export).params.keys() == {"bert"}
    assert json.loads((export / "config.json").read_text())["architectures"] == ["BertModel"]
    assert not equal(load_pretrained(export)[1]["bert"], load_pretrained(recipe.student)[1]["bert"])
    card = (export / "README.md").read_text()
    assert "general distillation" in card and "pipeline_tag: feature-extraction" in card
    assert "- Training data: `corpus.txt`" in card and "1 ← 2" in card
    assert "| 1-intermediate | attention |" in card


def test_a_student_cut_from_a_teacher_that_answers_keeps_its_head(recipe, tmp_path):
    stage = dataclasses.replace(recipe.stages[0], max_steps=1)
    changed = dataclasses.replace(recipe, student_from_teacher="1", stages=(stage,))
    train.train(changed, tmp_path / "run")
    student, teacher = load_qa_model(str(tmp_path / "run" / "export")), load_qa_model(recipe.teacher)
    assert equal(student.params["qa_outputs"], teacher.params["qa_outputs"])
    assert student.config.num_hidden_layers == 1


def test_a_corpus_that_was_edited_is_another_ingredient(recipe, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text((tmp_path.parent / recipe.corpus[0]).read_text() + "\n\nOne more town.")
    before = digests(prepare(recipe, tmp_path))
    after = digests(prepare(dataclasses.replace(recipe, corpus=(str(other),)), tmp_path))
    assert {name for name in before if before[name] != after[name]} == {"train"}
    assert "dev" not in before


def test_rows_are_of_no_question(recipe, tmp_path):
    ingredients = prepare(recipe, tmp_path)
    assert ingredients.dev is None and ingredients.held_out is not None and not ingredients.has_span_head
    assert not ingredients.train.is_labelled
    assert np.median(ingredients.train.windows.lengths) == LENGTH


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "train.json"}, "leave out train, or the corpus"),
        ({"dev": "dev.json"}, "leave out dev, or the corpus"),
        ({"compare_undistilled": True}, "leave out compare_undistilled, or the corpus"),
        ({"stages": RECIPES["quickstart"]().stages}, "a corpus has no questions, and prediction trains to answer them"),
        ({"corpus": ()}, "needs train and dev, or else a corpus"),
    ],
    ids=["train", "dev", "undistilled", "prediction", "none"],
)
def test_recipes_that_cannot_be(recipe, changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(recipe, **changes)


def test_a_corpus_that_is_none_is_refused_before_anything_is_written(recipe, tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="holds no text"):
        train.train(dataclasses.replace(recipe, corpus=(str(tmp_path / "empty.txt"),)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
