"""From a recipe to what training needs, every mistake found before the first step."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax

from tinybert_jax.augment.candidates import Candidates, load_masked_lm
from tinybert_jax.augment.pipeline import augmented_file
from tinybert_jax.data import Dataset, load_tokenizer, read_dataset
from tinybert_jax.data.squad_writer import paragraphs_of
from tinybert_jax.data.tokenizer import check_ids_fit, text_rules
from tinybert_jax.errors import UserError
from tinybert_jax.model import Model, load_pretrained, load_qa_model
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.store.files import as_json, read_json, write_json
from tinybert_jax.synthetic.task import write_task

_RECIPE_FILE, _SYNTHETIC_FOLDER = "recipe.json", "synthetic"
_FREE_TO_CHANGE = ("checkpoint_every", "log_every", "cache")  # a run may be continued with others


class Materials(NamedTuple):
    """All that a recipe names, loaded and checked against each other."""

    student: Model
    teacher: Model | None
    tokenizer: Any
    train: Dataset
    augmented: Dataset
    dev: Dataset
    more_teachers: tuple[Model, ...] = ()
    candidates: Candidates | None = None  # of the words of `train`, where the recipe augments it


def check_folder(recipe: Recipe, output: Path) -> None:
    """Checks that `output` is free, or holds a run of this very recipe.

    Raises:
        UserError: the folder holds another recipe's run, or something else.
    """
    path = output / _RECIPE_FILE
    if not path.exists():
        if output.exists() and (not output.is_dir() or {item.name for item in output.iterdir()} - {_SYNTHETIC_FOLDER}):
            raise UserError(f"{output} exists and holds no run of ours: name a new or an empty folder")
        return
    before, now = _flatten(read_json(path)), _flatten(as_json(recipe))
    differing = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    changed = sorted(key for key in differing if key.split(".")[0] not in _FREE_TO_CHANGE)
    if changed:
        raise UserError(
            f"{output} holds a run of another recipe, different in {', '.join(changed)}: "
            "name another folder, or give the same recipe and options to continue that run"
        )


def claim_folder(recipe: Recipe, output: Path) -> None:
    """Writes the recipe into `output`, once it has been found sound."""
    write_json(output / _RECIPE_FILE, as_json(recipe))


def prepare(recipe: Recipe, output: Path) -> Materials:
    """Loads models and data and checks that they fit each other and the recipe.

    Raises:
        UserError: something is missing, malformed or does not fit.
    """
    if recipe.synthetic is not None:
        folder = output / _SYNTHETIC_FOLDER
        write_task(recipe.synthetic, recipe.seed, folder)
        paths = {name: str(folder / name) for name in ("teacher", "student")}
        recipe = dataclasses.replace(recipe, train=str(folder / "train.json"), dev=str(folder / "dev.json"), **paths)
    tokenizer = load_tokenizer(recipe.student)
    for name in (recipe.teacher, *recipe.more_teachers):
        if name is not None:
            _check_same_vocabulary(recipe.student, tokenizer, name, load_tokenizer(name))
    student = _load_model(recipe.student, recipe, tokenizer)
    teacher = None if recipe.teacher is None else _load_model(recipe.teacher, recipe, tokenizer)
    more_teachers = tuple(_load_model(name, recipe, tokenizer) for name in recipe.more_teachers)
    if teacher is not None:
        for stage in recipe.stages:
            stage.objective.check(student.config, teacher.config)
    for stage in (*recipe.teacher_stages, *recipe.stages):
        if stage.batch_size % jax.device_count():
            raise UserError(f"batch_size must be a multiple of the {jax.device_count()} devices: {stage.batch_size}")
    settings = tokenizer, recipe.windows, recipe.cache / "windows"
    train = read_dataset(recipe.train, *settings, recipe.train_questions, recipe.seed)
    dev = read_dataset(recipe.dev, *settings, recipe.dev_questions, recipe.seed)
    augmented = train if recipe.augmented is None else read_dataset(recipe.augmented, *settings)
    materials = Materials(student, teacher, tokenizer, train, augmented, dev, more_teachers)
    if recipe.augment and recipe.augmented is None and any(stage.augmented for stage in recipe.stages):
        lm = load_masked_lm(recipe.augment.model)
        paragraphs = list(paragraphs_of(train.examples))
        materials = materials._replace(candidates=Candidates(paragraphs, lm, recipe.augment, recipe.cache))
    return materials


def augment_training_data(recipe: Recipe, materials: Materials) -> Materials:
    """The materials with the augmented data that the recipe asks for, made where the cache does not hold it.

    Raises:
        UserError: the data cannot be augmented, as `Candidates.compute` says.
    """
    if materials.candidates is None:
        return materials
    path = augmented_file(materials.candidates, recipe.cache / "augmented")
    augmented = read_dataset(str(path), materials.tokenizer, recipe.windows, recipe.cache / "windows")
    return materials._replace(augmented=augmented, candidates=None)


def _load_model(name: str, recipe: Recipe, tokenizer: Any) -> Model:
    is_trained = name in recipe.more_teachers or (name == recipe.teacher and not recipe.teacher_stages)
    model = load_qa_model(name) if is_trained else Model(*load_pretrained(name, seed=recipe.seed))
    config = model.config
    check_ids_fit(name, tokenizer, config.vocab_size)
    if recipe.windows.max_seq_len > config.max_positions:
        raise UserError(
            f"{name}: max_seq_len {recipe.windows.max_seq_len} is over the model's "
            f"{config.max_positions} positions: lower --windows.max-seq-len"
        )
    return model._replace(config=dataclasses.replace(config, dtype=recipe.dtype))


def _check_same_vocabulary(student_name: str, student: Any, teacher_name: str, teacher: Any) -> None:
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    if ours != theirs:
        differing = sorted(ours.items() ^ theirs.items())[:3]
        raise UserError(
            f"teacher and student must share one vocabulary, got {len(theirs)} tokens in {teacher_name} and "
            f"{len(ours)} in {student_name}, different in {differing} …: choose a pair made from the same BERT"
        )
    ours, theirs = text_rules(student), text_rules(teacher)
    for part in ours:
        if ours[part] != theirs[part]:
            raise UserError(
                f"teacher {teacher_name} and student {student_name} must treat case, accents and spaces alike, got "
                f"{part} {theirs[part]} and {ours[part]}"
            )


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            path: leaf for key, item in items for path, leaf in _flatten(item, f"{prefix}.{key}".strip(".")).items()
        }
    return {prefix: value}
