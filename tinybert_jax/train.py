"""Distil a question-answering BERT: `python train.py RECIPE [--preset NAME] [--overrides] --output DIR`.

A run trains up to three models, each in a folder of DIR: `teacher` (where the recipe has stages for it), `student`,
and `student_without_distillation`, what the student is compared to. Each stage of each ends in a folder in
transformers' layout that the next starts from. The same command again continues where the run stopped. At the end:

    DIR/results.json     scores of every model on the recipe's dev data, and the seconds this command took
    DIR/export/          the student, for transformers or tinybert_jax, with a model card
    DIR/*/metrics.jsonl  and curves.png, what training looked like

Deliberately left out: runs over several hosts, and hyper-parameter search.
"""

import json
import shutil
import sys
import time
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tinybert_jax.data import Dataset, Epochs
from tinybert_jax.data.prefetch import prefetch
from tinybert_jax.distill import Finetune, create_state, make_optimizer, make_train_step
from tinybert_jax.errors import run_script
from tinybert_jax.inference import cached_logits, evaluate, write_evaluation
from tinybert_jax.model import Model, freeze, load_pretrained, save_pretrained
from tinybert_jax.run.checkpoints import Checkpoints
from tinybert_jax.run.command_line import parse
from tinybert_jax.run.interrupt import StopSignals
from tinybert_jax.run.model_card import describe, write_model_card
from tinybert_jax.run.prepare import Materials, augment_training_data, check_folder, claim_folder, prepare
from tinybert_jax.run.recipe import Recipe, Stage
from tinybert_jax.run.runtime import configure
from tinybert_jax.sharding import data_mesh, replicate, shard_batch
from tinybert_jax.store.files import atomic_path, write_json
from tinybert_jax.tracking import Tracker, plot_curves


class Part(NamedTuple):
    """One model's training: where it goes, what it starts from, through which stages."""

    folder: Path
    start: Model
    stages: tuple[Stage, ...]
    teacher: Model | None = None


def train(recipe: Recipe, output: Path) -> dict[str, Any]:
    """Runs a recipe, or the rest of it, and returns what results.json holds."""
    began = time.perf_counter()
    check_folder(recipe, output)
    materials = prepare(recipe, output)
    claim_folder(recipe, output)
    materials = augment_training_data(recipe, materials)
    results: dict[str, Any] = {}

    teacher = materials.teacher
    if teacher is not None:
        teacher = train_part(Part(output / "teacher", teacher, recipe.teacher_stages), recipe, materials)
        results["teacher"] = score(teacher, output / "teacher", recipe, materials)

    student = train_part(Part(output / "student", materials.student, recipe.stages, teacher), recipe, materials)
    results["student"] = score(student, output / "student", recipe, materials)
    export(student, results["student"], recipe, materials, output / "export")

    if recipe.compare_undistilled:
        folder = output / "student_without_distillation"
        part = Part(folder, materials.student, (undistilled_stage(recipe, materials),))
        results["student_without_distillation"] = score(train_part(part, recipe, materials), folder, recipe, materials)
    results["seconds"] = round(time.perf_counter() - began, 1)
    write_json(output / "results.json", results)
    return results


def train_part(part: Part, recipe: Recipe, materials: Materials) -> Model:
    """Trains one model through its stages."""
    model = part.start
    for number, stage in enumerate(part.stages, start=1):
        name = f"{number}-{stage.objective.tag}"
        model = train_stage(name, stage, model, part, recipe, materials)
    if part.stages:
        plot_curves(part.folder)
    return model


