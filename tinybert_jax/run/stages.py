"""What a stage trains on: its batches, and its teacher, or the logits of it where those are all it needs."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from tinybert_jax.data import Epochs
from tinybert_jax.distill import Finetune, Objective, make_optimizer
from tinybert_jax.distill.optimizer import skipping_bad
from tinybert_jax.errors import NotFinite, UserError
from tinybert_jax.inference import cached_logits
from tinybert_jax.model import BertForQuestionAnswering, Model, freeze
from tinybert_jax.model.bert import Params
from tinybert_jax.run.checkpoints import Checkpointing, Checkpoints
from tinybert_jax.run.held_out import Evaluation
from tinybert_jax.run.hooks import Tracking
from tinybert_jax.run.labels import check_labels
from tinybert_jax.run.prepare import Ingredients
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.sharding import data_mesh, replicate


class Teaching(NamedTuple):
    """What a stage has of its teacher: all of it None or empty where the objective uses none.

    Attributes:
        projection: the objective's own parameters, before training.
        params: the teacher's, on every device; None where the batches bring its logits.
        network: what they are parameters of; likewise.
    """

    projection: dict[str, Any] = {}  # noqa: RUF012  (never written to)
    params: Params | None = None
    network: BertForQuestionAnswering | None = None


def teaching(objective: Objective, student: Model, teacher: Model | None, cached: bool, key: jax.Array) -> Teaching:
    """Puts the teacher on the devices, and draws the projections to it.

    Args:
        objective: the stage's.
        student: the model that is trained.
        teacher: the model it learns from; None only where the objective uses none.
        cached: whether the batches bring the teacher's logits.
        key: of the projections.
    """
    if not objective.uses_teacher:
        return Teaching()
    assert teacher is not None  # the recipe was refused otherwise
    projection = objective.init_projection(key, student.config, teacher.config)
    if cached:
        return Teaching(projection)
    return Teaching(projection, replicate(freeze(teacher.params, teacher.config.dtype), data_mesh()), teacher.network)


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
    waits = [stage.augmented and ingredients.candidates is not None for stage in recipe.stages]
    stages = [stage for stage, waiting in zip(recipe.stages, waits, strict=True) if not waiting]
    if recipe.compare_undistilled and not any(waits):
        stages.append(undistilled_stage(recipe, ingredients))
    for stage in (*recipe.teacher_stages, *stages):
        make_optimizer(stage, stage.steps(epochs_of(stage, recipe, ingredients).steps_per_epoch))


def optimizer_of(stage: Stage, steps: int, recipe: Recipe) -> optax.GradientTransformation:
    """The optimiser of a stage of so many steps."""
    optimizer = make_optimizer(stage, steps)
    return skipping_bad(optimizer) if recipe.skip_bad_updates else optimizer


def own_hooks(
    recipe: Recipe, ingredients: Ingredients, checkpoints: Checkpoints
) -> tuple[Tracking, Evaluation, Checkpointing]:
    """What a run does beside training, in this order: figures are checked, then scored, then the state is kept."""
    check_every = math.gcd(recipe.checkpoint_every, recipe.eval_every or 0)  # also before the best step is kept
    evaluation = Evaluation(ingredients.held_out, recipe)
    tracking = Tracking(recipe.log_every, check_every, recipe.skip_bad_updates)
    return tracking, evaluation, Checkpointing(checkpoints, recipe.checkpoint_every, evaluation)


@contextmanager
def divergence_told(stage: Stage, ingredients: Ingredients, epochs: Epochs, checkpoints: Checkpoints) -> Iterator[None]:
    """Adds to the error of a stage that diverges which questions it did so on, and what is left of it.

    Raises:
        UserError: in place of a `NotFinite`.
    """
    try:
        yield
    except NotFinite as error:
        data = ingredients.data_of(stage)
        questions = {data.examples[int(i)].id: None for i in data.windows.example[epochs.windows_at(error.step - 1)]}
        raise UserError(
            f"{error}. The step's questions: {', '.join(questions)}. {checkpoints.last}, from which the same command "
            "continues; --skip-bad-updates N has it leave out up to N updates whose gradients are not finite"
        ) from error


def check_trained(name: str, before: Params, after: Params, steps: int) -> None:
    """Checks that a stage has changed its model, which no rule can promise of every loss and rate, to something finite.

    Raises:
        UserError: not a single parameter differs.
        NotFinite: a parameter is not.
    """
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after)):
        raise NotFinite(f"stage {name}: parameters must be finite, got others", steps)
    if jax.tree.all(jax.tree.map(np.array_equal, before, after)):
        raise UserError(
            f"stage {name} has changed no parameter of its model: its updates were 0, or too small for float32. See "
            "grad_norm in metrics.jsonl: where it is 0 the objective does not read the model, else raise learning_rate"
        )


def undistilled_stage(recipe: Recipe, ingredients: Ingredients) -> Stage:
    """Fine-tuning for as many steps as all of distillation, at the last stage's batch size."""
    steps = sum(stage.steps(epochs_of(stage, recipe, ingredients).steps_per_epoch) for stage in recipe.stages)
    batch_size = recipe.stages[-1].batch_size
    epochs = -(-steps * batch_size // len(ingredients.train.windows))
    return Stage(
        objective=Finetune(),
        epochs=epochs,
        batch_size=batch_size,
        max_steps=steps,
        **vars(recipe.undistilled),
    )
