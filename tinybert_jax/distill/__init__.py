"""Distillation: the losses, what a stage compares, the optimiser and the jitted step."""

from tinybert_jax.distill import losses
from tinybert_jax.distill.intermediate import AttentionDroppedWarning, Intermediate
from tinybert_jax.distill.mapping import Projection, resolve_layer_map
from tinybert_jax.distill.objectives import Finetune, Objective, Prediction
from tinybert_jax.distill.optimizer import OptimizerConfig, UpdateRule, linear_warmup_decay, make_optimizer
from tinybert_jax.distill.presets import PRESETS, Preset
from tinybert_jax.distill.step import TrainState, create_state, make_train_step

__all__ = [
    "PRESETS",
    "AttentionDroppedWarning",
    "Finetune",
    "Intermediate",
    "Objective",
    "OptimizerConfig",
    "Prediction",
    "Preset",
    "Projection",
    "TrainState",
    "UpdateRule",
    "create_state",
    "linear_warmup_decay",
    "losses",
    "make_optimizer",
    "make_train_step",
    "resolve_layer_map",
]