def train_stage(name: str, stage: Stage, student: Model, part: Part, recipe: Recipe, materials: Materials) -> Model:
    """Trains one stage from its latest checkpoint, or from `student`, to its end."""
    folder = part.folder / name
    if (folder / "final").exists():
        return Model(student.config, load_pretrained(folder / "final")[1])
    objective, teacher, mesh = stage.objective, part.teacher, data_mesh()
    cached = cached_logits_of(teacher, stage, recipe, materials)
    epochs = epochs_of(stage, recipe, materials, cached)
    steps = stage.steps(epochs.steps_per_epoch)
    optimizer = make_optimizer(stage, steps)
    key = jax.random.fold_in(jax.random.key(recipe.seed), zlib.crc32(f"{part.folder.name}/{name}".encode()))
    projection, teacher_params, teacher_network = {}, None, None
    if objective.uses_teacher:
        assert teacher is not None  # the recipe was refused otherwise
        projection = objective.init_projection(key, student.config, teacher.config)
        if not cached:
            frozen = freeze(teacher.params, teacher.config.dtype)
            teacher_params, teacher_network = replicate(frozen, mesh), teacher.network
    train_step = make_train_step(student.network, teacher_network, objective, optimizer)

    with Checkpoints(folder / "checkpoints") as checkpoints, StopSignals() as stop:
        start, state = checkpoints.restore(create_state(student.params, projection, optimizer, mesh))
        progress = {"total_steps": steps, "start_step": start, "log_every": recipe.log_every}
        batches = prefetch(shard_batch(epochs.batch_at(step), mesh) for step in range(start, steps))
        with closing(batches), Tracker(part.folder, stage=name, **progress) as tracker:
            for done, batch in enumerate(batches, start=start + 1):
                state, metrics = train_step(state, teacher_params, batch, key)
                tracker.record(done, metrics)
                if done % recipe.checkpoint_every == 0 or stop.requested:
                    checkpoints.save(done, state)
                if stop.requested:
                    break
    if stop.requested:
        print(f"stopped in {part.folder.name}/{name}: the same command continues", file=sys.stderr)
        sys.exit(128 + stop.requested)
    params = jax.device_get(state.params["model"])
    save_pretrained(folder / "final", student.config, params, materials.tokenizer)
    shutil.rmtree(folder / "checkpoints")
    return Model(student.config, params)


def cached_logits_of(
    teacher: Model | None, stage: Stage, recipe: Recipe, materials: Materials
) -> tuple[np.ndarray, ...]:
    """The logits of all teachers, where the stage trains from the cache instead of running the teacher."""
    if teacher is None or recipe.teacher_cache == "off" or not stage.objective.reads_cache:
        return ()
    data = data_of(stage, materials)
    into = (data.windows, data.key, recipe.cache, recipe.teacher_cache)
    settings = {"batch_size": recipe.eval_batch_size, "buckets": recipe.batch_lengths}
    return tuple(cached_logits(model, *into, **settings) for model in (teacher, *materials.more_teachers))


def epochs_of(stage: Stage, recipe: Recipe, materials: Materials, teacher_logits: Sequence[np.ndarray] = ()) -> Epochs:
    """The batches of a stage."""
    windows = data_of(stage, materials).windows
    return Epochs(windows, stage.batch_size, recipe.batch_lengths, recipe.seed, teacher_logits)


def data_of(stage: Stage, materials: Materials) -> Dataset:
    """What a stage trains on."""
    return materials.augmented if stage.augmented else materials.train


def undistilled_stage(recipe: Recipe, materials: Materials) -> Stage:
    """Fine-tuning for as many steps as all of distillation, at the last stage's batch size."""
    steps = sum(stage.steps(epochs_of(stage, recipe, materials).steps_per_epoch) for stage in recipe.stages)
    batch_size = recipe.stages[-1].batch_size
    epochs = -(-steps * batch_size // len(materials.train.windows))
    return Stage(
        objective=Finetune(),
        epochs=epochs,
        batch_size=batch_size,
        max_steps=steps,
        **vars(recipe.undistilled),
    )


def score(model: Model, folder: Path, recipe: Recipe, materials: Materials) -> dict[str, float]:
    """Scores a model on the recipe's dev data and keeps its answers in its folder."""
    settings = {"batch_size": recipe.eval_batch_size, "buckets": recipe.batch_lengths}
    evaluation = evaluate(model.network, model.params, materials.dev, recipe.answers, **settings)
    write_evaluation(folder, evaluation)
    return {name: round(evaluation.metrics[name], 2) for name in ("exact", "f1")}


def export(student: Model, scores: dict[str, float], recipe: Recipe, materials: Materials, folder: Path) -> None:
    """Writes the student as a transformers folder with a model card."""
    teacher = materials.teacher
    card = describe(recipe, student.config, teacher and teacher.config, scores, name=folder.resolve().parent.name)
    with atomic_path(folder) as temporary:
        save_pretrained(temporary, student.config, student.params, materials.tokenizer)
        write_model_card(temporary, card)


def main() -> None:
    """The command line."""
    recipe, output = parse(sys.argv[1:], __doc__ or "")
    configure(recipe.cache)
    print(json.dumps(train(recipe, output), indent=2))


if __name__ == "__main__":
    run_script(main)
