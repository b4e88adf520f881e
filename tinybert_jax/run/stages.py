"""What a stage trains on: its batches, and its teacher, or the logits of it where those are all it needs."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from tinybert_jax.data import Epochs
from tinybert_jax.distill import Finetune, Objective, TrainState, create_state, make_optimizer, make_train_step
from tinybert_jax.distill.optimizer import skipping_bad
from tinybert_jax.distill.step import TrainStep
from tinybert_jax.inference import cached_logits
from tinybert_jax.model import BertForQuestionAnswering, Model, freeze
from tinybert_jax.model.bert import Params
from tinybert_jax.model.ops.platform import Platform
from tinybert_jax.run.labels import check_labels
from tinybert_jax.run.prepare import Ingredients
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.sharding import data_mesh, replicate, split


class Teaching(NamedTuple):
    """What a stage has of its teacher: all of it None or empty where the objective uses none.

    Attributes:
        projection: the objective's own parameters, before training.
        params: the teacher's, on the devices; None where the batches bring its logits.
        network: what they are parameters of; likewise.
    """

    projection: dict[str, Any] = {}  # noqa: RUF012  (never written to)
    params: Params | None = None
    network: BertForQuestionAnswering | None = None


def teaching(
    objective: Objective, student: Model, teacher: Model | None, cached: bool, key: jax.Array, *, shard: bool = False
) -> Teaching:
    """Puts the teacher on the devices, and draws the projections to it.

    Args:
        objective: the stage's.
        student: the model that is trained.
        teacher: the model it learns from; None only where the objective uses none.
        cached: whether the batches bring the teacher's logits.
        key: of the projections.
        shard: each device keeps a part of the teacher.
    """
    if not objective.uses_teacher:
        return Teaching()
    assert teacher is not None  # the recipe was refused otherwise
    projection = objective.init_projection(key, student.config, teacher.config)
    if cached:
        return Teaching(projection)
    mesh, params, network = data_mesh(), freeze(teacher.params, teacher.config.dtype), teacher.network
    if not shard:
        return Teaching(projection, replicate(params, mesh), network)
    return Teaching(projection, split(params, mesh), network.clone(platform=Platform(split_over=mesh)))


class Program(NamedTuple):
    """A stage's training step.

    Attributes:
        step: as in `make_train_step`.
        fresh_state: makes the state before its first call.
        taught: whose `params` it takes.
    """

    step: TrainStep
    fresh_state: Callable[[], TrainState]
    taught: Teaching


def program_of(
    stage: Stage, steps: int, student: Model, teacher: Model | None, recipe: Recipe, *, cached: bool, key: jax.Array
) -> Program:
    """The step of a stage of so many; the other arguments are as in `teaching`."""
    optimizer = optimizer_of(stage, steps, recipe)
    taught = teaching(stage.objective, student, teacher, cached, key, shard=recipe.shard_teacher)
    step = make_train_step(_network(student, stage.dropout), taught.network, stage.objective, optimizer)
    return Program(step, partial(create_state, student.params, taught.projection, optimizer, data_mesh()), taught)


def _network(model: Model, dropout: float | None) -> BertForQuestionAnswering:
    """The network of a model with another rate of dropout; its own when None."""
    if dropout is None:
        return model.network
    rates = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), dropout)
    return model._replace(config=dataclasses.replace(model.config, **rates)).network


def cached_logits_of(
    teacher: Model | None, stage: Stage, recipe: Recipe, ingredients: Ingredients
) -> tuple[np.ndarray, ...]:
    """The logits of all teachers, where the stage trains from the cache instead of running the teacher."""
    if teacher is None or recipe.teacher_cache == "off" or not stage.objective.reads_cache:
        return ()
    data = ingredients.data_of(stage)
    into = (data.windows, data.key, recipe.cache, recipe.teacher_cache)
    settings = {"batch_size": recipe.eval_batch_size, "buckets": recipe.batch_lengths}
    return tuple(cached_logits(model, *into, **settings) for model in (teacher, *ingredients.more_teachers))


def epochs_of(
    stage: Stage, recipe: Recipe, ingredients: Ingredients, teacher_logits: Sequence[np.ndarray] = ()
) -> Epochs:
    """The batches of a stage."""
    windows = ingredients.data_of(stage).windows
    return Epochs(windows, stage.batch_size, recipe.batch_lengths, recipe.seed, teacher_logits)


def check_stages(recipe: Recipe, ingredients: Ingredients) -> None:
    """Checks, before anything is written, that every batch can be made and every stage would change its model.

    A stage on copies that augmentation has still to make is checked when it begins.

    Raises:
        UserError: a stage could not, or would not; or as `check_labels`.
    """
    check_labels(recipe, ingredients)
    made = ingredients.train, ingredients.augmented, ingredients.dev, ingredients.held_out
    for data in filter(None, made):
        Epochs(data.windows, 1, recipe.batch_lengths, recipe.seed)
    stages = [*recipe.teacher_stages, *recipe.stages]
    waiting = [stage for stage in stages if stage.augmented and ingredients.candidates is not None]
    if recipe.compare_undistilled and not any(stage in waiting for stage in recipe.stages):
        stages.append(undistilled_stage(recipe, ingredients))
    for stage in (stage for stage in stages if stage not in waiting):
        make_optimizer(stage, stage.steps(epochs_of(stage, recipe, ingredients).steps_per_epoch))


def optimizer_of(stage: Stage, steps: int, recipe: Recipe) -> optax.GradientTransformation:
    """The optimiser of a stage of so many steps."""
    optimizer = make_optimizer(stage, steps)
    return skipping_bad(optimizer) if recipe.skip_bad_updates else optimizer


def undistilled_stage(recipe: Recipe, ingredients: Ingredients) -> Stage:
    """Fine-tuning for as many steps as all of distillation, at the last stage's batch size and dropout."""
    steps = sum(stage.steps(epochs_of(stage, recipe, ingredients).steps_per_epoch) for stage in recipe.stages)
    batch_size = recipe.stages[-1].batch_size
    epochs = -(-steps * batch_size // len(ingredients.train.windows))
    return Stage(
        objective=Finetune(),
        epochs=epochs,
        batch_size=batch_size,
        max_steps=steps,
        dropout=recipe.stages[-1].dropout,
        **vars(recipe.undistilled),
    )
