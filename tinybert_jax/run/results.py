"""What a run leaves behind of a trained model: its scores, its answers, and a folder that transformers loads."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinybert_jax.inference import (
    JaxNetwork,
    QASettings,
    answer,
    evaluate,
    evaluate_against,
    write_evaluation,
    write_settings,
)
from tinybert_jax.model import Model, load_pretrained, save_pretrained
from tinybert_jax.model.bert import Params
from tinybert_jax.processes import arrays_from_first, from_first, is_first
from tinybert_jax.run.corpus_rows import unseen_losses
from tinybert_jax.run.hooks import Hook
from tinybert_jax.run.labels import teacher_s_answers, trained_on_unanswerable
from tinybert_jax.run.model_card import write_model_card
from tinybert_jax.run.prepare import Ingredients
from tinybert_jax.run.provenance import describe
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.sharding import data_mesh
from tinybert_jax.store.digests import check_digests, write_digests
from tinybert_jax.store.files import atomic_path, read_json, write_json

CHECKPOINTS, FINAL = "checkpoints", "final"  # of a stage: while it trains, and then


def finish(folder: Path, model: Model, tokenizer: Any) -> Model:
    """Writes the model that a stage in `folder` has made, and removes the checkpoints on the way to it."""

    def write() -> None:
        with atomic_path(folder / FINAL) as temporary:
            save_pretrained(temporary, model.config, model.params, tokenizer)
            write_digests(temporary)
        shutil.rmtree(folder / CHECKPOINTS)

    from_first(write)
    return model


def finished(folder: Path, before: Model) -> Model:
    """Reads the model that a stage in `folder` has made of `before`.

    Raises:
        UserError: it is not what was written.
    """

    def read() -> Params:
        check_digests(folder / FINAL)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # where the run was killed before it did so
        return load_pretrained(folder / FINAL)[1]

    return Model(before.config, arrays_from_first(read, before.params))


def score(
    model: Model, folder: Path, recipe: Recipe, ingredients: Ingredients, teacher: Model | None = None
) -> dict[str, Any]:
    """Scores a model on the recipe's dev data, in all processes at once, and keeps its answers in its folder.

    Returns:
        By the folder's name: exact and F1; on questions without labels how far it agrees with its teacher; without
        questions, as `unseen_losses`. Of a teacher there is then nothing to say, and the dictionary is empty.
    """
    settings = {"batch_size": recipe.eval_batch_size, "buckets": recipe.batch_lengths}
    keep = write_evaluation if is_first() else lambda *_: None
    data = ingredients.dev
    if data is None:
        return {} if teacher is None else {folder.name: from_first(lambda: unseen_losses(folder))}
    network = JaxNetwork(model, mesh=data_mesh())
    if data.is_labelled:
        evaluation = evaluate(network, data, recipe.answers, **settings)
        keep(folder, evaluation)
        return {folder.name: {name: round(evaluation.metrics[name], 2) for name in ("exact", "f1")}}
    if teacher is None:
        return {}
    said = answer(JaxNetwork(teacher, mesh=data_mesh()), data, teacher_s_answers(recipe, ingredients), **settings)
    evaluation = evaluate_against(network, data, said, recipe.answers, **settings)
    keep(folder, evaluation)
    digits, metrics = {"kl": 4, "same_answer": 2, "exact": 2, "f1": 2}, evaluation.metrics
    return {folder.name: {name: round(v, digits[name]) if name in digits else v for name, v in metrics.items()}}


def conclude(results: Mapping[str, Any], output: Path, hooks: Sequence[Hook]) -> None:
    """Writes a run's results, and has the hooks do what comes last."""
    write_json(output / "results.json", results)
    for hook in hooks:
        hook.done(output)


def export(student: Model, recipe: Recipe, ingredients: Ingredients, output: Path) -> None:
    """Writes the student, which has been scored, as a transformers folder with a model card: `output`/export.

    What a corpus has trained is exported as what it was before: without a span head, unless it had one.
    """
    teacher, folder, params = ingredients.teacher, output / "student", student.params
    metrics = unseen_losses(folder) if recipe.corpus else read_json(folder / "metrics.json")
    card = describe(recipe, student.config, teacher and teacher.config, metrics, output)
    if not ingredients.has_span_head:
        params = {"bert": params["bert"]}
    with atomic_path(output / "export") as temporary:
        save_pretrained(temporary, student.config, params, ingredients.tokenizer)
        if not recipe.corpus:
            write_settings(temporary, _settings(recipe, ingredients))
        write_model_card(temporary, card)


def _settings(recipe: Recipe, ingredients: Ingredients) -> QASettings:
    """How the student is to be asked: as it was trained and scored."""
    unanswerable = trained_on_unanswerable(recipe, ingredients)
    return QASettings(recipe.windows, recipe.answers, trained_on_unanswerable=unanswerable)
