import dataclasses

import jax
import pytest

from tinybert_jax.distill import Finetune
from tinybert_jax.errors import UserError
from tinybert_jax.model import Model
from tinybert_jax.run import stages
from tinybert_jax.run.recipe import Stage
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


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_a_rate_of_dropout_is_below_1(dropout):
    with pytest.raises(UserError, match="dropout must be"):
        Stage(objective=Finetune(), dropout=dropout)
