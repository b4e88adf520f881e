"""A BERT distilled into a DistilBERT of the same vocabulary, from the recipe to the export."""

import dataclasses

import pytest

from tests.tiny_run import make_recipe
from tinybert_jax import train
from tinybert_jax.data import load_tokenizer
from tinybert_jax.distill import Intermediate, Prediction
from tinybert_jax.model import BertForQuestionAnswering, load_pretrained, save_pretrained
from tinybert_jax.run.recipe import Stage

pytestmark = pytest.mark.usefixtures("quick_runs")


def test_a_bert_is_distilled_into_a_distilbert(tmp_path, random_params):
    recipe = make_recipe(tmp_path, teacher=str(tmp_path / "student"), student=str(tmp_path / "distilbert"))
    config = load_pretrained(recipe.teacher)[0]
    config = dataclasses.replace(config, model_type="distilbert", type_vocab_size=0)
    weights = random_params(BertForQuestionAnswering(config), 1)
    save_pretrained(recipe.student, config, weights, load_tokenizer(recipe.teacher))
    shape = {"batch_size": 4, "max_steps": 3}
    stages = tuple(Stage(objective=objective, **shape) for objective in (Intermediate(), Prediction()))
    results = train.train(dataclasses.replace(recipe, stages=stages, compare_undistilled=False), tmp_path / "run")
    assert set(results["student"]) >= {"exact", "f1"}
    assert load_pretrained(tmp_path / "run" / "export")[0] == config
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    auto = transformers.AutoModelForQuestionAnswering
    model, info = auto.from_pretrained(tmp_path / "run" / "export", output_loading_info=True)
    assert type(model).__name__ == "DistilBertForQuestionAnswering"
    assert not any(info.values()), info
