import dataclasses
from types import SimpleNamespace

import jax
import pytest

from tinybert_jax.distill import Finetune
from tinybert_jax.errors import UserError
from tinybert_jax.model import Model
from tinybert_jax.run import stages
from tinybert_jax.run.presets import HAYSTACK
from tinybert_jax.run.recipe import Stage, with_preset
from tinybert_jax.run.recipes import RECIPES


@pytest.mark.parametrize(("dropout", "trained_with"), [(None, (0.1, 0.2)), (0.0, (0.0, 0.0)), (0.3, (0.3, 0.3))])
def test_a_stage_trains_with_its_dropout_and_its_model_keeps_its_own(
    monkeypatch, config, params, dropout, trained_with
):
    seen = []
    monkeypatch.setattr(stages, "make_train_step", lambda network, *_: seen.append(network.config))
    config = dataclasses.replace(config, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2)
    model, stage = Model(config, params), Stage(objective=Finetune(), dropout=dropout)
    stages.program_of(stage, 10, model, None, RECIPES["quickstart"](), cached=False, key=jax.random.key(0))
    (trained,) = seen
    assert (trained.hidden_dropout_prob, trained.attention_probs_dropout_prob) == trained_with
    assert (model.config.hidden_dropout_prob, model.config.attention_probs_dropout_prob) == (0.1, 0.2)


def test_what_distillation_is_compared_to_trains_as_long_and_with_the_same_dropout(monkeypatch):
    monkeypatch.setattr(stages, "epochs_of", lambda *_: SimpleNamespace(steps_per_epoch=10))
    ingredients = SimpleNamespace(train=SimpleNamespace(windows=range(160)))
    recipe = RECIPES["minilm-3l-squad2"]()
    undistilled = stages.undistilled_stage(recipe, ingredients)
    assert undistilled.steps(10) == 20 and undistilled.epochs == 2
    assert undistilled.dropout == recipe.stages[-1].dropout == 0
    assert stages.undistilled_stage(with_preset(recipe, HAYSTACK), ingredients).dropout is None


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_a_rate_of_dropout_is_below_1(dropout):
    with pytest.raises(UserError, match="dropout must be"):
        Stage(objective=Finetune(), dropout=dropout)
