"""Distillation: the losses, what a stage compares, the optimiser and the jitted step."""

from tinybert_jax.distill import losses
from tinybert_jax.distill.finetune import Finetune
from tinybert_jax.distill.intermediate import AttentionDroppedWarning, Intermediate
from tinybert_jax.distill.mapping import Projection, resolve_layer_map
from tinybert_jax.distill.objective import LossInputs, Objective
from tinybert_jax.distill.objectives import OBJECTIVES
from tinybert_jax.distill.optimizer import OptimizerConfig, UpdateRule, make_optimizer, rate_schedule
from tinybert_jax.distill.prediction import Prediction
from tinybert_jax.distill.relations import Relations
from tinybert_jax.distill.step import TrainState, create_state, make_loss, make_train_step

__all__ = [
    "OBJECTIVES",
    "AttentionDroppedWarning",
    "Finetune",
    "Intermediate",
    "LossInputs",
    "Objective",
    "OptimizerConfig",
    "Prediction",
    "Projection",
    "Relations",
    "TrainState",
    "UpdateRule",
    "create_state",
    "losses",
    "make_loss",
    "make_optimizer",
    "make_train_step",
    "rate_schedule",
    "resolve_layer_map",
]
