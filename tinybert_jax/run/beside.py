"""What goes on beside the steps of a stage: what is recorded, scored, kept, and checked."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from tinybert_jax.data import Dataset, Epochs
from tinybert_jax.errors import NotFinite, UserError
from tinybert_jax.model.bert import Params
from tinybert_jax.run.checkpoints import Checkpointing, Checkpoints
from tinybert_jax.run.corpus_rows import UnseenRows
from tinybert_jax.run.held_out import Evaluation
from tinybert_jax.run.hooks import Hook, Tracking
from tinybert_jax.run.prepare import Ingredients
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.run.stages import Teaching


class OwnHooks(NamedTuple):
    """A run's own hooks, in this order: figures are checked, then scored, then the state is kept."""

    tracking: Tracking
    evaluation: Evaluation
    unseen: UnseenRows
    checkpointing: Checkpointing

    @property
    def everywhere(self) -> tuple[Hook, ...]:
        """Those that every process has, as they compute on all devices."""
        return self.evaluation, self.unseen


def own_hooks(
    recipe: Recipe, ingredients: Ingredients, checkpoints: Checkpoints, taught: Teaching, params: dict[str, Any]
) -> OwnHooks:
    """The hooks of a stage that begins with these parameters."""
    check_every = math.gcd(recipe.checkpoint_every, recipe.eval_every or 0)  # also before the best step is kept
    evaluation = Evaluation(ingredients.held_out, recipe)
    return OwnHooks(
        Tracking(recipe.log_every, check_every, recipe.skip_bad_updates),
        evaluation,
        UnseenRows(recipe, ingredients, taught, params),
        Checkpointing(checkpoints, recipe.checkpoint_every, evaluation),
    )


@contextmanager
def divergence_told(stage: Stage, ingredients: Ingredients, epochs: Epochs, checkpoints: Checkpoints) -> Iterator[None]:
    """Adds to the error of a stage that diverges which questions it did so on, and what is left of it.

    Raises:
        UserError: in place of a `NotFinite`.
    """
    try:
        yield
    except NotFinite as error:
        read = _read_in(ingredients.data_of(stage), epochs.windows_at(error.step - 1))
        raise UserError(
            f"{error}. The step's {read}. {checkpoints.last}, from which the same command "
            "continues; --skip-bad-updates N has it leave out up to N updates whose gradients are not finite"
        ) from error


def _read_in(data: Dataset, windows: np.ndarray) -> str:
    """What some windows are of, in words."""
    if not data.examples:
        return f"rows of the corpus: {', '.join(map(str, windows.tolist()))}"
    questions = dict.fromkeys(data.examples[int(i)].id for i in data.windows.example[windows])
    return f"questions: {', '.join(questions)}"


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
