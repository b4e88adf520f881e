"""Questions without labels: what of a recipe can be done with them, and what cannot."""

from tinybert_jax.errors import UserError
from tinybert_jax.inference import load_settings
from tinybert_jax.run.prepare import Ingredients
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.scoring import AnswerConfig


def check_labels(recipe: Recipe, ingredients: Ingredients) -> None:
    """Checks that whatever needs labels has them.

    Raises:
        UserError: a stage, or a part of the recipe, learns from labels or is scored on them, and there are none.
    """
    if not ingredients.train.is_labelled:
        wants = {
            "hold_out_questions scores on labels": bool(recipe.hold_out_questions),
            "compare_undistilled trains on labels alone": recipe.compare_undistilled,
            "teacher_stages train on labels": any(stage.objective.needs_labels for stage in recipe.teacher_stages),
        }
        wanting = next((want for want, given in wants.items() if given), None)
        if wanting:
            raise UserError(f"{wanting}, and {recipe.train} has none: leave that out, or give labelled training data")
    for number, stage in enumerate(recipe.stages, start=1):
        if stage.objective.needs_labels and not ingredients.data_of(stage).is_labelled:
            raise UserError(
                f"stage {number}-{stage.objective.tag} learns from labels, and {recipe.train} has none: give stages "
                "that learn from the teacher alone, prediction with soft_weight 1 say, or labelled training data"
            )
    if ingredients.dev is not None and not ingredients.dev.is_labelled and ingredients.teacher is None:
        raise UserError(
            f"{recipe.dev} has no labels to score on, and there is no teacher to agree with: give labelled dev data"
        )


def trained_on_unanswerable(recipe: Recipe, ingredients: Ingredients) -> bool | None:
    """Whether the run's models have learned that questions may have no answer; None where nobody knows.

    By the labels of the training data, or, without any, by what the teacher says of its own.
    """
    if ingredients.train.is_labelled:
        return any(example.is_impossible for example in ingredients.train.examples)
    assert recipe.teacher is not None  # without labels there was nothing else to learn from
    return load_settings(recipe.teacher).trained_on_unanswerable


def teacher_s_answers(recipe: Recipe, ingredients: Ingredients) -> AnswerConfig:
    """How the teacher's answers are read off its logits: as its own settings say, unless the run has trained it."""
    if recipe.teacher_stages:
        return recipe.answers.decided(trained_on_unanswerable(recipe, ingredients))
    assert recipe.teacher is not None  # without one there is nothing to read off
    return load_settings(recipe.teacher).answering
