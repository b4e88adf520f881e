"""The models of a run and their stages, in the order in which they are trained."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tinybert_jax.model import Model
from tinybert_jax.run.prepare import Ingredients
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.run.stages import undistilled_stage
from tinybert_jax.run.student import student_of


class Work(NamedTuple):
    """A stage to be trained.

    Attributes:
        name: of its folder in the run's, such as "student/2-prediction".
        stage: what is done.
        model: what it begins with.
        teacher: what it learns from, where the objective uses a teacher.
    """

    name: str
    stage: Stage
    model: Model
    teacher: Model | None


def in_order(
    recipe: Recipe,
    ingredients: Ingredients,
    train: Callable[[Work], Model],
    end: Callable[[str, Model, Model | None], None],
) -> None:
    """Goes through the stages of teacher, student, and what the student is compared to.

    Args:
        recipe: says which there are.
        ingredients: the models that they begin with.
        train: makes a stage's model.
        end: called after a model's last stage with its name, itself and its teacher.
    """

    def through(name: str, model: Model, stages: Sequence[Stage], teacher: Model | None = None) -> Model:
        for number, stage in enumerate(stages, start=1):
            model = train(Work(f"{name}/{number}-{stage.objective.tag}", stage, model, teacher))
        end(name, model, teacher)
        return model

    teacher = ingredients.teacher and through("teacher", ingredients.teacher, recipe.teacher_stages)
    untrained = student_of(recipe, teacher) or ingredients.student
    through("student", untrained, recipe.stages, teacher)
    if recipe.compare_undistilled:
        through("student_without_distillation", untrained, [undistilled_stage(recipe, ingredients)], teacher)


def work_of(recipe: Recipe, ingredients: Ingredients) -> list[Work]:
    """Every stage of the run in order, of models as they are before training."""
    found: list[Work] = []

    def untrained(work: Work) -> Model:
        found.append(work)
        return work.model

    in_order(recipe, ingredients, untrained, lambda *_: None)
    return found
