"""Distil a question-answering BERT: `python train.py RECIPE [--preset NAME] [--overrides] --output DIR`.

A run trains up to three models, each in a folder of DIR: `teacher` (where the recipe has stages for it), `student`,
and `student_without_distillation`, what the student is compared to. Each stage of each ends in a folder in
transformers' layout that the next starts from. The same command again continues where the run stopped. RECIPE is a
name, a file such as DIR/recipe.json, or FILE.py:NAME of your own. At the end:

    DIR/results.json     scores of every model on the recipe's dev data, and the seconds this command took
    DIR/export/          the student, for transformers or tinybert_jax, with a model card
    DIR/*/metrics.jsonl  and curves.png, what training looked like

Several processes may train as one: docs/scale.md. Deliberately left out: hyper-parameter search.
"""

import json
import sys
import time
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax

from tinybert_jax.data.prefetch import prefetch
from tinybert_jax.errors import run_script
from tinybert_jax.interrupt import held_signals, stop_signals
from tinybert_jax.model import Model
from tinybert_jax.processes import asked_to_stop, from_first, is_first, sharing
from tinybert_jax.run.beside import check_trained, divergence_told, own_hooks
from tinybert_jax.run.checkpoints import Checkpoints
from tinybert_jax.run.cluster import together
from tinybert_jax.run.command_line import parse
from tinybert_jax.run.digests import digests
from tinybert_jax.run.dtype import with_dtype
from tinybert_jax.run.folder import begin, claimed
from tinybert_jax.run.hooks import Hook, Hooks, StageRun, check_hooks
from tinybert_jax.run.needs import needs_of, tell
from tinybert_jax.run.order import Work, in_order
from tinybert_jax.run.plan import in_words, plan
from tinybert_jax.run.prepare import Ingredients, augment_training_data, prepare
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.run.results import CHECKPOINTS, FINAL, conclude, export, finish, finished, score
from tinybert_jax.run.runtime import configure
from tinybert_jax.run.stages import cached_logits_of, check_stages, epochs_of, program_of
from tinybert_jax.sharding import data_mesh, local_rows, shard_rows


class Run(NamedTuple):
    """A run: what to do, of what, where, and what is called beside it."""

    recipe: Recipe
    ingredients: Ingredients
    output: Path
    hooks: Sequence[Hook] = ()


@stop_signals("continues")
def train(recipe: Recipe, output: Path, hooks: Sequence[Hook] = ()) -> dict[str, Any]:
    """Runs a recipe, or the rest of it, in the folder `output`, and returns what results.json holds.

    The hooks are called beside every stage's steps, after the run's own tracking, evaluation and checkpoints.

    Raises:
        UserError: something is missing or does not fit; before the first step.
    """
    began = time.perf_counter()
    check_hooks(hooks)
    with together(), claimed(recipe, output):
        recipe = with_dtype(recipe, output)
        with sharing(recipe.cache):
            ingredients = prepare(recipe, output)
            check_stages(recipe, ingredients)
            begin(recipe, digests(ingredients), output)
            from_first(lambda: tell(needs_of(recipe, ingredients, output), recipe, output))
            ingredients = augment_training_data(recipe, ingredients)
        results = train_models(Run(recipe, ingredients, output, hooks))
        results["seconds"] = round(time.perf_counter() - began, 1)
        from_first(lambda: conclude(results, output, hooks))
    return results


def train_models(run: Run) -> dict[str, Any]:
    """Trains each model through its stages, and scores it: teacher, student, and what that is compared to."""
    recipe, ingredients, output, _ = run
    results: dict[str, Any] = {}

    def end(name: str, model: Model, teacher: Model | None) -> None:
        results.update(score(model, output / name, recipe, ingredients, teacher))
        if name == "student":
            from_first(lambda: export(model, recipe, ingredients, output))

    in_order(recipe, ingredients, lambda work: train_stage(work, run), end)
    return results


def train_stage(work: Work, run: Run) -> Model:
    """Trains one stage from its latest checkpoint, or from the model that it begins with, to its end."""
    folder, (_, stage, student, teacher) = run.output / work.name, work
    if from_first((folder / FINAL).exists):
        return finished(folder, student)
    recipe, ingredients, mesh, name = run.recipe, run.ingredients, data_mesh(), work.name
    with sharing(recipe.cache):
        cached = cached_logits_of(teacher, stage, recipe, ingredients)
    epochs = epochs_of(stage, recipe, ingredients, cached)
    steps = stage.steps(epochs.steps_per_epoch)
    key = jax.random.fold_in(jax.random.key(recipe.seed), zlib.crc32(name.encode()))
    program = program_of(stage, steps, student, teacher, recipe, cached=bool(cached), key=key)

    with (
        held_signals() as signals,
        Checkpoints(folder / CHECKPOINTS) as checkpoints,
        divergence_told(stage, ingredients, epochs, checkpoints),
    ):
        start, state = checkpoints.restore(program.fresh_state())
        own = own_hooks(recipe, ingredients, checkpoints, program.taught, state.params)
        stage_run = StageRun(folder.parent, folder.name, stage, student.network, steps, start)
        rows = local_rows(stage.batch_size, mesh)
        batches = prefetch(shard_rows(epochs.batch_at(step, rows), mesh) for step in range(start, steps))
        with closing(batches), Hooks(stage_run, (*own, *run.hooks) if is_first() else own.everywhere) as hooks:
            for done, batch in enumerate(batches, start=start + 1):
                if own.evaluation.finished or asked_to_stop(done, hooks.finished):
                    break
                state, metrics = program.step(state, program.taught.params, batch, key)
                hooks.step(done, state, metrics)
        if asked_to_stop(0):
            checkpoints.save(int(state.step), state)
            signals.stop()
        check_trained(name, student.params, jax.device_get(state.params["model"]), steps)
        if recipe.keep == "best" and own.evaluation.best is not None:
            state = checkpoints.at(own.evaluation.best.step, state)
    return finish(folder, Model(student.config, jax.device_get(state.params["model"])), ingredients.tokenizer)


def main() -> None:
    """The command line."""
    recipe, output, hooks = parse(sys.argv[1:], __doc__ or "")
    configure(recipe.cache)
    print(in_words(plan(recipe)) if output is None else json.dumps(train(recipe, output, hooks), indent=2))


if __name__ == "__main__":
    run_script(main, "continues")
