"""Distillation: the losses, what a stage compares, the optimiser and the jitted step."""

from tinybert_jax.distill import losses
from tinybert_jax.distill.objectives import Finetune, Intermediate, Objective, Prediction, uniform_layer_map
from tinybert_jax.distill.optimizer import OptimizerConfig, linear_warmup_decay, make_optimizer
from tinybert_jax.distill.step import TrainState, create_state, data_mesh, make_train_step, shard_batch

__all__ = [
    "Finetune",
    "Intermediate",
    "Objective",
    "OptimizerConfig",
    "Prediction",
    "TrainState",
    "create_state",
    "data_mesh",
    "linear_warmup_decay",
    "losses",
    "make_optimizer",
    "make_train_step",
    "shard_batch",
    "uniform_layer_map",
]
