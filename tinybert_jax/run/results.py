"""What a run leaves behind of a trained model: its scores, its answers, and a folder that transformers loads."""

from pathlib import Path

from tinybert_jax.inference import JaxNetwork, QASettings, evaluate, write_evaluation, write_settings
from tinybert_jax.model import Model, save_pretrained
from tinybert_jax.run.model_card import write_model_card
from tinybert_jax.run.prepare import Ingredients
from tinybert_jax.run.provenance import describe
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.store.files import atomic_path, read_json


def score(model: Model, folder: Path, recipe: Recipe, ingredients: Ingredients) -> dict[str, float]:
    """Scores a model on the recipe's dev data and keeps its answers in its folder."""
    settings = {"batch_size": recipe.eval_batch_size, "buckets": recipe.batch_lengths}
    evaluation = evaluate(JaxNetwork(model), ingredients.dev, recipe.answers, **settings)
    write_evaluation(folder, evaluation)
    return {name: round(evaluation.metrics[name], 2) for name in ("exact", "f1")}


def export(student: Model, recipe: Recipe, ingredients: Ingredients, output: Path) -> None:
    """Writes the student, which has been scored, as a transformers folder with a model card: `output`/export."""
    teacher, metrics = ingredients.teacher, read_json(output / "student" / "metrics.json")
    card = describe(recipe, student.config, teacher and teacher.config, metrics, output)
    with atomic_path(output / "export") as temporary:
        save_pretrained(temporary, student.config, student.params, ingredients.tokenizer)
        write_settings(temporary, _settings(recipe, ingredients))
        write_model_card(temporary, card)


def _settings(recipe: Recipe, ingredients: Ingredients) -> QASettings:
    """How the student is to be asked: as it was trained and scored."""
    unanswerable = any(example.is_impossible for example in ingredients.train.examples)
    return QASettings(recipe.windows, recipe.answers, trained_on_unanswerable=unanswerable)
