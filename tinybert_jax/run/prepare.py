"""From a recipe to what training needs, every mistake found before the first step."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tinybert_jax.data import Example, load_tokenizer, load_windows, read_squad
from tinybert_jax.data.arrow import ArrowExamples
from tinybert_jax.data.squad_writer import paragraphs_of
from tinybert_jax.data.synthetic import make_squad, train_tokenizer
from tinybert_jax.data.window_cache import windows_key
from tinybert_jax.errors import UserError
from tinybert_jax.files import atomic_path, read_json, write_json
from tinybert_jax.model import (
    BertConfig,
    BertForQuestionAnswering,
    init_params,
    load_pretrained,
    save_pretrained,
)
from tinybert_jax.model.pretrained import load_trained
from tinybert_jax.run.candidates import Candidates, load_masked_lm
from tinybert_jax.run.evaluation import Dataset
from tinybert_jax.run.recipe import Recipe

_RECIPE_FILE, _SYNTHETIC_FOLDER = "recipe.json", "synthetic"
_FREE_TO_CHANGE = ("checkpoint_every", "log_every", "cache")  # a run may be continued with others


class Model(NamedTuple):
    """A question-answering BERT."""

    config: BertConfig
    params: dict[str, Any]

    @property
    def network(self) -> BertForQuestionAnswering:
        """The module that `params` belong to."""
        return BertForQuestionAnswering(self.config)


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
    before, now = _flatten(read_json(path)), _flatten(_as_json(recipe))
    differing = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    changed = sorted(key for key in differing if key.split(".")[0] not in _FREE_TO_CHANGE)
    if changed:
        raise UserError(
            f"{output} holds a run of another recipe, different in {', '.join(changed)}: "
            "name another folder, or give the same recipe and options to continue that run"
        )


def claim_folder(recipe: Recipe, output: Path) -> None:
    """Writes the recipe into `output`, once it has been found sound."""
    write_json(output / _RECIPE_FILE, _as_json(recipe))


def prepare(recipe: Recipe, output: Path) -> Materials:
    """Loads models and data and checks that they fit each other and the recipe.

    Raises:
        UserError: something is missing, malformed or does not fit.
    """
    if recipe.synthetic is not None:
        recipe = _generate(recipe, output / _SYNTHETIC_FOLDER)
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
    train = read_dataset(recipe.train, recipe, tokenizer, recipe.train_questions)
    dev = read_dataset(recipe.dev, recipe, tokenizer, recipe.dev_questions)
    augmented = train if recipe.augmented is None else read_dataset(recipe.augmented, recipe, tokenizer)
    materials = Materials(student, teacher, tokenizer, train, augmented, dev, more_teachers)
    if recipe.augment and recipe.augmented is None and any(stage.augmented for stage in recipe.stages):
        lm = load_masked_lm(recipe.augment.model)
        paragraphs = list(paragraphs_of(train.examples))
        materials = materials._replace(candidates=Candidates(paragraphs, lm, recipe.augment, recipe.cache))
    return materials


def read_dataset(source: str, recipe: Recipe, tokenizer: Any, questions: int | None = None) -> Dataset:
    """Reads a data set, or a sample of that many of its questions, and cuts it into the recipe's windows.

    Raises:
        UserError: the data is missing or malformed.
    """
    if Path(source).suffix == ".arrow" and questions is None:
        examples, kept = ArrowExamples(source), ()  # of any size: windowed without being held
    else:
        examples = kept = _sample(read_squad(source), questions, recipe.seed)
    key = windows_key(examples, tokenizer, recipe.windows)
    return Dataset(kept, load_windows(examples, tokenizer, recipe.windows, recipe.cache / "windows", key), key)


def load_qa_model(name_or_path: str) -> Model:
    """Loads a model that must have a trained question-answering head.

    Raises:
        UserError: as `load_pretrained`, or there is no such head.
    """
    complaint = (
        "is an encoder without a question-answering head: fine-tune it first "
        "(python train.py finetune-teacher --student …)"
    )
    return Model(*load_trained(name_or_path, "question-answering", complaint))


def _load_model(name: str, recipe: Recipe, tokenizer: Any) -> Model:
    is_trained = name in recipe.more_teachers or (name == recipe.teacher and not recipe.teacher_stages)
    model = load_qa_model(name) if is_trained else Model(*load_pretrained(name, seed=recipe.seed))
    config = model.config
    if len(tokenizer) > config.vocab_size:
        raise UserError(f"{name}: the tokenizer has {len(tokenizer)} tokens, the model {config.vocab_size}")
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
    ours, theirs = _before_the_vocabulary(student), _before_the_vocabulary(teacher)
    if ours != theirs:
        raise UserError(
            f"teacher {teacher_name} and student {student_name} must treat case, accents and spaces alike, got "
            f"{theirs} and {ours}"
        )


def _before_the_vocabulary(tokenizer: Any) -> dict[str, Any]:
    """What a tokenizer does to text before it looks pieces up."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return {part: content[part] for part in ("normalizer", "pre_tokenizer")}


def _sample(examples: Sequence[Example], count: int | None, seed: int) -> Sequence[Example]:
    """`count` examples at random, in their order; all of them when there are no more."""
    if count is None or count >= len(examples):
        return examples
    chosen = np.random.default_rng(seed).choice(len(examples), count, replace=False)
    return [examples[i] for i in sorted(chosen)]


def _generate(recipe: Recipe, folder: Path) -> Recipe:
    """Writes the synthetic task's data and untrained models once, and points the recipe at them."""
    task = recipe.synthetic
    assert task is not None
    marker, content = folder / "task.json", _as_json((task, recipe.seed))  # all that decides the files
    if not marker.exists() or read_json(marker) != content:
        train, dev = make_squad(task.data)
        tokenizer = train_tokenizer(train, task.vocab_size)
        with atomic_path(folder) as temporary:
            write_json(temporary / marker.name, content)
            write_json(temporary / "train.json", train)
            write_json(temporary / "dev.json", dev)
            for index, name in enumerate(("teacher", "student")):
                config = dataclasses.replace(getattr(task, name), vocab_size=len(tokenizer))
                key = jax.random.fold_in(jax.random.key(recipe.seed), index)
                save_pretrained(temporary / name, config, init_params(BertForQuestionAnswering(config), key), tokenizer)
    paths = {name: str(folder / name) for name in ("teacher", "student")}
    return dataclasses.replace(recipe, train=str(folder / "train.json"), dev=str(folder / "dev.json"), **paths)


def _as_json(value: Any) -> Any:
    """Dataclasses as objects that name their class, so that two objectives with equal fields differ."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: _as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"": type(value).__name__, **fields}
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            path: leaf for key, item in items for path, leaf in _flatten(item, f"{prefix}.{key}".strip(".")).items()
        }
    return {prefix: value}
